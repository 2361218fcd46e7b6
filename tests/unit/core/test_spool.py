"""Facts about the spool: what it reads back after any damage, and what it promises when the disk is full."""

import asyncio
import errno
import os
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import spool
from core.errors import SpoolFull
from core.spool import SpoolWriter, frame, read_frames, read_from, segments

payloads = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
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
    """Remembers what fsyncs have covered, bytes of files and names in folders, as a power cut would leave it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: dict[int, int] = {}
        self.names: dict[int, set[str]] = {}
        self.failing = False
        real_data, real_all = os.fdatasync, os.fsync

        def fdatasync(fd: int) -> None:
            if self.failing:
                raise OSError(errno.EIO, "Input/output error")
            found = os.fstat(fd)
            real_data(fd)
            self.sizes[found.st_ino] = max(found.st_size, self.sizes.get(found.st_ino, 0))

        def fsync(fd: int) -> None:
            real_all(fd)
            self.names[os.fstat(fd).st_ino] = set(os.listdir(fd))

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        monkeypatch.setattr(os, "fsync", fsync)

    def kept(self, path: Path) -> bool:
        return path.name in self.names.get(path.parent.stat().st_ino, ())

    def after_a_power_cut(self, folder: Path, rest: int = 0, zeros: bool = False) -> list[bytes]:
        """The payloads that are read then; `rest` bytes behind each fsync stay too, or are zeros, as disks please."""
        kept = []
        for segment in segments(folder):
            if not all(map(self.kept, (segment.path, folder, folder.parent))):
                continue
            text, safe = segment.path.read_bytes(), self.sizes.get(segment.path.stat().st_ino, 0)
            tail = text[safe : safe + rest]
            kept += [payload for payload, _ in read_frames(text[:safe] + (bytes(len(tail)) if zeros else tail))]
        return kept


def test_durable_covers_everything_appended_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)

    @quick
    @given(st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.booleans()), min_size=1, max_size=12))
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
            asyncio.run(scene(Path(folder) / "new" / "spool"))

    fact()


STEP = st.sampled_from(["append", "append", "append", "pause", "disk fails", "disk is well", "disk is full"])


def test_a_power_cut_at_any_moment_keeps_what_was_acknowledged_and_nothing_torn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = Disk(monkeypatch)
    real = os.write

    async def send(writer: SpoolWriter, payload: bytes, acknowledged: list[bytes]) -> None:
        try:
            await writer.durable(writer.append(payload))
        except SpoolFull:
            return
        acknowledged.append(payload)

    async def scene(folder: Path, steps: list[str], rest: int, zeros: bool) -> None:
        writer, sending, written = SpoolWriter(folder, segment_bytes=90), [], []
        acknowledged: list[bytes] = []
        for number, step in enumerate(steps):
            disk.failing = step == "disk fails" or (disk.failing and step != "disk is well")
            monkeypatch.setattr(os, "write", half_write if step == "disk is full" else real)
            if step in ("append", "disk is full"):
                written.append(b"%d " % number * 9)
                sending.append(asyncio.create_task(send(writer, written[-1], acknowledged)))
            await asyncio.sleep(0.0005 if step == "pause" else 0)
            found = disk.after_a_power_cut(folder, rest, zeros)  # a cut at this very moment
            assert set(acknowledged) <= set(found) <= set(written)
            assert len(found) == len(set(found))
        disk.failing = False
        await asyncio.gather(*sending)
        assert set(acknowledged) <= set(disk.after_a_power_cut(folder, rest, zeros))
        writer.close()

    @settings(deadline=None, max_examples=150)
    @given(st.lists(STEP, min_size=3, max_size=25), st.integers(0, 60), st.booleans())
    def fact(steps: list[str], rest: int, zeros: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(scene(Path(folder) / "new" / "spool", steps, rest, zeros))

    fact()


def test_an_fsync_that_fails_while_the_segment_changes_is_told_to_all_who_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel tells one of two fsyncs of lost pages. Here the one of the change is told, the other is not.
    real, started, go_on = os.fdatasync, threading.Event(), threading.Event()

    def fdatasync(fd: int) -> None:
        if threading.current_thread() is threading.main_thread():
            raise OSError(errno.EIO, "Input/output error")
        started.set()
        go_on.wait(5)
        real(fd)

    async def scene() -> None:
        writer = SpoolWriter(tmp_path, segment_bytes=1)
        waiting = asyncio.create_task(writer.durable(writer.append(b"lost")))
        while not started.is_set():
            await asyncio.sleep(0.001)
        ticket = writer.append(b"after")
        go_on.set()
        with pytest.raises(SpoolFull, match="could not be written to disk"):
            await waiting
        await writer.durable(ticket)
        monkeypatch.setattr(os, "fdatasync", real)
        writer.close()

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    asyncio.run(scene())


def test_what_stands_before_a_torn_frame_is_fsynced_before_it_counts_as_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)

    async def scene() -> None:
        writer = SpoolWriter(tmp_path / "new" / "spool")
        ticket = writer.append(b"before")
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half_write)
            patch.setattr(os, "ftruncate", no_space)
            with pytest.raises(SpoolFull):
                writer.append(b"refused")
        await writer.durable(writer.append(b"after"))
        await writer.durable(ticket)
        assert disk.after_a_power_cut(writer.folder) == [b"before", b"after"]
        writer.close()

    asyncio.run(scene())


def test_zeros_that_a_power_cut_left_are_no_frames() -> None:
    assert list(read_frames(frame(b"one") + bytes(64))) == [(b"one", 11)]


def test_a_writer_on_a_full_disk_refuses_each_record_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SpoolWriter(tmp_path)
    old.append(b"old")
    old.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_space)
        writer = SpoolWriter(tmp_path)
        assert writer.current > segments(tmp_path)[-1].number  # what is there is finished: shipping makes room
        for _ in range(2):
            with pytest.raises(SpoolFull, match="takes no more bytes"):
                writer.append(b"refused")
    assert writer.refused == 2
    writer.append(b"new")
    writer.close()
    assert whole(tmp_path) == [b"old", b"new"]
    assert segments(tmp_path)[-1].number == writer.current


@quick
@given(st.lists(st.integers(-10_800_000_000, 10_800_000_000), min_size=1, max_size=8))
def test_order_stands_however_the_clock_jumps(jumps: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, now = Path(name), time.time_ns()
        for number, jump in enumerate(jumps):  # microseconds, up to three hours
            patch.setattr(spool.time, "time_ns", lambda at=now + jump * 1000: at)
            writer = SpoolWriter(folder)
            writer.append(b"%d" % number)
            writer.close()
        assert whole(folder) == [b"%d" % number for number in range(len(jumps))]


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
