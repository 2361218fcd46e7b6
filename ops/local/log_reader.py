"""The logs of this machine's processes, read together: their last lines, and what is written from then on.

Lines of several processes are ordered by their times. A line without one, such as a traceback's, has that of the line
before it.
"""

import heapq
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ops.local.log_rotation import numbered, older

PROCESSES = ("up", "engine", "control", "gateway")
CHUNK = 64 * 1024
POLL_SECONDS = 0.2
NEVER = datetime.min.replace(tzinfo=UTC)
OURS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)Z ")
# vLLM's: month, day and local time, without a year.
ENGINE = re.compile(r"\b[A-Z]+ (\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `time` is in UTC."""

    time: datetime
    process: str
    text: str


class LogReader:
    """The log of one process. What is written after its creation is new."""

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        self._file = folder / f"{process}.log"
        self._position = self._file.stat().st_size if self._file.is_file() else 0
        self._time = NEVER
        self._rest = b""

    def last(self, count: int | None, since: datetime | None) -> list[Line]:
        """The last lines, all if `count` is None, and only from a time on if `since` is given."""
        texts: list[bytes] = []
        # Newest first, as far back as is needed.
        for file in [self._file, *older(self._file)[::-1]]:
            if count is not None and since is None and len(texts) >= count:
                break
            if since and file.is_file() and datetime.fromtimestamp(file.stat().st_mtime, UTC) < since:
                break
            end = self._position if file == self._file else None
            texts = _last_lines(file, None if since or count is None else count - len(texts), end) + texts
        lines = [line for line in map(self._line, texts) if since is None or line.time >= since]
        return lines if count is None else lines[max(0, len(lines) - count) :]

    def new(self) -> list[Line]:
        """The lines that were written since the last call. Nothing is missed if the file was rotated once."""
        size = self._file.stat().st_size if self._file.is_file() else 0
        content = b""
        if size < self._position:
            content, self._position = _read(numbered(self._file, 1), self._position), 0
        found = _read(self._file, self._position)
        self._position += len(found)
        *texts, self._rest = (self._rest + content + found).split(b"\n")
        return [self._line(text) for text in texts]

    def _line(self, text: bytes) -> Line:
        line = text.decode("utf-8", errors="replace")
        self._time = time_of(line, datetime.now(UTC)) or self._time
        return Line(self._time, self.process, line)


def read_last(readers: Sequence[LogReader], count: int | None, since: datetime | None) -> list[Line]:
    """The last lines of each log, in the order of their times."""
    return list(heapq.merge(*(reader.last(count, since) for reader in readers), key=lambda line: line.time))


def follow(readers: Sequence[LogReader]) -> Iterator[Line]:
    """Wait for new lines, without an end."""
    while True:
        yield from heapq.merge(*(reader.new() for reader in readers), key=lambda line: line.time)
        time.sleep(POLL_SECONDS)


def time_of(line: str, now: datetime) -> datetime | None:
    """The time of a line in UTC, None if it has none. `now` gives the year where a line has none."""
    if line.startswith("{"):
        try:
            return datetime.fromisoformat(json.loads(line)["time"])
        except (ValueError, LookupError, TypeError):
            return None
    if match := OURS.match(line):
        return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    if match := ENGINE.search(line[:200]):
        try:
            month, day, *clock = map(int, match.groups())
            local = datetime(now.year, month, day, clock[0], clock[1], clock[2]).astimezone(UTC)
        except ValueError:  # 02-29 of last year, or no date
            return None
        return local if local < now + timedelta(days=1) else local.replace(year=local.year - 1)
    return None


def _last_lines(file: Path, count: int | None, end: int | None) -> list[bytes]:
    """The last lines before a position, read from the end, or all lines."""
    if not file.is_file():
        return []
    with file.open("rb") as stream:
        position = stream.seek(0, 2) if end is None else end
        content = b""
        while position > 0 and (count is None or content.count(b"\n") <= count):
            step = min(CHUNK, position)
            position -= step
            stream.seek(position)
            content = stream.read(step) + content
    lines = content.split(b"\n")
    lines = lines[:-1] if lines[-1] == b"" else lines
    return lines if count is None else lines[max(0, len(lines) - count) :]


def _read(file: Path, position: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(position)
            return stream.read()
    except FileNotFoundError:
        return b""
