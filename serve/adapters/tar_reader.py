"""Read plain files and folders from tar archives, and nothing else.

Python's tarfile reads extended headers of any size into memory and follows sparse maps. Here everything except names
has a fixed size.
"""

from collections.abc import Iterator
from typing import Protocol

from core.errors import AdapterRefused
from core.quoting import quote_untrusted

BLOCK = 512
CHUNK = 64 * 1024
# Of a longer name or of attributes of the file, as macOS writes them.
MAX_EXTRA = 64 * 1024
HINT = "Pack plain files only, for example with tar czf."
KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}


class Readable(Protocol):
    """Something that gives its bytes in pieces."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class TarEntry:
    """One file in the archive, from the current position."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream = stream
        self.left = size

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the file's end. Raises AdapterRefused if the archive ends first."""
        if not self.left:
            return b""
        data = self._stream.read(min(size, self.left))
        if not data:
            raise AdapterRefused("The archive is cut off.", hint="Copy all of it.")
        self.left -= len(data)
        return data

    def all(self) -> bytes:
        """What is left of it."""
        return b"".join(iter(lambda: self.read(CHUNK), b""))


class TarReader:
    """A tar archive, read once from front to back."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream

    def files(self) -> Iterator[tuple[str, int, TarEntry]]:
        """Name, size in bytes and content of each file. Raises AdapterRefused on anything else but folders."""
        longer = None
        while (header := TarEntry(self._stream, BLOCK).all()) != bytes(BLOCK):
            _check_sum(header)
            size, kind = _number(header[124:136]), header[156:157]
            name = longer or _plain_name(header)
            part = TarEntry(self._stream, size)
            if kind in b"xgL":
                longer = _longer_name(kind, part, longer)
            elif kind in (b"0", b"\0"):
                yield name, size, part
                longer = None
            elif kind == b"5" and not size:
                longer = None
            else:
                what = KINDS.get(kind, "no plain file")
                raise AdapterRefused(f"The archive holds {quote_untrusted(name)}, which is {what}.", hint=HINT)
            while part.read(CHUNK):
                pass
            TarEntry(self._stream, -size % BLOCK).all()


def _check_sum(header: bytes) -> None:
    blank = header[:148] + b" " * 8 + header[156:]
    if _number(header[148:156]) != sum(blank):
        raise AdapterRefused("The archive is no zip, tar or tar.gz, or it is damaged.", hint=HINT)


def _number(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not all(digit in b"01234567" for digit in digits):
        raise AdapterRefused("The archive is no zip, tar or tar.gz, or it is damaged.", hint=HINT)
    return int(digits or b"0", 8)


def _plain_name(header: bytes) -> str:
    name, prefix = _text(header[:100]), _text(header[345:500])
    # GNU tar keeps times where POSIX keeps the beginning of a long name.
    return f"{prefix}/{name}" if prefix and header[257:263] == b"ustar\0" else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _longer_name(kind: bytes, part: TarEntry, before: str | None) -> str | None:
    """The name that an extended header (POSIX x and g, GNU L) gives the next file, if it gives one."""
    if part.left > MAX_EXTRA:
        raise AdapterRefused(f"The archive has an extended header of {part.left} bytes.", hint=HINT)
    data = part.all()
    if kind == b"L":
        return _text(data)
    records = _records(data)
    odd = next((key for key in records if key in ("size", "linkpath") or key.startswith("GNU.sparse")), None)
    if odd or (kind == b"g" and "path" in records):
        raise AdapterRefused(f"The archive has an extended header with {quote_untrusted(odd or 'path')}.", hint=HINT)
    return records.get("path", before)


def _records(data: bytes) -> dict[str, str]:
    """POSIX's extended records, each `length key=value\\n` with the length of all of it."""
    found: dict[str, str] = {}
    while data:
        digits, _, rest = data[:16].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        key, equals, value = data[len(digits) + 1 : length - 1].partition(b"=")
        if not rest or not equals or data[length - 1 : length] != b"\n":
            raise AdapterRefused("The archive has a damaged extended header.", hint=HINT)
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        data = data[length:]
    return found
