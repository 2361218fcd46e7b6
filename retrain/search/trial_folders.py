"""Folders of trials: where each is, and what stays of it."""

import shutil
from pathlib import Path

from retrain.trainer.job import ADAPTER, CHECKPOINT, TRIALS


def trial_folder(run: Path, name: str) -> Path:
    """The folder of a trial in the folder of its run."""
    return run / TRIALS / name


def delete_weights(folder: Path) -> None:
    """Delete checkpoint and adapter of a trial that has ended. Its report stays."""
    for name in (CHECKPOINT, f"{CHECKPOINT}.part"):  # a process that was killed may have been writing one
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ADAPTER, ignore_errors=True)
