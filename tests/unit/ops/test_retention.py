"""Facts about retention: what goes and what stays, that it is shown before, and that deleted texts are gone."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.clock import utc_now
from core.db import console_sessions, runs
from core.db import retention as table
from core.records import Version
from core.settings import ModelSettings, RetentionSettings
from core.spool import frame
from feedback import retention
from feedback.ingest import add, ingest
from feedback.snapshot import create_snapshot
from ops import disk_space
from ops.retention import FIRST_DAYS, Retention
from ops.retention_files import why_needed
from serve.engines.fake import running
from tests.support.alone import at_once
from tests.support.ingest import asked, query, said
from tests.support.running_control import RunningControl

NOW = utc_now()
OLD = NOW - timedelta(days=400)


class Place:
    """A control with data of every kind that is 400 days old, and a retention whose clock can be set."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.control = RunningControl(folder)
        self.store, self.data, self.now = self.control.store, folder / "data", NOW
        whole = self.control.app.state.control.settings
        self.settings = whole.model_copy(update={"retention": RetentionSettings(**settings)})
        self.retention = Retention(store=self.store, settings=self.settings, clock=lambda: self.now, run_alone=at_once)
        self.promotion = self.control.app.state.control.promotion
        self.promotion.sync_models(["reviews"])

    def fill(self) -> None:
        request = {"messages": [{"role": "user", "content": "an old zebra"}]}
        add(self.store, [asked("old", model="reviews", time=OLD, request=request, answer="an old quagga")])
        add(self.store, [asked("new", model="reviews", time=NOW, request={"messages": []}, answer="a new okapi")])
        ingest(self.store, "g", 1, 0, frame(b"an old tapir"), lambda: OLD)
        query(self.store, "CHECKPOINT")

    def bytes(self) -> bytes:
        """Every byte under the data folder."""
        return b"".join(path.read_bytes() for path in self.data.rglob("*") if path.is_file())

    def kinds(self) -> dict[str, Any]:
        return {kind["kind"]: kind for kind in self.retention.show()["kinds"]}

    def delete(self) -> dict[str, Any]:
        return self.retention.begin("me", "")["deleted"]

    def snapshot(self, identity: str, label: str, time: datetime, version: int | None = None) -> str:
        """The snapshot of a run, and the version that learnt from it."""
        request = {"messages": [{"role": "user", "content": f"text of {identity}"}]}
        add(self.store, [asked(f"{identity}-i", model="reviews", time=NOW, user=identity, request=request)])
        add(self.store, [said(f"{identity}-f", f"{identity}-i", label, "label")])
        runs.add(self.store, id=identity, model="reviews", trigger="t", state="x", started=time, feedback_until=time)
        settings = ModelSettings(labels=["a", "b"])
        folder = self.data / "snapshots"
        made = create_snapshot(self.store, "reviews", settings, run_id=identity, folder=folder, clock=lambda: time)
        runs.set_snapshot(self.store, id=identity, snapshot=made.hash)
        runs.set_state(self.store, id=identity, state="finished", reason=None, time=time)
        if version is not None:
            with self.store.transaction() as transaction:
                adapter = Version(
                    "reviews", version, f"reviews@{version}", None, f"sha{version}", 8, identity, "adapter"
                )
                self.promotion.add_version(transaction, adapter)
        return made.hash

    def serve(self, champion: int, previous: int | None) -> None:
        query(
            self.store,
            "INSERT INTO routes (model, rev, time, champion, share, previous, salt) VALUES "
            f"('reviews', 99, now()::TIMESTAMP, {champion}, 0, {'NULL' if previous is None else previous}, 's')",
        )

    def folders(self) -> set[str]:
        return {path.name for path in (self.data / "snapshots").iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path, texts=300)
    yield found
    found.store.close()


def test_deleted_texts_are_in_no_byte_of_the_store(place: Place) -> None:
    place.fill()
    assert b"tapir" in place.bytes()  # or the next lines would prove nothing
    deleted = place.delete()
    assert {kind: deleted[kind]["rows"] for kind in ("unrated_texts", "dead_letters")} == {
        "unrated_texts": 1,
        "dead_letters": 1,
    }
    assert deleted["rewritten"]
    content = place.bytes()
    assert b"zebra" not in content and b"quagga" not in content and b"tapir" not in content
    assert query(place.store, "SELECT answer FROM interactions ORDER BY id") == [("a new okapi",), (None,)]


def test_what_would_go_is_shown_before_and_a_look_deletes_nothing(place: Place) -> None:
    place.fill()
    before = query(place.store, "SELECT * FROM interactions")
    assert place.kinds()["unrated_texts"] | {"bytes": 0, "old_bytes": 0} == {
        "kind": "unrated_texts",
        "what": "texts and users of interactions without feedback",
        "days": 365,
        "rows": 2,
        "bytes": 0,
        "old_rows": 1,
        "old_bytes": 0,
        "kept": {},
    }
    assert place.kinds()["votes"]["days"] is None
    assert query(place.store, "SELECT * FROM interactions") == before


def test_the_schedule_only_announces_in_its_first_days(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.fill()
    place.retention.start()
    place.retention.run_schedule()
    assert "retention will delete" in caplog.text and place.retention.newest(9) == []
    assert place.kinds()["unrated_texts"]["old_rows"] == 1
    place.now += timedelta(days=FIRST_DAYS)
    place.retention.start()  # a restart announces nothing a second time
    place.retention.run_schedule()
    (row,) = place.retention.newest(9)
    assert row["actor"] == "schedule" and row["state"] == "done" and row["deleted"]["unrated_texts"]["rows"] == 1
    place.retention.run_schedule()
    assert len(place.retention.newest(9)) == 1  # nothing was left to delete


def test_the_schedule_deletes_sessions_that_have_expired_from_the_first_day(place: Place) -> None:
    for digest, hours in (("ended", 0), ("open", 1)):
        console_sessions.add(
            place.store,
            digest=digest,
            issuer="https://id.example",
            subject="7",
            email="",
            groups=["ops"],
            began=place.now - timedelta(hours=12),
            expires=place.now + timedelta(hours=hours),
        )
    place.retention.start()
    place.retention.run_schedule()
    assert query(place.store, "SELECT digest FROM console_sessions") == [("open",)]


def test_the_schedule_rewrites_the_file_at_most_every_few_days(place: Place) -> None:
    place.retention.start()
    place.now += timedelta(days=FIRST_DAYS)
    place.fill()
    place.retention.run_schedule()
    ingest(place.store, "g2", 1, 0, frame(b"an old gazelle"), lambda: OLD)
    place.now += timedelta(days=1)
    place.retention.run_schedule()
    assert [row["deleted"].get("rewritten") for row in place.retention.newest(9)] == [None, True]
    place.now += timedelta(days=7)
    place.retention.run_schedule()
    assert place.retention.newest(1)[0]["deleted"] == {"rewritten": True}
    assert b"gazelle" not in place.bytes()


def test_snapshots_of_live_versions_and_of_open_runs_stay_at_any_age(place: Place) -> None:
    names = {
        "gone": place.snapshot("r1", "a", OLD, version=1),
        "previous": place.snapshot("r2", "b", OLD, version=2),
        "champion": place.snapshot("r3", "a", OLD, version=3),
        "open": place.snapshot("r4", "b", OLD),
        "skipped": place.snapshot("r5", "a", OLD),
        "newest": place.snapshot("r6", "b", OLD + timedelta(days=1)),
    }
    assert len(set(names.values())) == 6
    query(place.store, "UPDATE runs SET finished = NULL WHERE id = 'r4'")
    place.serve(3, 2)
    kinds = place.kinds()
    assert set(kinds["snapshots"]["kept"]) == {names["previous"], names["champion"]}
    assert set(kinds["unused_snapshots"]["kept"]) == {names["open"], names["newest"]}
    assert (kinds["snapshots"]["old_rows"], kinds["unused_snapshots"]["old_rows"]) == (1, 1)
    deleted = place.delete()
    assert deleted["snapshots"]["names"] == [names["gone"]]
    assert deleted["unused_snapshots"]["names"] == [names["skipped"]]
    assert place.folders() == {names[name] for name in ("previous", "champion", "open", "newest")}
    assert {row for (row,) in query(place.store, "SELECT DISTINCT snapshot FROM snapshot_rows")} == place.folders()
    assert len(query(place.store, "SELECT DISTINCT hash FROM snapshots")) == 6  # the reports stay


def test_an_equal_snapshot_is_made_again_after_its_deletion(place: Place) -> None:
    first = place.snapshot("r1", "a", OLD)
    newer = place.snapshot("r2", "b", OLD + timedelta(days=1))
    place.delete()
    assert place.folders() == {newer}
    query(place.store, "DELETE FROM feedback WHERE id = 'r2-f'")
    settings = ModelSettings(labels=["a", "b"])
    folder = place.data / "snapshots"
    again = create_snapshot(place.store, "reviews", settings, run_id="r3", folder=folder, clock=lambda: NOW)
    assert again.hash == first and query(place.store, f"SELECT count(*) FROM snapshot_rows WHERE snapshot = '{first}'")


def test_the_reason_why_a_snapshot_stays_is_said() -> None:
    nothing: dict[str, Any] = {"unfinished": False, "live": False, "newest": False}
    assert why_needed(nothing) is None
    assert why_needed(nothing | {"live": True, "newest": True}) == (
        "a version that serves, or that a rollback would restore, learnt from it"
    )
    assert why_needed(nothing | {"unfinished": True, "live": True}) == "a run that has not ended uses it"


def test_folders_of_runs_and_of_restores_and_damaged_segments_go_by_age(place: Place) -> None:
    place.snapshot("old", "a", OLD)
    place.snapshot("open", "b", OLD)
    query(place.store, "UPDATE runs SET finished = NULL WHERE id = 'open'")
    for name in ("runs/old", "runs/open", "runs/unknown", "before-restore-1", "before-restore-2"):
        (place.data / name).mkdir(parents=True)
        (place.data / name / "log.txt").write_text("text")
    bad = place.data / "gateways" / "g" / "spool" / "1.bad"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"damaged")
    for path in (place.data / "runs" / "unknown", place.data / "before-restore-1", bad):
        os.utime(path, (OLD.timestamp(), OLD.timestamp()))
    deleted = place.delete()
    assert sorted(deleted["runs"]["names"]) == ["old", "unknown"]
    assert deleted["restore_copies"]["names"] == ["before-restore-1"]
    assert deleted["dead_letters"] == {"rows": 1, "bytes": 7, "names": ["1.bad"]}
    assert [path.name for path in (place.data / "runs").iterdir()] == ["open"]
    assert place.folders()  # the newest snapshot


def test_without_space_for_the_copy_nothing_is_deleted_by_a_person(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill()
    monkeypatch.setattr(disk_space, "SPACE_FACTOR", 1e12)
    with pytest.raises(Exception, match="GB are free"):
        place.retention.begin("me", "")
    assert place.retention.newest(9) == [] and place.kinds()["unrated_texts"]["old_rows"] == 1


def test_a_deletion_that_breaks_off_is_recorded_and_the_next_one_does_the_rest(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.fill()
    with monkeypatch.context() as patched:
        patched.setitem(retention.KINDS, "dead_letters", replace(retention.KINDS["dead_letters"], delete=None))
        place.retention.begin("me", "")
    (row,) = place.retention.newest(9)
    assert row["state"] == "failed" and row["deleted"]["unrated_texts"]["rows"] == 1
    assert place.delete()["dead_letters"]["rows"] == 1
    assert b"tapir" not in place.bytes()


def test_a_deletion_that_its_process_left_is_recorded_at_the_next_start(place: Place) -> None:
    table.add_run(place.store, id="ret-1", time=NOW, state="deleting", actor="me", comment="")
    place.retention.start()
    assert place.retention.find("ret-1")["state"] == "failed"


def test_the_commands_show_delete_and_list(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.fill()
    with running(place.control.app, place.control.port):
        shown = json.loads(place.control.run("retention", "show", "--json").stdout)
        assert shown["begins"] and {one["kind"]: one["old_rows"] for one in shown["kinds"]}["unrated_texts"] == 1
        assert "texts and users" in place.control.run("retention", "show").stdout
        tried = place.control.run("retention", "run", "--dry-run")
        assert "Nothing was done" in tried.stderr and b"tapir" in place.bytes()
        done = json.loads(place.control.run("retention", "run", "--yes", "-m", "why", "--json").stdout)
        assert (
            done["state"] == "done"
            and done["comment"].endswith("why")
            and done["deleted"]["unrated_texts"]["rows"] == 1
        )
        assert b"tapir" not in place.bytes()
        assert "1 unrated_texts" in place.control.run("retention", "log").stdout
        (row,) = json.loads(place.control.run("retention", "log", "--json").stdout)
        assert row["id"] == done["id"]
