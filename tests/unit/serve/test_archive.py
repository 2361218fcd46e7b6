"""Facts about archives of adapters: what is taken out of one, and what refuses it and leaves nothing behind."""

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AdapterRefused
from serve.adapters.archive import unpack
from serve.adapters.config import CONFIG
from serve.adapters.preflight import WEIGHTS

LIMIT = 8 * 1024 * 1024
FILES = {CONFIG: b'{"r": 4}', WEIGHTS: b"weights" * 700}
Members = list[tuple[str, bytes]]


def zipped(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def tarred(members: Members, kind: int = tarfile.PAX_FORMAT, links: tuple[tuple[str, bytes, str], ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1234567890.5
            archive.addfile(info, io.BytesIO(content))
        for name, type_, to in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, to
            archive.addfile(info)
    return out.getvalue()


def below(folder: str, files: dict[str, bytes] = FILES) -> Members:
    return [(folder + name, content) for name, content in files.items()]


def unpacked(tmp: Path, data: bytes, limit: int = LIMIT) -> dict[str, bytes]:
    """What the archive leaves in an empty folder; nothing may ever appear next to it."""
    archive, folder = tmp / "archive", tmp / "adapter"
    archive.write_bytes(data)
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    try:
        unpack(archive, folder, max_bytes=limit)
    finally:
        assert {path.name for path in tmp.iterdir()} == {"archive", "adapter"}
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(tmp: Path, data: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(AdapterRefused) as caught:
        unpacked(tmp, data, limit)
    check_sentence(caught.value)
    return str(caught.value)


def check_sentence(refused: AdapterRefused) -> None:
    """A reason and a fix, fit for a log."""
    assert refused.hint
    assert str(refused).isprintable()


LONG = "a-name-longer-than-a-header-of-tar-can-hold-" * 4
PACKED: dict[str, bytes] = {
    "zip": zipped(below("")),
    "stored zip": zipped(below(""), zipfile.ZIP_STORED),
    "zip of a folder": zipped([("run/", b""), *below("run/")]),
    "tar": tarred(below("./")),
    "old tar": tarred(below("run/"), tarfile.USTAR_FORMAT),
    "GNU tar with a long name": tarred(below(f"{LONG}/"), tarfile.GNU_FORMAT),
    "POSIX tar with a long name": tarred(below(f"{LONG}/"), tarfile.PAX_FORMAT),
    "tar with a folder": tarred(below("run/"), links=(("run", tarfile.DIRTYPE, ""),)),
    "tar.gz": gzip.compress(tarred(below(""))),
    "with other files": zipped([("README.md", b"me"), ("training_args.bin", b"pickle"), *below("")]),
    "with checkpoints": tarred([*below("run/"), *below("run/checkpoint-5/")]),
    "root before folders": tarred([*below("other/", dict.fromkeys(FILES, b"no")), *below("")]),
}


@pytest.mark.parametrize("case", PACKED)
def test_the_two_files_come_out_and_nothing_else(tmp_path: Path, case: str):
    assert unpacked(tmp_path, PACKED[case]) == FILES


REFUSED: dict[str, tuple[bytes, str]] = {
    "outer path in zip": (zipped([("../evil", b"x"), *below("")]), "leads out of its folder"),
    "outer path in tar": (tarred([("a/../../evil", b"x"), *below("")]), "leads out of its folder"),
    "absolute path": (tarred([("/etc/evil", b"x"), *below("")]), "leads out of its folder"),
    "drive": (zipped([("C:evil", b"x"), *below("")]), "leads out of its folder"),
    "backslashes": (zipped([("..\\evil", b"x"), *below("")]), "leads out of its folder"),
    "soft link": (tarred(below(""), links=(("l", tarfile.SYMTYPE, "/etc/passwd"),)), "symbolic link"),
    "hard link": (tarred(below(""), links=(("l", tarfile.LNKTYPE, CONFIG),)), "hard link"),
    "device": (tarred(below(""), links=(("d", tarfile.CHRTYPE, ""),)), "a device"),
    "block device": (tarred(below(""), links=(("d", tarfile.BLKTYPE, ""),)), "a device"),
    "pipe": (tarred(below(""), links=(("p", tarfile.FIFOTYPE, ""),)), "a pipe"),
    "sparse file": (tarred(below(""), links=(("s", tarfile.GNUTYPE_SPARSE, ""),)), "no plain file"),
    "many entries in tar": (tarred([(f"{n}", b"") for n in range(1001)], tarfile.USTAR_FORMAT), "1000 entries"),
    "many entries in zip": (zipped([(f"{n}", b"") for n in range(1001)]), "1000 entries"),
    "huge table in zip": (zipped([(f"{n}{'x' * 500}", b"") for n in range(3000)]), "table of contents"),
    "a pickle": (zipped([(CONFIG, b"{}"), ("adapter_model.bin", b"x")]), "a pickle can run any code"),
    "no config": (zipped([(WEIGHTS, b"")]), f"lacks {CONFIG}"),
    "empty zip": (zipped([]), "lacks"),
    "two adapters": (tarred([*below("a/"), *below("b/")]), "more than one adapter: 'a', 'b'"),
    "too deep": (tarred(below("a/b/")), "in its top folder"),
    "twice": (tarred([*below(""), *below("./")]), "twice"),
    "bzip2 in zip": (zipped(below(""), zipfile.ZIP_BZIP2), "method 12"),
    "no archive": (b"hello" * 200, "no zip, tar or tar.gz"),
    "nothing": (b"", "cut off"),
    "a cut tar": (tarred(below(""))[:3000], "cut off"),
    "a cut gzip": (gzip.compress(tarred(below("")))[:150], "cannot be read"),
    "a cut zip": (zipped(below(""))[:-30], "cannot be read"),
    "a long config": (zipped([(CONFIG, os.urandom(1024 * 1024 + 1)), (WEIGHTS, b"")]), "more than 1048576 bytes"),
    "control characters": (tarred([("\x1b[31m\u202e/..", b"")]), r"\x1b[31m\u202e"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_archive_is_refused(tmp_path: Path, case: str):
    data, words = REFUSED[case]
    assert words in refusal(tmp_path, data)


def test_a_link_in_a_zip_is_refused(tmp_path: Path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(WEIGHTS)
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert "no plain file" in refusal(tmp_path, out.getvalue())


def test_an_encrypted_zip_is_refused(tmp_path: Path):
    data = bytearray(zipped(below("")))
    place = data.index(b"PK\x01\x02")
    data[place + 8] |= 1
    assert "is encrypted" in refusal(tmp_path, bytes(data))


BOMBS: dict[str, Callable[[], bytes]] = {
    "zip": lambda: zipped([(CONFIG, b"{}"), (WEIGHTS, bytes(100_000_000))]),
    "tar.gz": lambda: gzip.compress(tarred([(CONFIG, b"{}"), (WEIGHTS, bytes(100_000_000))])),
    "tar.gz next to the adapter": lambda: gzip.compress(tarred([*below(""), ("big", bytes(100_000_000))])),
}


@pytest.mark.parametrize("case", BOMBS)
@pytest.mark.parametrize("limit", [1_000_000, 1_000_000_000])
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, case: str, limit: int):
    (tmp_path / "archive").write_bytes(BOMBS[case]())
    (tmp_path / "adapter").mkdir()
    tracemalloc.start()
    try:
        with pytest.raises(AdapterRefused, match="unpacks to more than"):
            unpack(tmp_path / "archive", tmp_path / "adapter", max_bytes=limit)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert sum(path.stat().st_size for path in (tmp_path / "adapter").iterdir()) < 20_000_000


def test_a_zip_with_a_false_size_is_refused(tmp_path: Path):
    data = bytearray(zipped([(CONFIG, b"{}"), (WEIGHTS, bytes(200_000))]))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 100)
    assert refusal(tmp_path, bytes(data))


def test_an_extended_header_of_a_gigabyte_is_not_read(tmp_path: Path):
    head = tarfile.TarInfo("pax")
    head.type, head.size = tarfile.XHDTYPE, 2**30
    assert "extended header of 1073741824 bytes" in refusal(tmp_path, head.tobuf() + bytes(1024))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


@settings(max_examples=150, deadline=None)
@given(
    case=st.sampled_from(sorted(PACKED)),
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 400),
)
def test_a_spoilt_archive_gives_the_two_files_or_a_refusal(
    work: Path, case: str, changes: list[tuple[int, int]], cut: int
):
    data = bytearray(PACKED[case])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        assert set(unpacked(work, bytes(data[: len(data) - cut]))) == set(FILES)
    except AdapterRefused as refused:
        check_sentence(refused)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=2000), magic=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08"]))
def test_any_bytes_are_refused(work: Path, data: bytes, magic: bytes):
    refusal(work, magic + data)
