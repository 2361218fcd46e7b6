"""Facts about the spool: what it reads back after any damage, and what it promises when the disk is full."""

import asyncio
import errno
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import spool
from core.errors import SpoolFull
from core.spool import SpoolWriter, frame, read_frames, read_from, segments

payloads = st.lists(st.binary(max_size=40), max_size=8)
quick = settings(deadline=None, max_examples=60)


def whole(folder: Path) -> list[bytes]:
    return [payload for segment in segments(folder) for payload, _ in read_frames(segment.path.read_bytes())]


@quick
@given(payloads, st.data())
def test_any_cut_of_a_segment_yields_a_prefix_of_whole_frames(items: list[bytes], data: st.DataObject) -> None:
    text = b"".join(map(frame, items))
    cut = data.draw(st.integers(0, len(text)))
    found = list(read_frames(text[:cut]))
    assert [payload for payload, _ in found] == items[: len(found)]
    assert all(end <= cut for _, end in found)
    ends = [sum(len(frame(p)) for p in items[: n + 1]) for n in range(len(items))]
    assert len(found) == sum(end <= cut for end in ends)


@quick
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6), st.data())
def test_a_flipped_byte_is_never_parsed(items: list[bytes], data: st.DataObject) -> None:
    text = bytearray(b"".join(map(frame, items)))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= data.draw(st.integers(1, 255))
    found = [payload for payload, _ in read_frames(bytes(text))]
    assert found == items[: len(found)]
    assert len(found) < len(items)


@quick
@given(st.binary(max_size=200))
def test_noise_is_read_without_an_error(noise: bytes) -> None:
    list(read_frames(noise))


def test_a_new_writer_never_appends_to_an_old_segment(tmp_path: Path) -> None:
    first = SpoolWriter(tmp_path)
    first.append(b"one")
    first.close()
    torn = segments(tmp_path)[0].path
    torn.write_bytes(torn.read_bytes() + b"torn")
    before = torn.read_bytes()
    second = SpoolWriter(tmp_path)
    second.append(b"two")
    second.close()
    assert torn.read_bytes() == before
    assert whole(tmp_path) == [b"one", b"two"]


def test_numbers_never_repeat_after_the_folder_is_emptied(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(5):
        writer = SpoolWriter(tmp_path)
        seen.append(writer.current)
        writer.close()
        for segment in segments(tmp_path):
            segment.path.unlink()
    assert seen == sorted(set(seen))


def test_numbers_go_on_when_the_clock_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SpoolWriter(tmp_path)
    first.close()
    monkeypatch.setattr(spool.time, "time_ns", lambda: 1000)
    second = SpoolWriter(tmp_path)
    second.close()
    assert second.current == first.current + 1


def test_a_segment_rolls_when_it_is_large_enough(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=30)
    for number in range(10):
        writer.append(b"payload %d" % number)
    writer.close()
    assert len(segments(tmp_path)) == 5  # two frames of 17 bytes in each
    assert whole(tmp_path) == [b"payload %d" % number for number in range(10)]


def half_write(fd: int, data: bytes, real: object = os.write) -> int:
    real(fd, data[: len(data) // 2])  # type: ignore[operator]
    return len(data) // 2


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("write", [half_write, no_space])
def test_a_full_disk_leaves_no_torn_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(SpoolFull, match="takes no more bytes"):
            writer.append(b"refused")
    assert writer.refused == 1
    writer.append(b"after")
    writer.close()
    assert whole(tmp_path) == [b"before", b"after"]


def test_when_not_even_the_torn_frame_can_be_cut_off_the_next_one_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half_write)
        patch.setattr(os, "ftruncate", no_space)
        with pytest.raises(SpoolFull):
            writer.append(b"refused")
    writer.append(b"after")
    writer.close()
    assert len(segments(tmp_path)) == 2
    assert whole(tmp_path) == [b"before", b"after"]


def test_a_disk_that_takes_no_new_segment_is_spool_full_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=1)
    writer.append(b"before")
    number = writer.current
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_space)
        for _ in range(3):
            with pytest.raises(SpoolFull):
                writer.append(b"refused")
    assert writer.current == number  # else a shipper would take the open segment for a finished one
    writer.append(b"after")
    writer.close()
    assert whole(tmp_path) == [b"before", b"after"]


def test_a_record_longer_than_a_reader_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MAX_PAYLOAD", 10)
    writer = SpoolWriter(tmp_path)
    with pytest.raises(SpoolFull, match="longer than the spool takes"):
        writer.append(b"x" * 11)
    writer.append(b"x" * 10)
    writer.close()
    assert whole(tmp_path) == [b"x" * 10]


class Disk:
    """Remembers what an fsync has covered, as a power cut would leave it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.safe: dict[int, int] = {}
        real = os.fdatasync

        def fdatasync(fd: int) -> None:
            size = os.fstat(fd).st_size
            real(fd)
            inode = os.fstat(fd).st_ino
            self.safe[inode] = max(size, self.safe.get(inode, 0))

        monkeypatch.setattr(os, "fdatasync", fdatasync)

    def after_a_power_cut(self, folder: Path) -> list[bytes]:
        kept = []
        for segment in segments(folder):
            data = segment.path.read_bytes()[: self.safe.get(segment.path.stat().st_ino, 0)]
            kept += [payload for payload, _ in read_frames(data)]
        return kept


def test_durable_covers_everything_appended_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)

    @quick
    @given(st.lists(st.tuples(st.binary(max_size=30), st.booleans()), min_size=1, max_size=12))
    def fact(steps: list[tuple[bytes, bool]]) -> None:
        async def scene(folder: Path) -> None:
            writer, waits, written = SpoolWriter(folder, segment_bytes=60), [], []

            async def wait(ticket: int) -> None:
                await writer.durable(ticket)
                assert disk.after_a_power_cut(folder)[:ticket] == written[:ticket]

            for payload, pause in steps:
                written.append(payload)
                waits.append(asyncio.create_task(wait(writer.append(payload))))
                if pause:
                    await asyncio.sleep(0)
            await asyncio.gather(*waits)
            writer.close()

        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(scene(Path(folder)))

    fact()


def test_one_fsync_serves_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)

    async def scene() -> None:
        writer = SpoolWriter(tmp_path)
        tickets = [writer.append(b"x") for _ in range(50)]
        await asyncio.gather(*(writer.durable(ticket) for ticket in tickets))

    asyncio.run(scene())
    assert len(calls) == 1


def test_after_an_fsync_that_failed_nothing_more_goes_into_that_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        writer = SpoolWriter(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", no_space)
            ticket = writer.append(b"lost")
            results = await asyncio.gather(writer.durable(ticket), writer.durable(ticket), return_exceptions=True)
            assert all(isinstance(result, SpoolFull) for result in results)
        await writer.durable(writer.append(b"after"))
        writer.close()

    asyncio.run(scene())
    assert len(segments(tmp_path)) == 2
    assert whole(tmp_path)[-1] == b"after"


def test_a_piece_for_shipping_holds_at_least_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "1.seg"
    path.write_bytes(frame(b"a" * 100) + frame(b"b"))
    assert [p for p, _ in read_frames(read_from(path, 0, 10))] == [b"a" * 100]
    assert [p for p, _ in read_frames(read_from(path, 0, 1000))] == [b"a" * 100, b"b"]
    assert [p for p, _ in read_frames(read_from(path, 108, 1000))] == [b"b"]
    assert read_from(path, 117, 10) == b""
