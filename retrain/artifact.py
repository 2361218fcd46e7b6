"""Artifacts: a trained adapter becomes an immutable version with a name that is never used again.

It owns names and folders; it must not load anything into an engine.
"""

import os
import shutil
from pathlib import Path

from core.errors import Conflict
from core.records import Version
from core.store import Store
from serve.adapters import Adapter, preflight


def adopt(
    store: Store, trained: Path, *, model: str, run_id: str, adapters: Path, base: Path, max_rank: int
) -> Version:
    """Checks the trained folder and moves it to `adapters/<model>@<n>.<hash>`. Raises AdapterRefused.

    The name holds the content's hash: vLLM's prefix cache goes by name and path, so neither may ever
    stand for other bytes.
    """
    checked: Adapter = preflight(trained, base=base, max_rank=max_rank)
    number = store.rows("version_next", model=model)[0]["version"]
    name = f"{model}@{number}.{checked.sha256[:12]}"
    target = (adapters / name).resolve()
    if target.exists():
        raise Conflict(f"The adapter folder {name} exists already.", hint="Start the run again.")
    adapters.mkdir(parents=True, exist_ok=True)
    shutil.move(trained, scratch := target.with_suffix(".part"))
    os.rename(scratch, target)
    return Version(model, number, name, str(target), checked.sha256, checked.rank, run_id)
