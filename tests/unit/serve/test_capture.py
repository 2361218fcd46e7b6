"""Facts about capture: how records reach the spool, and the spool control."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from core.clock import utc_now
from core.db import spools
from core.db.store import Store
from core.record_codec import decode, encode
from core.records import Interaction, Revocation
from core.spool import SpoolWriter, read_frames, segments
from feedback.ingest import ingest
from serve.gateway import shipping
from serve.gateway.capture import Recorder
from serve.gateway.shipping import Shipper


def exchange(number: int) -> Interaction:
    return Interaction(
        f"i{number}",
        utc_now(),
        "m",
        0,
        "champion",
        0.0,
        None,
        None,
        None,
        "chat",
        None,
        None,
        "stop",
        200,
        1.0,
        None,
        1,
        1,
        False,
    )


def test_what_is_recorded_is_fsynced_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.gateway.capture.FSYNC_SECONDS", 0.01)

    async def scene() -> None:
        spool = SpoolWriter(tmp_path)
        recorder = Recorder(spool)
        recorder.start()
        for number in range(3):
            recorder.record(exchange(number))
        while spool._synced < 3:
            await asyncio.sleep(0.005)
        recorder.record(exchange(4))
        await recorder.stop()

    asyncio.run(scene())


def test_a_disk_that_fails_is_counted_and_recording_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.gateway.capture.FSYNC_SECONDS", 0.005)

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async def scene() -> None:
        recorder = Recorder(SpoolWriter(tmp_path, segment_bytes=1))
        recorder.start()
        recorder.record(exchange(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", fail)
            await asyncio.sleep(0.05)
            recorder.record(exchange(2))
        recorder.record(exchange(3))
        await recorder.stop()
        kept = [decode(f.payload).id for s in segments(tmp_path) for f in read_frames(s.path.read_bytes()).whole]  # type: ignore[union-attr]
        assert kept[0] == "i1" and kept[-1] == "i3" and len(kept) + recorder.dropped == 3

    asyncio.run(scene())


def test_a_full_disk_is_logged_once_in_a_while_with_how_much_was_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    recorder = Recorder(SpoolWriter(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        for n in range(50):
            recorder.record(exchange(n))
        assert recorder.dropped == 50 and caplog.text.count("interactions were not kept") == 1
        patch.setattr("serve.gateway.capture.TELL_SECONDS", 0)
        recorder.record(exchange(51))
    assert caplog.text.count("interactions were not kept") == 2 and "51 dropped" in caplog.text
    recorder.spool.close()


class Control:
    """The far end of shipping, without a socket: the real ingest, and answers gone wrong on demand."""

    def __init__(self) -> None:
        self.store, self.wrong, self.calls = Store(":memory:"), iter(()), 0
        self.refused: set[int] = set()
        self.wrong: Iterator[Any]

    @asynccontextmanager
    async def post(self, url: str, data: bytes, headers: dict[str, str]) -> Any:
        self.calls += 1
        fault = next(self.wrong, None)
        if isinstance(fault, Exception):
            raise fault
        path = urlsplit(url)
        asked = {name: value for name, (value,) in parse_qs(path.query).items()}
        segment, finished = int(path.path.rsplit("/", 1)[1]), asked.get("finished") == "true"
        if segment in self.refused:
            yield Answer(500, {})
            return
        found = ingest(self.store, "g", segment, int(asked["offset"]), data, finished=finished)
        answer = {"offset": found.offset, "damaged": found.damaged}
        yield Answer(200 if found.taken else 409, answer if fault is None else fault)

    def revoked(self) -> list[str]:
        with self.store.transaction() as transaction:
            sql = "SELECT feedback_id FROM revocations ORDER BY feedback_id"
            return [row[0] for row in transaction._connection.execute(sql).fetchall()]


class Answer:
    def __init__(self, status: int, body: Any) -> None:
        self.status, self.body = status, body

    async def json(self) -> Any:
        return self.body

    def raise_for_status(self) -> None:
        raise aiohttp.ClientResponseError(None, (), status=self.status, message="no")  # type: ignore[arg-type]


class Scene:
    """A spool with a shipper on it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.control, self.spool = Control(), SpoolWriter(folder, **options)
        self.shipper = Shipper(
            session=self.control,
            control_url="http://c",
            name="g",
            key="",
            spool=self.spool,  # type: ignore[arg-type]
        )

    def put(self, *ids: str) -> None:
        for identity in ids:
            self.spool.append(encode(Revocation(identity, utc_now())))

    def ship(self, until: Callable[[], bool]) -> None:
        async def run() -> None:
            task = asyncio.create_task(self.shipper.run())
            async with asyncio.timeout(5):
                while not until():
                    assert not task.done(), "shipping ended"
                    await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(run())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scene]]:
    monkeypatch.setattr(shipping, "IDLE_SECONDS", 0.001)
    monkeypatch.setattr(shipping, "RETRY_SECONDS", 0.001)
    made: list[Scene] = []
    yield lambda **options: made.append(Scene(tmp_path, **options)) or made[-1]
    for one in made:
        one.spool.close()
        one.control.store.close()


def test_finished_segments_are_deleted_once_they_are_fully_ingested(scene: Callable[..., Scene]) -> None:
    made = scene(segment_bytes=100)
    ids = [f"f{n:02d}" for n in range(12)]
    made.put(*ids)
    made.ship(lambda: made.shipper.unshipped == 0)
    assert made.control.revoked() == ids
    assert [s.number for s in segments(made.spool.folder)] == [made.spool.current]


def test_a_frame_larger_than_the_chunk_ships(scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "CHUNK", 16)
    made = scene()
    made.put("f" * 500, "g")
    made.ship(lambda: made.shipper.unshipped == 0)
    assert made.control.revoked() == ["f" * 500, "g"]


def test_a_torn_tail_of_a_finished_segment_is_dropped_and_the_rest_arrives(
    scene: Callable[..., Scene], tmp_path: Path
) -> None:
    old = SpoolWriter(tmp_path)
    old.append(encode(Revocation("f1", utc_now())))
    old.close()
    with segments(tmp_path)[0].path.open("ab") as file:
        file.write(b"\xff\0\0\0torn")
    made = scene()
    made.put("f2")
    made.ship(lambda: made.shipper.unshipped == 0)
    assert made.control.revoked() == ["f1", "f2"] and len(segments(tmp_path)) == 1


def test_a_damaged_byte_costs_its_record_alone_and_the_segment_is_kept(
    scene: Callable[..., Scene], tmp_path: Path
) -> None:
    old = SpoolWriter(tmp_path)
    for n in range(100):
        old.append(encode(Revocation(f"f{n:02d}", utc_now())))
    old.close()
    path = segments(tmp_path)[0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 100 + 20] ^= 1
    path.write_bytes(content)
    made = scene()
    made.put("new")
    made.ship(lambda: made.shipper.unshipped == 0)
    assert made.control.revoked() == [*(f"f{n:02d}" for n in range(100) if n != 1), "new"]
    assert made.shipper.damaged == 1 and path.with_suffix(".bad").read_bytes() == content
    letters = spools.newest_dead_letters(made.control.store, limit=9)
    assert [letter["reason"] for letter in letters] == ["Damaged: the bytes are no whole frame"]


def test_a_segment_that_control_refuses_does_not_stop_those_after_it(scene: Callable[..., Scene]) -> None:
    made = scene(segment_bytes=60)
    made.put("f1", "f2", "f3", "f4")
    refused = segments(made.spool.folder)[0].number
    made.control.refused = {refused}
    made.ship(lambda: made.control.revoked() == ["f2", "f3", "f4"])
    assert segments(made.spool.folder)[0].number == refused
    made.control.refused = set()
    made.ship(lambda: made.shipper.unshipped == 0)
    assert made.control.revoked() == ["f1", "f2", "f3", "f4"]


def test_shipping_goes_on_after_any_wrong_answer_and_no_row_is_lost(scene: Callable[..., Scene]) -> None:
    made = scene(segment_bytes=60)
    made.control.wrong = iter(
        [
            aiohttp.ClientConnectionError(),
            {},
            TimeoutError(),
            ValueError("no JSON"),
            OSError("gone"),
            {"offset": 0},
            RuntimeError("a bug"),
            TypeError("another"),
            {"offset": "x"},
            [],
        ]
    )
    made.put("f1", "f2", "f3")
    made.ship(lambda: made.shipper.unshipped == 0)
    assert made.control.revoked() == ["f1", "f2", "f3"] and made.control.calls > 10


def test_a_flush_waits_until_control_has_the_spool_and_no_longer_than_its_limit(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "IDLE_SECONDS", 60)
    made = scene(segment_bytes=60)

    async def run() -> None:
        assert await made.shipper.flush(5)  # nothing is spooled: nothing to wait for
        made.put("f1", "f2")
        assert not await made.shipper.flush(0.02)  # nobody ships
        task = asyncio.create_task(made.shipper.run())
        assert await made.shipper.flush(5) and made.control.revoked() == ["f1", "f2"]
        made.put("f3")  # the shipper rests for a minute, unless a flush wakes it
        assert await made.shipper.flush(5) and made.control.revoked() == ["f1", "f2", "f3"]
        monkeypatch.setattr(shipping, "RETRY_SECONDS", 60)
        made.control.wrong = iter([aiohttp.ClientConnectionError()])
        made.put("f4")
        async with asyncio.timeout(2):
            assert not await made.shipper.flush(60)  # control is dead: no use in waiting
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_a_new_shipper_continues_where_the_last_one_ended(scene: Callable[..., Scene]) -> None:
    made = scene()
    made.put("f1")
    made.ship(lambda: made.shipper.unshipped == 0)
    made.shipper._sent.clear()
    made.put("f2")
    made.ship(lambda: made.shipper.unshipped == 0)
    assert made.control.revoked() == ["f1", "f2"]
