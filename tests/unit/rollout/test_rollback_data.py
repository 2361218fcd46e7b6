"""Facts about data after a rollback: what training leaves out, and when it is learnt from again."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core import ledger
from core.db import decisions, quarantines, runs
from core.db.quarantines import Predicate
from core.errors import AlreadyDone, NotReady
from core.record_codec import encode
from core.records import Feedback
from core.spool import frame
from feedback.ingest import add, ingest
from feedback.snapshot import create_snapshot
from rollout import quarantine_review
from rollout.change_writer import DecisionContext
from tests.support.ingest import asked as interaction
from tests.support.workflow import NOW, PLAIN, RolloutHarness

# Quarantine.


def taught(harness: RolloutHarness, folder: Path, run: str, labels: range) -> None:
    data = b""
    for n in labels:
        asked = interaction(
            f"i{n}", time=NOW, user=f"u{n}", request={"messages": [{"role": "user", "content": f"text {n}"}]}
        )
        data += frame(encode(asked)) + frame(encode(Feedback(f"v{n:03}", NOW, f"i{n}", None, "label", "a")))
    ingest(harness.store, run, 1, 0, data)
    snapshot = create_snapshot(harness.store, "m", harness.models["m"], run_id=run, folder=folder, clock=lambda: NOW)
    runs.set_snapshot(harness.store, id=run, snapshot=snapshot.hash)


def snapshot(harness: RolloutHarness, folder: Path) -> tuple[list[str], dict[str, int]]:
    found = create_snapshot(harness.store, "m", harness.models["m"], run_id="run-3", folder=folder, clock=lambda: NOW)
    return [row.feedback_id for row in found.rows], found.report.left_out


def served(harness: RolloutHarness, version: int, answers: int) -> None:
    """Answers of a version, each with a thumbs-up of its user."""
    harness.live(version, answers, True)


def voted(
    harness: RolloutHarness, voter: str, answers: list[int], *, version: int, apart: timedelta = timedelta(0)
) -> None:
    """Thumbs-down of one voter on other users' answers."""
    down = [
        Feedback(f"{voter}-{n}", NOW + place * apart, f"{version}-{n}-011200", None, "thumbs", False, user=voter)
        for place, n in enumerate(answers)
    ]
    add(harness.store, down)


def rolled_back(harness: RolloutHarness) -> dict[str, Any]:
    return json.loads(decisions.chain(harness.store)[-2]["body"])  # the newest is the switch's


def test_a_rollback_holds_no_vote_that_its_evidence_does_not_indict(tmp_path: Path):
    harness = RolloutHarness(**PLAIN, limits={"window_hours": 0})
    harness.offer(1)
    taught(harness, tmp_path, "run-1", range(10))
    harness.live(1, 30, False)  # thirty users, one thumbs-down each, on their own answers
    harness.promotion.roll_back("m", None, DecisionContext("bad", "person", "ann"))
    found = rolled_back(harness)["live"]["quarantine"]
    assert (found["id"], found["held"]) == (None, 0) and "loraloop quarantine hold --model m" in found["reason"]
    assert quarantines.newest(harness.store, model=None) == []
    assert len(snapshot(harness, tmp_path)[0]) == 10


def test_a_rollback_holds_a_burst_and_what_that_voter_sends_later(tmp_path: Path):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    taught(harness, tmp_path, "run-1", range(4))
    harness.live(1, 30, False)
    voted(harness, "troll", list(range(12)), version=1, apart=timedelta(seconds=20))
    add(harness.store, [Feedback("t-label", NOW, "i1", None, "label", "b", user="troll")])
    harness.promotion.roll_back("m", 0, DecisionContext("bad", "person"))
    (row,) = quarantines.newest(harness.store, model="m")
    assert (row["version"], row["votes"], row["users"], row["state"]) == (1, 13, 1, "held")
    found = rolled_back(harness)["live"]["quarantine"]
    assert found["id"] == row["id"] and "troll: 12 votes against it in ten minutes" in found["reason"]
    add(harness.store, [Feedback("t-later", NOW, "i2", None, "label", "b", user="troll")])
    assert snapshot(harness, tmp_path) == (
        [f"v{n:03}" for n in range(4)],
        {"a thumbs-down": 30, "in quarantine": 14},
    )


def test_a_rollback_holds_a_voter_whom_others_contradict_and_not_one_who_is_slow(tmp_path: Path):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    served(harness, 1, 30)
    voted(harness, "troll", list(range(5)), version=1, apart=timedelta(hours=1))
    voted(harness, "grumpy", [10, 11], version=1, apart=timedelta(hours=1))
    harness.promotion.roll_back("m", 0, DecisionContext("bad", "person"))
    (row,) = quarantines.newest(harness.store, model="m")
    assert quarantines.predicates(harness.store, ids=[row["id"]])[row["id"]] == [Predicate(user="troll")]
    assert "others approve of 5 of the 5 answers" in rolled_back(harness)["live"]["quarantine"]["reason"]


def test_a_drill_may_keep_the_data(tmp_path: Path):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    served(harness, 1, 30)
    voted(harness, "troll", list(range(12)), version=1)
    harness.promotion.roll_back("m", 0, DecisionContext("drill", "person"), keep_data=True)
    assert quarantines.newest(harness.store, model=None) == [] and "quarantine" not in rolled_back(harness)["live"]


@pytest.mark.parametrize("forward", ["roll back", "promote"])
def test_going_forward_again_releases_what_the_rollback_held(forward: str):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    served(harness, 1, 30)
    voted(harness, "troll", list(range(12)), version=1)
    harness.promotion.roll_back("m", 0, DecisionContext("bad", "person"))
    (held,) = quarantines.newest(harness.store, model="m")
    quarantine_review.hold(harness.promotion, ["m"], Predicate(user="1-u3"), actor="ann", comment="")
    if forward == "promote":
        harness.promotion.promote("m", 1, DecisionContext("after all", "person", "ann"))
    else:
        harness.promotion.roll_back("m", 1, DecisionContext("after all", "person", "ann"))
    states = {row["version"]: (row["state"], row["actor"]) for row in quarantines.newest(harness.store, model="m")}
    assert states == {1: ("released", "ann"), None: ("held", None)}  # what a person held stays held
    row = next(row for row in reversed(decisions.chain(harness.store)) if '"verdict":"released"' in row["body"])
    assert json.loads(row["body"])["live"] == {"quarantine": held["id"]}
    assert json.loads(row["body"])["reason"] == ("m@1 serves again, so the votes that its rollback held are released.")
    assert ledger.verify_store(harness.store).ok


def test_rejected_votes_stay_out_when_their_version_serves_again():
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    served(harness, 1, 30)
    voted(harness, "troll", list(range(12)), version=1)
    harness.promotion.roll_back("m", 0, DecisionContext("bad", "person"))
    (row,) = quarantines.newest(harness.store, model="m")
    quarantine_review.decide(harness.promotion, row["id"], "rejected", actor="ann", comment="")
    harness.promotion.roll_back("m", 1, DecisionContext("undone", "person"))
    assert [row["state"] for row in quarantines.newest(harness.store, model="m")] == ["rejected"]
    with pytest.raises(NotReady, match="already rejected by ann"):
        quarantine_review.decide(harness.promotion, row["id"], "released", actor="bob", comment="")


def test_a_rollback_writes_one_predicate_per_voter_however_many_votes_it_holds():
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    served(harness, 1, 300)
    for number in range(3):
        voted(harness, f"troll-{number}", list(range(number * 100, number * 100 + 100)), version=1)
    harness.promotion.roll_back("m", 0, DecisionContext("bad", "person"))
    with harness.store._cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM quarantine_rows").fetchone() == (300,)
        assert cursor.execute("SELECT count(*) FROM quarantine_predicates").fetchone() == (3,)
    (row,) = quarantines.newest(harness.store, model="m")
    assert row["votes"] == 300


def test_what_a_key_gave_is_held_until_somebody_has_looked(tmp_path: Path):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    taught(harness, tmp_path, "run-1", range(4))
    key = Predicate(key="bad")
    with pytest.raises(NotReady, match="There is no vote on m of the key bad"):
        quarantine_review.hold(harness.promotion, ["m"], key, actor="ann", comment="")
    assert "quarantined" not in harness.verdicts()
    later = [Feedback(f"bad:{n}", NOW, "i1", None, "label", "b", user=f"u{n}", key_id="bad") for n in range(3)]
    add(harness.store, later)
    (shown,) = quarantine_review.preview(harness.promotion, ["m"], key)
    assert shown == {"model": "m", "votes": 3, "added": 3, "voters": 3}
    (held,) = quarantine_review.hold(harness.promotion, ["m"], key, actor="ann", comment="one script")
    assert (held["key"], held["version"], held["state"], held["model"]) == ("bad", None, "held", "m")
    assert (harness.last()["verdict"], harness.last()["live"], harness.last()["comment"]) == (
        "quarantined",
        {"key": "bad", "quarantine": held["id"]},
        "one script",
    )
    with pytest.raises(AlreadyDone, match="in quarantine already"):
        quarantine_review.hold(harness.promotion, ["m"], key, actor="ann", comment="")
    (row,) = quarantines.newest(harness.store, model="m")
    assert (row["votes"], row["id"]) == (3, held["id"])
    assert snapshot(harness, tmp_path)[1] == {"in quarantine": 3}
    done = quarantine_review.decide(harness.promotion, str(row["decision_seq"]), "rejected", actor="ann", comment="")
    assert (done["id"], done["state"]) == (held["id"], "rejected")
    assert harness.last()["reason"] == (
        "The votes of the key bad are permanently left out of training, decided by ann."
    )
