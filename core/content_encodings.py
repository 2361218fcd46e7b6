"""Unpack compressed bodies of requests, within a limit of unpacked bytes.

gzip and deflate are Python's own. zstd is read where the library zstandard is installed.
"""

import importlib
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any, Protocol

from core.errors import BodyTooLarge, InputError

# The largest window of zstd that a reader must accept (RFC 8878), in bytes. More would let a small body take memory.
LARGEST_WINDOW = 8 * 1024 * 1024
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
WITHOUT_HEADER = -zlib.MAX_WBITS
# Each member takes time, however small it is. Tools that write many have one per 64 KiB.
MOST_MEMBERS = 4096
FIRST_SLICE = 256

Reader = Callable[[bytes, int], bytes]
"""Unpack a body up to a number of bytes. Raises ValueError for one that is damaged or not whole."""


class UnsupportedEncoding(InputError):
    """A body is compressed in a way that this server does not read."""

    status = 415


def unpack(content: bytes, encoding: str, limit: int) -> bytes:
    """A body without its `Content-Encoding`. Raises UnsupportedEncoding, BodyTooLarge or InputError."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return content
    readers = _readers()
    if name not in readers:
        known = ", ".join(sorted(readers))
        raise UnsupportedEncoding(
            f"Content-Encoding: {encoding[:64]!r} is not read here.",
            hint=f"Send the body plain, or with one of {known}.",
            headers={"Accept-Encoding": known},
        )
    try:
        found = readers[name](content, limit + 1)
    except (ValueError, zlib.error) as error:
        raise InputError(f"The body is not {name}: {error}.", hint="Send it again, or plain.") from error
    if len(found) > limit:
        raise BodyTooLarge(f"The body is larger than {limit} bytes when it is unpacked.", hint="Send less at once.")
    return found


@cache
def _readers() -> dict[str, Reader]:
    found: dict[str, Reader] = {"gzip": _read_gzip, "x-gzip": _read_gzip, "deflate": _read_deflate}
    with suppress(ImportError):
        found["zstd"] = partial(_read_zstd, importlib.import_module("zstandard"))
    return found


class Member(Protocol):
    """The reader of one member of a body, as zlib has it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _read_members(content: bytes, limit: int, begin: Callable[[], Member], most: int = MOST_MEMBERS) -> bytes:
    """Bodies may have several members, one after the other.

    A reader copies what follows its member. So it gets the body in slices that double, and the copies of all members
    together are in proportion to the body.
    """
    place, left = 0, limit
    parts: list[bytes] = []
    for _ in range(most):
        if place == len(content) or not left:
            return b"".join(parts)
        reader, size = begin(), FIRST_SLICE
        while not reader.eof and left:
            if place == len(content):
                raise ValueError("it ends in the middle")
            piece = content[place : place + size]
            parts.append(reader.decompress(piece, left))
            left -= len(parts[-1])
            place += len(piece) - len(reader.unused_data)
            size *= 2
    if place < len(content) and left:
        raise ValueError(f"it has more than {most} members")
    return b"".join(parts)


def _read_gzip(content: bytes, limit: int) -> bytes:
    return _read_members(content, limit, partial(zlib.decompressobj, GZIP_OR_ZLIB))


def _read_deflate(content: bytes, limit: int) -> bytes:
    """Some clients send deflate with zlib's header, as the standard says, and some without it."""
    try:
        return _read_gzip(content, limit)
    except zlib.error:
        return _read_members(content, limit, partial(zlib.decompressobj, WITHOUT_HEADER), most=1)


class ZstdFrame:
    """A frame of zstd as a member. Its reader has no limit, so it is only for bodies that are known to be small."""

    def __init__(self, decompressor: Any) -> None:
        self._frame = decompressor.decompressobj()

    @property
    def eof(self) -> bool:
        """Whether the frame is whole."""
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        """What follows the frame."""
        return self._frame.unused_data

    def decompress(self, data: bytes, _: int, /) -> bytes:
        """What these bytes unpack to."""
        return self._frame.decompress(data)


def _read_zstd(library: Any, content: bytes, limit: int) -> bytes:
    decompressor = library.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    try:
        with decompressor.stream_reader(content, read_across_frames=True) as reader:
            found = reader.read(limit)
        # A reader does not say whether the last frame is whole.
        return found if len(found) == limit else _read_members(content, limit, partial(ZstdFrame, decompressor))
    except library.ZstdError as error:
        raise ValueError(str(error)) from error
