"""Unpack compressed bodies of requests, within a limit of unpacked bytes.

gzip and deflate are Python's own. zstd is read where the library zstandard is installed.
"""

import importlib
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from core.errors import BodyTooLarge, InputError

# The largest window of zstd that a reader must accept (RFC 8878), in bytes. More would let a small body take memory.
LARGEST_WINDOW = 8 * 1024 * 1024
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
WITHOUT_HEADER = -zlib.MAX_WBITS

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


def _readers() -> dict[str, Reader]:
    found: dict[str, Reader] = {"gzip": _read_gzip, "x-gzip": _read_gzip, "deflate": _read_deflate}
    with suppress(ImportError):
        found["zstd"] = partial(_read_zstd, importlib.import_module("zstandard"))
    return found


def _read_gzip(content: bytes, limit: int) -> bytes:
    """Bodies may have several members, one after the other."""
    found = b""
    while content and len(found) < limit:
        reader = zlib.decompressobj(GZIP_OR_ZLIB)
        found += reader.decompress(content, limit - len(found))
        if not reader.eof and len(found) < limit:
            raise ValueError("it ends in the middle")
        content = reader.unused_data
    return found


def _read_deflate(content: bytes, limit: int) -> bytes:
    """Some clients send deflate with zlib's header, as the standard says, and some without it."""
    try:
        return _read_gzip(content, limit)
    except zlib.error:
        reader = zlib.decompressobj(WITHOUT_HEADER)
        found = reader.decompress(content, limit)
        if not reader.eof and len(found) < limit:
            raise ValueError("it ends in the middle") from None
        return found


def _read_zstd(library: Any, content: bytes, limit: int) -> bytes:
    try:
        with library.ZstdDecompressor(max_window_size=LARGEST_WINDOW).stream_reader(
            content, read_across_frames=True
        ) as reader:
            found = reader.read(limit)
        if len(found) < limit and not _is_whole(library, content):
            raise ValueError("it ends in the middle")
    except library.ZstdError as error:
        raise ValueError(str(error)) from error
    return found


def _is_whole(library: Any, content: bytes) -> bool:
    """Whether the last frame of zstd is whole, which a reader does not say."""
    while content:
        frame = library.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj()
        frame.decompress(content)
        if not frame.eof:
            return False
        content = frame.unused_data
    return True
