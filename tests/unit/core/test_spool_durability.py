"""Facts about the fsyncs of the spool: what a power cut leaves, and what one that failed means."""

import asyncio
import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SpoolFull
from core.spool import SpoolWriter, segments
from tests.support.spool import half_write, no_space, payloads_of, whole


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
            kept += payloads_of(text[:safe] + (bytes(len(tail)) if zeros else tail))
        return kept


def test_durable_covers_everything_appended_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)

    @settings(deadline=None, max_examples=60)
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


def test_an_fsync_that_fails_while_the_segment_changes_fails_for_all_who_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel reports lost pages to one of two fsyncs. Here only the fsync of the change gets the error.
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
