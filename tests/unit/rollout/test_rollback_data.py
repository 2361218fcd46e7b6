"""Facts about data after a rollback: what training leaves out, and when it is learnt from again."""

import json
from pathlib import Path

import pytest

from core.db import decisions, quarantines, runs
from core.errors import NotReady
from core.record_codec import encode
from core.records import Feedback, Interaction
from core.spool import frame
from feedback.ingest import add, ingest
from feedback.snapshot import create_snapshot
from rollout import quarantine_review
from rollout.changes import DecisionContext
from tests.support.workflow import NOW, PLAIN, RolloutHarness

# Quarantine.


def taught(harness: RolloutHarness, folder: Path, run: str, labels: range) -> None:
    data = b""
    for n in labels:
        asked = Interaction(
            id=f"i{n}",
            time=NOW,
            model="m",
            version=0,
            arm="champion",
            share=0.0,
            bucket=0.5,
            user=f"u{n}",
            conversation=None,
            endpoint="chat",
            request={"messages": [{"role": "user", "content": f"text {n}"}]},
            answer="a",
            finish_reason="stop",
            status=200,
            latency_ms=1,
            ttft_ms=None,
            prompt_tokens=1,
            completion_tokens=1,
            streamed=False,
        )
        data += frame(encode(asked)) + frame(encode(Feedback(f"v{n:03}", NOW, f"i{n}", None, "label", "a")))
    ingest(harness.store, run, 1, 0, data)
    snapshot = create_snapshot(harness.store, "m", harness.models["m"], run_id=run, folder=folder, clock=lambda: NOW)
    runs.set_snapshot(harness.store, id=run, snapshot=snapshot.hash)


def test_a_rollback_holds_the_newest_data_until_it_is_released(tmp_path: Path):
    harness = RolloutHarness(**PLAIN, limits={"window_hours": 0})
    harness.offer(1)
    taught(harness, tmp_path, "run-1", range(10))
    harness.offer(2, "run-2", over=1)
    taught(harness, tmp_path, "run-2", range(10, 16))
    harness.promotion.roll_back("m", None, DecisionContext("bad", "person", "ann"))
    held = json.loads(decisions.find(harness.store, id=harness.asked("rolled_back"))["body"])["live"]["quarantine"]
    assert held["votes"] == 6

    def snapshot() -> tuple[list[str], dict[str, int]]:
        found = create_snapshot(
            harness.store, "m", harness.models["m"], run_id="run-3", folder=tmp_path, clock=lambda: NOW
        )
        return [row.feedback_id for row in found.rows], found.report.left_out

    assert snapshot() == ([f"v{n:03}" for n in range(10)], {"in quarantine": 6})
    done = quarantine_review.decide(harness.promotion, held["id"], "released", actor="ann", comment="a drill")
    assert (done["state"], done["actor"]) == ("released", "ann")
    assert (harness.last()["verdict"], harness.last()["actor"], harness.last()["comment"]) == (
        "released",
        "ann",
        "a drill",
    )
    assert len(snapshot()[0]) == 16
    with pytest.raises(NotReady, match="already released by ann"):
        quarantine_review.decide(harness.promotion, held["id"], "rejected", actor="bob", comment="")
    assert harness.verdicts()[-1] == "released"


def test_a_drill_may_keep_the_data(tmp_path: Path):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    taught(harness, tmp_path, "run-1", range(4))
    harness.promotion.roll_back("m", 0, DecisionContext("drill", "person"), keep_data=True)
    assert quarantines.newest(harness.store, model=None) == []


def test_rejected_votes_stay_out_and_a_way_back_brings_none_in(tmp_path: Path):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    taught(harness, tmp_path, "run-1", range(4))
    harness.promotion.roll_back("m", 0, DecisionContext("bad", "person"))
    (row,) = quarantines.newest(harness.store, model="m")
    assert (row["votes"], row["users"], row["state"]) == (4, 4, "held")
    quarantine_review.decide(harness.promotion, row["id"], "rejected", actor="ann", comment="")
    harness.promotion.roll_back("m", 1, DecisionContext("undone", "person"))
    assert len(quarantines.newest(harness.store, model="m")) == 1
    found = create_snapshot(harness.store, "m", harness.models["m"], run_id="run-3", folder=tmp_path, clock=lambda: NOW)
    assert found.rows == ()


def test_what_a_key_gave_is_held_until_somebody_has_looked(tmp_path: Path):
    harness = RolloutHarness(**PLAIN)
    harness.offer(1)
    taught(harness, tmp_path, "run-1", range(4))
    with pytest.raises(NotReady, match="The key 'bad' has no vote"):
        quarantine_review.hold_key(harness.promotion, "m", "bad", actor="ann", comment="")
    assert "quarantined" not in harness.verdicts()
    later = [Feedback(f"bad:{n}", NOW, "i1", None, "label", "b", user=f"u{n}", key_id="bad") for n in range(3)]
    add(harness.store, later)
    held = quarantine_review.hold_key(harness.promotion, "m", "bad", actor="ann", comment="one script")
    assert (held["key"], held["version"], held["state"], held["model"]) == ("bad", None, "held", "m")
    assert (harness.last()["verdict"], harness.last()["live"], harness.last()["comment"]) == (
        "quarantined",
        {"key": "bad"},
        "one script",
    )
    (row,) = quarantines.newest(harness.store, model="m")
    assert (row["votes"], row["id"]) == (3, held["id"])
    found = create_snapshot(harness.store, "m", harness.models["m"], run_id="run-3", folder=tmp_path, clock=lambda: NOW)
    assert found.report.left_out == {"in quarantine": 3}
    done = quarantine_review.decide(harness.promotion, str(row["decision_seq"]), "rejected", actor="ann", comment="")
    assert (done["id"], done["state"]) == (held["id"], "rejected")
    assert "Votes of the key bad are permanently left out of training" in harness.last()["reason"]
