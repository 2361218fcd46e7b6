"""Keep uploaded files: the content in the data folder, the rest in the store."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from core.clock import Clock, new_id
from core.db import fine_tuning
from core.db.store import Row, Store
from core.durable_file import sync
from core.errors import InputError, NotFound
from feedback.formats.metrics import Metrics
from feedback.formats.source import Target
from ops.fine_tuning.examples import check_file, parse_line, read_lines

PIECE = 1024 * 1024
LONGEST_NAME = 255


class UploadedFiles:
    """Files for fine-tuning. A file is whole after a power cut, or not there."""

    def __init__(self, *, store: Store, data: Path, clock: Clock) -> None:
        self._store = store
        self._folder = data / "files"
        self._clock = clock

    def keep(self, content: BinaryIO, *, name: str, model: str | None, actor: str) -> Row:
        """Keep a file after a check of every line. Raises InputError that names line and field."""
        if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
            raise InputError(f"file: its name needs 1 to {LONGEST_NAME} printable characters.", field="file")
        identity = new_id("file")
        path = self.path(identity)
        part = path.with_suffix(".part")
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                while piece := content.read(PIECE):
                    file.write(piece)
            check_file(part, any_target(self._clock()))
            sync(part)
            size = part.stat().st_size
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync(self._folder)
        fine_tuning.add_file(
            self._store, id=identity, time=self._clock(), filename=name, bytes=size, model=model, actor=actor
        )
        return self.find(identity)

    def path(self, identity: str) -> Path:
        """Where the content of a file is. The id is one of the store's."""
        return self._folder / f"{identity}.jsonl"

    def find(self, identity: str) -> Row:
        """One file. Raises NotFound."""
        row = fine_tuning.find_file(self._store, id=identity)
        if row is None:
            raise NotFound("file", identity, hint="See: GET /v1/files")
        return row

    def content(self, identity: str) -> Path:
        """Where the content of a file is. Raises NotFound, also after a restore: a backup does not have files."""
        self.find(identity)
        path = self.path(identity)
        if not path.is_file():
            raise NotFound("content of the file", identity, hint="Upload the file again.")
        return path

    def page(self, *, model: str | None, after: str | None, ascending: bool, limit: int) -> list[Row]:
        """One page of files, newest first unless `ascending`."""
        return fine_tuning.files(self._store, model=model, after=after, ascending=ascending, limit=limit)

    def delete(self, identity: str) -> None:
        """Delete a file. Examples that a job has imported stay. Raises NotFound."""
        self.find(identity)
        fine_tuning.delete_file(self._store, id=identity)
        self.path(identity).unlink(missing_ok=True)

    def clean(self) -> None:
        """Delete what a stopped control left: content without its row, and parts."""
        for path in self._folder.glob("*"):
            if path.suffix == ".part" or fine_tuning.find_file(self._store, id=path.stem) is None:
                path.unlink(missing_ok=True)

    def erase_user(self, user: str) -> None:
        """Delete the examples of a user from every file. A file without others is deleted."""
        for path in self._folder.glob("*.jsonl"):
            part = path.with_suffix(".part")
            kept = dropped = 0
            with part.open("wb") as file:
                for _, line in read_lines(path):
                    if _is_of(line, user):
                        dropped += 1
                    else:
                        kept += 1
                        file.write(line)
            if not dropped:
                part.unlink()
            elif not kept:
                part.unlink()
                self.delete(path.stem)
            else:
                sync(part)
                os.replace(part, path)
                sync(self._folder)
                fine_tuning.set_file_bytes(self._store, id=path.stem, bytes=path.stat().st_size)


def any_target(now: datetime) -> Target:
    """A target for the check of an upload: of no model yet, so that any answer is right."""
    return Target("", (), Metrics.of({}, ()), now.astimezone(UTC))


def _is_of(line: bytes, user: str) -> bool:
    with suppress(InputError):
        row = parse_line(line)
        return user in (str(row.get("user")), str(row.get("user_id")))
    return False
