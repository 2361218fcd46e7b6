"""Artifacts: what a run or an import made becomes an immutable version with a name that is never used again.

It owns names and folders; it must not load anything into an engine.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.db import versions
from core.db.store import Transaction
from core.records import Kind, Version
from serve.adapters.preflight import Adapter
from serve.retrieval.retriever import FILE, Retrieval, sha256_of


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is to become a version: its content's hash, and how it comes to a folder that is not there yet."""

    sha256: str
    move: Callable[[Path], None]
    rank: int = 0
    kind: Kind = "adapter"


def from_adapter(checked: Adapter) -> Artifact:
    """An adapter that passed preflight; its folder is moved."""
    return Artifact(checked.sha256, lambda folder: _move(checked.path, folder), checked.rank)


def from_retrieval(retrieval: Retrieval) -> Artifact:
    """A retrieval; its file is written."""
    content = retrieval.to_bytes()
    return Artifact(sha256_of(content), lambda folder: _write(content, folder), kind="retrieval")


@contextmanager
def register_folder(
    transaction: Transaction, made: Artifact, *, model: str, run_id: str | None, adapters: Path
) -> Iterator[Version]:
    """Puts what was made at `adapters/<model>@<n>.<hash>`, for rows of the transaction.

    Preflight comes before the transaction: it reads every tensor, and all other writers would wait for it. The name
    holds the content's hash: vLLM's prefix cache uses name and path as its key,
    so neither may ever refer to other bytes.
    The folder goes again if the rows fail.
    """
    # The transaction is the only writer, so the next number is free.
    number = versions.next_number(transaction, model=model)["version"]
    name = f"{model}@{number}.{made.sha256[:12]}"
    target = (adapters / name).resolve()
    scratch = target.with_suffix(".part")
    adapters.mkdir(parents=True, exist_ok=True)
    # No row has this number, so nothing was ever loaded from here: a control that was killed left it.
    for left in (target, scratch):
        shutil.rmtree(left, ignore_errors=True)
    made.move(scratch)
    os.rename(scratch, target)
    try:
        yield Version(model, number, name, str(target), made.sha256, made.rank, run_id, made.kind)
    except BaseException:
        shutil.rmtree(target)
        raise


def _move(folder: Path, target: Path) -> None:
    shutil.move(folder, target)


def _write(content: bytes, folder: Path) -> None:
    folder.mkdir()
    with (folder / FILE).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
