"""Extract an adapter's two files from an untrusted zip or tar archive.

An archive with links, devices, outside paths or encrypted entries is rejected. Other files are skipped. File contents
are not checked here.
"""

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.errors import AdapterRefused
from core.quoting import quote_untrusted
from serve.adapters.config import CONFIG, MAX_CONFIG_BYTES
from serve.adapters.preflight import WEIGHTS
from serve.adapters.tar_reader import Readable, TarReader

FILES = (CONFIG, WEIGHTS)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
MAX_ENTRIES = 1000
# Trained weights hardly compress; a hundredfold is made to fill a disk.
MAX_RATIO, FREE_BYTES = 100, 1024 * 1024
CHUNK = 64 * 1024
# The table of contents of a zip file is read at once; a thousand entries fit many times.
MAX_ZIP_TABLE = 1024 * 1024
SAVE = "Pack the folder that PEFT's save_pretrained wrote."
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A plain file in an archive: the parts of its path, its declared size in bytes, and a way to read it."""

    path: tuple[str, ...]
    size: int
    open: Callable[[], Readable]


def unpack(archive: Path, folder: Path, *, max_bytes: int) -> None:
    """Writes the adapter's two files into the folder. Raises AdapterRefused with entry, reason and fix."""
    budget = min(max_bytes, FREE_BYTES + MAX_RATIO * archive.stat().st_size)
    try:
        home = _home([entry.path for entry in _entries(archive, budget)])
        written: set[str] = set()
        for entry in _entries(archive, budget):
            if entry.path[:-1] == home and entry.path[-1] in FILES:
                if entry.path[-1] in written:
                    raise AdapterRefused(f"The archive holds {quote_untrusted('/'.join(entry.path))} twice.", hint=SAVE)
                _write(entry, folder / entry.path[-1], budget)
                written.add(entry.path[-1])
    except BROKEN as error:
        raise AdapterRefused(
            f"The archive cannot be read: {quote_untrusted(str(error))}.", hint="Pack it again."
        ) from error


def _entries(archive: Path, budget: int) -> Iterator[Entry]:
    with archive.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic in (b"PK\x03\x04", b"PK\x05\x06"):
            found = _zip_entries(file)
        elif magic.startswith(b"\x1f\x8b"):
            found = _tar_entries(gzip.GzipFile(fileobj=file), budget)
        else:
            found = _tar_entries(file, budget)
        for count, entry in enumerate(found):
            if count >= MAX_ENTRIES:
                raise AdapterRefused(f"The archive holds more than {MAX_ENTRIES} entries.", hint=SAVE)
            yield entry


def _path(name: str) -> tuple[str, ...]:
    """A name in an archive as its parts, which never lead out of it. Raises AdapterRefused."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if not parts or name.startswith("/") or name[1:2] == ":" or ".." in parts or "\\" in name or "\0" in name:
        raise AdapterRefused(f"The archive holds {quote_untrusted(name)}, which leads out of its folder.", hint=SAVE)
    return parts


def _home(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Where the two files are: at the root, or in a single top folder. Raises AdapterRefused."""
    for depth in (0, 1):
        found = {path[:depth] for path in paths if len(path) == depth + 1 and path[-1] == WEIGHTS}
        found &= {path[:depth] for path in paths if len(path) == depth + 1 and path[-1] == CONFIG}
        if len(found) > 1:
            names = ", ".join(quote_untrusted(home[0]) for home in sorted(found)[:4])
            raise AdapterRefused(f"The archive holds more than one adapter: {names}.", hint="Send one at a time.")
        if found:
            return found.pop()
    pickles = [path[-1] for path in paths if path[-1].endswith(PICKLES)]
    if pickles:
        raise AdapterRefused(
            f"The archive holds {quote_untrusted(pickles[0])} but no {WEIGHTS}; a pickle can run any code.",
            hint="Load it where you trust it and save it with safe_serialization=True.",
        )
    raise AdapterRefused(f"The archive lacks {CONFIG} or {WEIGHTS} at its root and in its top folder.", hint=SAVE)


def _write(entry: Entry, file: Path, budget: int) -> None:
    most = MAX_CONFIG_BYTES if file.name == CONFIG else budget
    if entry.size > most:
        raise _too_large(file.name, most)
    source, size = entry.open(), 0
    with file.open("xb") as target:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > most:
                raise _too_large(file.name, most)
            target.write(chunk)
    if size != entry.size:
        raise AdapterRefused(f"{file.name} is {size} bytes long, and the archive says {entry.size}.", hint=SAVE)


def _too_large(name: str, most: int) -> AdapterRefused:
    return AdapterRefused(
        f"{name} unpacks to more than {most} bytes.",
        hint="Raise control.max_import_bytes, or pack it without compression.",
    )


def _tar_entries(stream: Readable, budget: int) -> Iterator[Entry]:
    for name, size, part in TarReader(_Counted(stream, budget)).files():
        yield Entry(_path(name), size, lambda part=part: part)


class _Counted:
    """A stream that ends in a refusal once it has given more than its budget of bytes."""

    def __init__(self, stream: Readable, budget: int) -> None:
        self._stream = stream
        self._budget = self._left = budget

    def read(self, size: int, /) -> bytes:
        """Some bytes."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large("The archive", self._budget)
        return data


def _zip_entries(file: IO[bytes]) -> Iterator[Entry]:
    with zipfile.ZipFile(_Sipped(file)) as found:  # pyright: ignore[reportArgumentType]
        for info in found.infolist():
            path = _path(info.orig_filename)
            kind = info.external_attr >> 16 & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                raise AdapterRefused(
                    f"The archive holds {quote_untrusted(info.filename)}, which is no plain file.", hint=SAVE
                )
            if info.flag_bits & 1:
                raise AdapterRefused(
                    f"The archive's {quote_untrusted(info.filename)} is encrypted.", hint="Pack it without."
                )
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise AdapterRefused(
                    f"The archive's {quote_untrusted(info.filename)} is packed by method {info.compress_type}.",
                    hint="Pack it with deflate, or not at all.",
                )
            if not info.is_dir():
                yield Entry(path, info.file_size, lambda info=info: found.open(info))


class _Sipped:
    """A file that is read in sips: zipfile reads a table of contents of any size at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.seekable, self.close = file.seek, file.tell, file.seekable, file.close

    def read(self, size: int = -1, /) -> bytes:
        """Some bytes."""
        data = self._file.read(MAX_ZIP_TABLE + 1 if size < 0 else min(size, MAX_ZIP_TABLE + 1))
        if len(data) > MAX_ZIP_TABLE:
            raise AdapterRefused("The archive's table of contents is too large.", hint=SAVE)
        return data
