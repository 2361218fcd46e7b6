"""Space on the disk to rewrite the store's file."""

import shutil
from pathlib import Path

from core.errors import NotReady

# The rewritten file of the store is as large as the store at most.
SPACE_FACTOR = 1.1


def require_space(data: Path, what: str) -> None:
    """Raise NotReady if the disk has no space to rewrite the store; `what` is the work that needs it."""
    wanted = sum(file.stat().st_size for file in data.glob("loraloop.duckdb*")) * SPACE_FACTOR
    free = shutil.disk_usage(data).free
    if free < wanted:
        raise NotReady(
            f"{what} rewrites the store, which needs {wanted / 1e9:.1f} GB; {free / 1e9:.1f} GB are free.",
            hint=f"Free space on the disk of {data}.",
        )
