"""Artifacts: a trained adapter, or a retrieval, becomes an immutable version with a name that is never used again.

It owns names and folders; it must not load anything into an engine.
"""

import os
import shutil
from pathlib import Path

from core.records import Version
from core.store import Store
from serve.adapters import Adapter, preflight
from serve.retrieval import FILE, Retrieval, sha256_of


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
    number, target = _next(store, model, checked.sha256, adapters)
    scratch = target.with_suffix(".part")
    shutil.move(checked.path, scratch)
    os.rename(scratch, target)
    return Version(model, number, target.name, str(target), checked.sha256, checked.rank, run_id)


def place_retrieval(store: Store, retrieval: Retrieval, *, model: str, run_id: str, adapters: Path) -> Version:
    """Writes a retrieval beside the adapters, as the model's next version."""
    content = retrieval.to_bytes()
    sha256 = sha256_of(content)
    number, target = _next(store, model, sha256, adapters)
    scratch = target.with_suffix(".part")
    scratch.mkdir()
    with (scratch / FILE).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(scratch, target)
    return Version(model, number, target.name, str(target), sha256, 0, run_id, "retrieval")


def _next(store: Store, model: str, sha256: str, adapters: Path) -> tuple[int, Path]:
    """The model's next number, and the folder that is to be its own, which is not there yet."""
    number = store.rows("version_next", model=model)[0]["version"]
    target = (adapters / f"{model}@{number}.{sha256[:12]}").resolve()
    adapters.mkdir(parents=True, exist_ok=True)
    # No row has this number, so nothing was ever loaded from here: a control that was killed left it.
    for left in (target, target.with_suffix(".part")):
        shutil.rmtree(left, ignore_errors=True)
    return number, target
