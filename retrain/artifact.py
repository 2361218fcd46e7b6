"""Artifacts: a trained adapter becomes an immutable version with a name that is never used again.

It owns names and folders; it must not load anything into an engine.
"""

import os
import shutil
from pathlib import Path

from core.records import Version
from core.store import Store
from serve.adapters import Adapter, preflight


def adopt(
    store: Store, trained: Path, *, model: str, run_id: str, adapters: Path, base: Path, max_rank: int
) -> Version:
    """Checks the trained folder and makes it the model's next version. Raises AdapterRefused."""
    checked = preflight(trained, base=base, max_rank=max_rank)
    return place(store, checked, model=model, run_id=run_id, adapters=adapters)


def place(store: Store, checked: Adapter, *, model: str, run_id: str | None, adapters: Path) -> Version:
    """Moves a checked folder to `adapters/<model>@<n>.<hash>`, for a row in the transaction that calls it.

    The name holds the content's hash: vLLM's prefix cache goes by name and path, so neither may ever
    stand for other bytes.
    """
    number = store.rows("version_next", model=model)[0]["version"]
    name = f"{model}@{number}.{checked.sha256[:12]}"
    target = (adapters / name).resolve()
    scratch = target.with_suffix(".part")
    adapters.mkdir(parents=True, exist_ok=True)
    # No row has this number, so nothing was ever loaded from here: a control that was killed left it.
    for left in (target, scratch):
        shutil.rmtree(left, ignore_errors=True)
    shutil.move(checked.path, scratch)
    os.rename(scratch, target)
    return Version(model, number, name, str(target), checked.sha256, checked.rank, run_id)
