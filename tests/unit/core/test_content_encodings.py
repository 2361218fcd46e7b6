"""Facts about compressed bodies: they are read within the limit, or refused by the encoding's name."""

import gzip
import importlib.util
import json
import os
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest

from core.content_encodings import MOST_MEMBERS, UnsupportedEncoding, unpack
from core.errors import BodyTooLarge, InputError

LIMIT = 4096
TEXT = b'{"text": "' + b"so good, " * 100 + b'"}'


def raw_deflate(content: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(content) + made.flush()


def zstd(content: bytes) -> bytes:
    return pytest.importorskip("zstandard").ZstdCompressor().compress(content)


WAYS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("GZIP ", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("zstd", zstd),
]


@pytest.mark.parametrize(("encoding", "compress"), WAYS)
def test_a_body_is_unpacked_and_one_that_is_cut_or_damaged_is_refused(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    packed = compress(TEXT)
    assert unpack(packed, encoding, LIMIT) == unpack(packed, encoding, len(TEXT)) == TEXT
    with pytest.raises(BodyTooLarge):
        unpack(packed, encoding, len(TEXT) - 1)
    for wrong in (packed[:-9], b"{" + packed[1:], TEXT):
        with pytest.raises(InputError, match=f"not {encoding.strip().lower()}"):
            unpack(wrong, encoding, LIMIT)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_several_members_are_one_body(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    assert unpack(compress(TEXT[:500]) + compress(TEXT[500:]), encoding, LIMIT) == TEXT


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_a_small_body_that_unpacks_to_64_mib_takes_no_more_memory_than_the_limit(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    packed = compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            unpack(packed, encoding, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_members_of_any_size_are_read_in_their_order(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    sizes = [0, 1, 255, 256, 257, 700, 3000, 0, 70_000, 5]
    text = os.urandom(sum(sizes))
    ends = list(accumulate(sizes))
    packed = b"".join(compress(text[end - size : end]) for size, end in zip(sizes, ends, strict=True))
    assert unpack(packed, encoding, len(text)) == text
    for cut in (1, 4, len(packed) // 2):
        with pytest.raises(InputError, match=f"not {encoding}"):
            unpack(packed[:-cut], encoding, len(text))


def test_what_follows_a_member_is_copied_in_proportion_to_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    copied, begin = [], zlib.decompressobj

    class Counted:
        def __init__(self, bits: int) -> None:
            self._reader = begin(bits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._reader, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            found = self._reader.decompress(data, most)
            copied.append(len(self._reader.unused_data))
            return found

    packed = gzip.compress(b"so good, ") * 2000
    monkeypatch.setattr(zlib, "decompressobj", Counted)
    assert len(unpack(packed, "gzip", 100_000)) == 2000 * len(b"so good, ")
    assert sum(copied) < 10 * len(packed)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_a_body_of_too_many_members_is_refused(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    packed = compress(b"")
    assert unpack(packed * MOST_MEMBERS, encoding, LIMIT) == b""
    with pytest.raises(InputError, match=f"more than {MOST_MEMBERS} members"):
        unpack(packed * (MOST_MEMBERS + 1), encoding, LIMIT)


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip", "aes128gcm"])
def test_another_encoding_is_refused_by_its_name_with_those_that_are_read(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match=encoding) as found:
        unpack(TEXT, encoding, LIMIT)
    assert "gzip" in found.value.headers["Accept-Encoding"] and found.value.status == 415
    known = importlib.util.find_spec("zstandard") is not None
    assert ("zstd" in found.value.headers["Accept-Encoding"]) is known


def test_a_plain_body_stays_as_it_is() -> None:
    assert unpack(TEXT, "identity", 1) == TEXT


ASK = {"model": "reviews", "max_tokens": 4, "messages": [{"role": "user", "content": "so good"}], "input": "so good"}
VOTE = {"interaction_id": "i", "type": "thumbs", "value": True}


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/chat/completions", ASK), ("/v1/messages", ASK), ("/v1/feedback", VOTE), ("/feedback", None)],
)
def test_every_route_reads_compressed_bodies(gateway: Any, path: str, body: dict[str, Any] | None) -> None:
    http = gateway.open(max_body_bytes=LIMIT).http
    body = body or {"inference_id": "i", "metric_name": "thumbs", "value": True}
    plain = json.dumps(body).encode()
    answer = http.post(path, content=gzip.compress(plain), headers={"Content-Encoding": "gzip"})
    assert answer.status_code in (200, 202), answer.text
    for headers, content, status in (
        ({"Content-Encoding": "compress"}, plain, 415),
        ({"Content-Encoding": "gzip"}, plain, 400 if path in ("/v1/messages", "/feedback") else 422),
    ):
        refused = http.post(path, content=content, headers=headers)
        assert (refused.status_code, "JSON" in refused.text) == (status, False), refused.text
    if path.startswith("/v1/chat"):
        large = gzip.compress(json.dumps(body | {"x": "y" * 100_000}).encode())
        assert http.post(path, content=large, headers={"Content-Encoding": "gzip"}).status_code == 413
