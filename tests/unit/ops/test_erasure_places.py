"""Facts about an erasure in segments of gateways, next to runs, in the ledger and in the console."""

import asyncio
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import httpx
import pytest

from core.clock import utc_now
from core.db.quarantines import Predicate
from core.record_codec import encode
from core.records import Feedback
from core.spool import SpoolWriter, frame
from feedback.erasure import Request
from feedback.ingest import add
from feedback.tombstones import hash_of
from ops import erasures
from ops.erasures import Erasures, older_segments
from ops.fine_tuning.files import UploadedFiles
from rollout import quarantine_review
from serve.engines.fake import running
from serve.gateway import shipping
from serve.gateway.shipping import Shipper
from tests.support.fine_tuning import lines, supervised
from tests.support.ingest import query
from tests.unit.ops.test_erasures import ZOE, Place, chat, erase

INTERNAL = "internal-" + "x" * 40


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    found.store.close()


def spool_of(place: Place) -> SpoolWriter:
    """A gateway's spool with an interaction of hers that control has not ingested."""
    spool = SpoolWriter(place.data / "gateways" / "g" / "spool")
    spool.append(encode(chat("z9", ZOE, "the zebra in a segment", answer="quagga")))
    return spool


def test_a_running_gateway_deletes_its_segment_and_no_byte_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "LONGEST_SEGMENT_S", 0.2)
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", INTERNAL)
    place = Place(tmp_path)
    spool = spool_of(place)
    stop = threading.Event()

    async def ship() -> None:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{place.control.port}"
            shipper = Shipper(session=session, control_url=url, name="g", key=INTERNAL, spool=spool)
            task = asyncio.create_task(shipper.run())
            while not stop.is_set():
                await asyncio.sleep(0.05)
            task.cancel()

    with running(place.control.app, place.control.port):
        gateway = threading.Thread(target=lambda: asyncio.run(ship()))
        gateway.start()
        try:
            done = place.control.run("data", "erase", "--user", ZOE, "--yes")
        finally:
            stop.set()
            gateway.join()
        assert done.exit_code == 0 and "still there" not in done.stdout
        spool.close()
        assert place.found() == set()
        assert query(place.store, "SELECT count(*) FROM interactions WHERE id = 'z9' AND request IS NOT NULL") == [(0,)]


def test_a_segment_that_stays_is_in_the_receipt(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "LONGEST_WAIT_S", 0.0)
    spool = spool_of(place)
    receipt = erase(place)
    assert receipt["segments"] == [f"gateways/g/spool/{spool.current:020d}.seg"]
    spool.append(encode(chat("z10", ZOE, "later", time=utc_now())))
    assert older_segments(place.data, utc_now()) and not older_segments(place.data, place_time(spool))


def place_time(spool: SpoolWriter) -> datetime:
    return datetime.fromtimestamp(spool.current / 1e6, UTC)


def test_a_damaged_segment_with_the_name_is_deleted_and_another_stays(place: Place) -> None:
    folder = place.data / "gateways" / "g" / "spool"
    folder.mkdir(parents=True)
    for name, about, user in (("1.bad", "i1", ZOE), ("2.bad", "z1", None), ("3.bad", "i1", None)):
        said = Feedback("x", utc_now(), about, None, "comment", "a", user=user)
        (folder / name).write_bytes(b"\0\0" + frame(encode(said)))
    erase(place)
    assert [path.name for path in folder.iterdir()] == ["3.bad"]


def test_an_erasure_waits_for_a_run_and_a_run_waits_for_the_erasure(tmp_path: Path) -> None:
    place = Place(tmp_path)
    order: list[str] = []
    with ThreadPoolExecutor(1) as queue:
        begins, ends = threading.Event(), threading.Event()

        def run() -> None:
            begins.set()
            ends.wait(30)
            order.append("run")

        def alone(work: Callable[[], None]) -> Future[None]:
            def both() -> None:
                order.append("erasure")
                work()

            return queue.submit(both)

        place.erasures = Erasures(
            store=place.store,
            promotion=place.promotion,
            settings=place.control.app.state.control.settings,
            clock=utc_now,
            run_alone=alone,
        )
        queue.submit(run)
        begins.wait(30)
        place.erasures.start()
        begun = place.erasures.begin(Request(ZOE))
        later = queue.submit(order.append, "a later run") if _queued(queue) else None
        assert place.erasures.show(begun["id"])["state"] == "pending"
        ends.set()
        deadline = time.monotonic() + 60
        while place.erasures.show(begun["id"])["state"] != "done":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert later is not None
        later.result(30)
        place.erasures.stop()
    assert order == ["run", "erasure", "a later run"]
    assert place.found() == set()
    place.store.close()


def _queued(queue: ThreadPoolExecutor) -> bool:
    deadline = time.monotonic() + 30
    while queue._work_queue.qsize() < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def test_control_that_stops_during_a_run_leaves_the_erasure_for_its_next_start(place: Place) -> None:
    waiting: Future[None] = Future()
    place.erasures = Erasures(
        store=place.store,
        promotion=place.promotion,
        settings=place.control.app.state.control.settings,
        clock=utc_now,
        run_alone=lambda work: waiting,
    )
    place.erasures.start()
    begun = place.erasures.begin(Request(ZOE))
    place.erasures.stop()
    assert waiting.cancelled() or not waiting.done()
    assert place.erasures.show(begun["id"])["state"] == "pending"


def test_the_ledger_has_a_hash_and_no_name_of_whom_a_quarantine_holds(place: Place) -> None:
    made = quarantine_review.hold(place.promotion, ["reviews"], Predicate(user=ZOE), actor="me", comment="")
    assert made[0]["user"] == ZOE
    quarantine_review.decide(place.promotion, made[0]["id"], "released", actor="me", comment="")
    written = query(place.store, "SELECT reason || body FROM decisions")
    assert not any(ZOE in text for (text,) in written)
    assert f"user with the hash {hash_of(ZOE)[:16]}" in written[0][0] and hash_of(ZOE) in written[0][0]
    assert place.erasures.preview(Request(ZOE))["ledger_rows"] == []
    erase(place)
    assert place.found() == set()


def test_the_console_counts_asks_erases_and_shows_the_receipt(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with (
        running(place.control.app, place.control.port),
        httpx.Client(base_url=f"http://127.0.0.1:{place.control.port}", trust_env=False, timeout=30) as browser,
    ):
        token = re.findall(r'name="token" value="([^"]*)"', browser.get("/erasures").text)[0]
        asked = browser.post("/erasures/preview", data={"token": token, "user": ZOE})
        assert f"Erase the user {ZOE}?" in asked.text and "rows of feedback" in asked.text
        assert 'action="/erasures"' in asked.text and f'name="user" value="{ZOE}"' in asked.text
        assert query(place.store, "SELECT count(*) FROM erasures") == [(0,)]
        begun = browser.post("/erasures", data={"token": token, "user": ZOE, "comment": "asked for it"})
        assert begun.status_code == 303
        deadline = time.monotonic() + 60
        while "<dt>State</dt><dd>done" not in (page := browser.get(begun.headers["location"]).text):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert hash_of(ZOE) in page and "asked for it" in page and ZOE not in page
        listed = browser.get("/erasures").text
        assert hash_of(ZOE)[:16] in listed and ZOE not in listed
        assert browser.get("/erasures.json").json()["erasures"][0]["state"] == "done"
        assert browser.post("/erasures", data={"token": "wrong", "user": "u1"}).status_code == 403
        assert place.found() == set()


def test_the_examples_of_a_user_leave_uploaded_files(place: Place) -> None:
    files = UploadedFiles(store=place.store, data=place.data, clock=utc_now)
    rows = [row | {"user": user} for row, user in zip(supervised(2), ("u1", ZOE), strict=True)]
    file = files.keep(io.BytesIO(lines(rows)), name="t.jsonl", model=None, actor="me")
    erase(place)
    assert files.path(file["id"]).read_bytes() == lines(rows[:1])


def test_preferences_that_name_nobody_go_with_the_user_whose_answer_they_choose(place: Place) -> None:
    def prefer(identity: str, chosen: str, other: str, **more: str) -> Feedback:
        return Feedback(identity, utc_now(), None, None, "preference", {"chosen": chosen, "rejected": other}, **more)

    add(place.store, [chat("p1", ZOE, "hers", key_id="k1"), chat("p2", "u1", "another's", key_id="k1")])
    pairs = [
        prefer("hers", "p1", "p2", key_id="k1"),
        prefer("not-hers", "p2", "p1", key_id="k1"),
        prefer("named", "p1", "p2", user="u1", key_id="k1"),
    ]
    add(place.store, [*pairs, Feedback("other-app", utc_now(), None, "talk-of-two-apps", "thumbs", True, key_id="k2")])
    with place.store.transaction() as transaction:
        transaction._connection.execute("UPDATE feedback SET asker = ? WHERE id = 'other-app'", [ZOE])
    erase(place)
    left = query(place.store, "SELECT id, asker FROM feedback WHERE id IN ('hers', 'not-hers', 'named', 'other-app')")
    assert sorted(left) == [("named", None), ("not-hers", "u1"), ("other-app", None)]


def test_signatures_of_the_users_prompts_go_and_those_of_others_stay(place: Place) -> None:
    signed = "SELECT count(*) FROM fingerprints f JOIN interactions i ON i.id = f.interaction_id WHERE i.user_id"
    of_user, of_others = query(place.store, f"{signed} = '{ZOE}'"), query(place.store, f"{signed} <> '{ZOE}'")
    assert of_user[0][0] > 0 and of_others[0][0] > 0
    erase(place)
    assert query(place.store, "SELECT count(*) FROM fingerprints") == of_others
