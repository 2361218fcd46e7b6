"""Artifacts: a trained adapter becomes an immutable version with a name that is never used again.

It owns names and folders; it must not load anything into an engine.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.records import Version
from core.store import Transaction
from serve.adapters import Adapter


@contextmanager
def placed(transaction: Transaction, checked: Adapter, *, model: str, run_id: str | None,
           adapters: Path) -> Iterator[Version]:  # fmt: skip
    """Moves a folder that passed preflight to `adapters/<model>@<n>.<hash>`, for rows of the transaction.

    Preflight comes before the transaction: it reads every tensor, and all other writers would wait for it. The name
    holds the content's hash: vLLM's prefix cache goes by name and path, so neither may ever stand for other bytes.
    The folder goes again if the rows fail.
    """
    # Whoever writes has the next number to himself.
    number = transaction.rows("version_next", model=model)[0]["version"]
    name = f"{model}@{number}.{checked.sha256[:12]}"
    target = (adapters / name).resolve()
    scratch = target.with_suffix(".part")
    adapters.mkdir(parents=True, exist_ok=True)
    # No row has this number, so nothing was ever loaded from here: a control that was killed left it.
    for left in (target, scratch):
        shutil.rmtree(left, ignore_errors=True)
    shutil.move(checked.path, scratch)
    os.rename(scratch, target)
    try:
        yield Version(model, number, name, str(target), checked.sha256, checked.rank, run_id)
    except BaseException:
        shutil.rmtree(target)
        raise
