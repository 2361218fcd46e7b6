"""Files that commands read and write: `-` is stdin or stdout.

Then only data goes to stdout, and what people should know goes to stderr, as always.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import typer

from core.errors import InputError, LoraLoopError, NoTerminal
from ops.cli.terminal import agreed

PARQUET = b"PAR1"


def is_stream(path: Path) -> bool:
    """Whether a path is stdin or stdout."""
    return str(path) == "-"


def name_of(path: Path, stream: str = "stdout") -> str:
    """A path as messages name it."""
    return stream if is_stream(path) else str(path)


def require_free_stdout(path: Path, as_data: bool) -> None:
    """Raise BadParameter if a file goes to stdout, and the description of it too."""
    if as_data and is_stream(path):
        raise typer.BadParameter("stdout has the file already. Leave it out.", param_hint="--output")


def may_write(path: Path, yes: bool) -> bool:
    """Whether a file may be written: asks if it exists. Raises NoTerminal."""
    return is_stream(path) or not path.exists() or agreed(f"{path} exists and is replaced.", yes, False)


@contextmanager
def written(path: Path, *, as_text: bool = False) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when all of it is written, for the user's eyes only; or stdout.

    A terminal gets only text. Raises InputError, and LoraLoopError for a file that cannot be written.
    """
    if is_stream(path):
        if not as_text and sys.stdout.isatty():
            raise InputError("This is binary data, and stdout is a terminal.", hint="Redirect it: > FILE")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(path.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise LoraLoopError(f"{path} cannot be written: {error.strerror}.", hint="Choose another place.") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def readable(path: Path, yes: bool, dry_run: bool) -> Iterator[Path]:
    """A file to read as often as needed: `path`, or a copy of stdin that is deleted afterwards.

    The copy ends in .parquet or .jsonl, by its first bytes. Raises NoTerminal before it reads, if a question that
    follows could not be answered, and LoraLoopError if there is no space for the copy.
    """
    if not is_stream(path):
        yield path
        return
    require_answer(yes, dry_run)
    with tempfile.TemporaryDirectory(prefix="loraloop-") as folder:
        start = sys.stdin.buffer.read(len(PARQUET))
        copy = Path(folder) / ("stdin.parquet" if start == PARQUET else "stdin.jsonl")
        try:
            with copy.open("wb") as file:
                file.write(start)
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            where = f"The copy of stdin in {folder} cannot be written: {error.strerror}."
            raise LoraLoopError(where, hint="Set TMPDIR to a folder with more space.") from error
        yield copy


def require_answer(yes: bool, dry_run: bool) -> None:
    """Raise NoTerminal if stdin is used up by a file, and a question needs an answer from it."""
    if not (yes or dry_run or sys.stdin.isatty()):
        raise NoTerminal("There is no terminal to ask on.", hint="Add --yes to do it, or --dry-run to see.")


def pieces_of_stdin(size: int) -> Iterator[bytes]:
    """Binary data of stdin, in pieces of at most `size` bytes. Raises InputError if a person would have to type it."""
    if sys.stdin.isatty():
        raise InputError("stdin is a terminal, and this needs a file.", hint="Redirect it: < FILE")
    while piece := sys.stdin.buffer.read(size):
        yield piece
