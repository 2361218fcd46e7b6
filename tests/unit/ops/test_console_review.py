"""Facts about what people review in the console: quarantined votes, and the queue of doubtful answers."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from core.db import quarantines as quarantines_table
from core.db import runs, snapshots
from core.db.store import Transaction
from core.records import Feedback, Interaction, Verdict
from feedback.ingest import add
from ops.console import labelling
from rollout import quarantine_review
from rollout.changes import DecisionContext
from tests.support.console_security import EVIL, House


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("rollout.routes.SETTLE_SECONDS", 0.0)
    made = House(tmp_path)
    with start_blocking_portal() as made.browser.portal:
        yield made
    made.control.store.close()


def asked(house: House, identity: str, content: str = "a question", answer: str = "good", **more: Any) -> Interaction:
    plain: dict[str, Any] = {
        "id": identity,
        "time": house.clock(),
        "model": "reviews",
        "version": 0,
        "arm": "champion",
        "share": 0.0,
        "bucket": 0.5,
        "user": f"user-{identity}",
        "conversation": None,
        "endpoint": "chat",
        "request": {"messages": [{"role": "user", "content": content}]},
        "answer": answer,
        "finish_reason": "stop",
        "status": 200,
        "latency_ms": 1.0,
        "ttft_ms": None,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "streamed": False,
    }
    return Interaction(**(plain | more))


def learnt(house: House, votes: int) -> None:
    """Version 1, which is the first to learn from some votes, and serves."""
    add(house.control.store, [asked(house, f"i{n}", answer=EVIL) for n in range(votes)])
    add(
        house.control.store,
        [Feedback(f"f{n}", house.clock(), f"i{n}", None, "label", "good", EVIL, "ada") for n in range(votes)],
    )

    def run(transaction: Transaction) -> None:
        runs.add(
            transaction,
            id="run-1",
            model="reviews",
            trigger="t",
            state="finished",
            started=house.clock(),
            feedback_until=house.clock(),
        )
        runs.set_snapshot(transaction, id="run-1", snapshot="snap")
        for n in range(votes):
            snapshots.add_rows(
                transaction,
                [{"snapshot": "snap", "interaction_id": f"i{n}", "feedback_id": f"f{n}", "bucket": "train"}],
            )

    with house.control.store.transaction() as transaction:
        run(transaction)
    house.promote(1)
    with house.control.store.transaction() as transaction:
        transaction._connection.execute("UPDATE versions SET run_id = 'run-1' WHERE version = 1")


def quarantines(house: House) -> list[dict[str, Any]]:
    return quarantines_table.newest(house.control.store, model=None)


def test_a_roll_back_says_how_many_votes_it_sends_to_quarantine_and_can_keep_them(house: House) -> None:
    learnt(house, 3)
    house.log_in("actor")
    page = house.browser.get("/models/reviews/rollback").text
    assert "3 votes in quarantine until somebody reviews them" in page and 'name="keep_data"' in page
    assert house.form("/models/reviews/rollback", keep_data="yes").status_code == 303
    assert house.control.promotion.route("reviews").champion == 0 and quarantines(house) == []


def test_a_roll_back_quarantines_where_nothing_else_is_said_and_one_of_nothing_does_not_ask(house: House) -> None:
    learnt(house, 2)
    house.log_in("actor")
    assert house.form("/models/reviews/rollback").status_code == 303
    assert [row["votes"] for row in quarantines(house)] == [2]
    again = house.browser.get("/models/reviews/rollback").text
    assert "nothing goes to quarantine" in again and 'name="keep_data"' not in again


@pytest.mark.parametrize(("fields", "held"), [({}, 1), ({"keep_data": "yes"}, 0)])
def test_a_rejection_says_what_becomes_of_the_data_too(house: House, fields: dict[str, str], held: int) -> None:
    learnt(house, 2)
    house.control.promotion.roll_back("reviews", 0, DecisionContext("So.", "test"), keep_data=True)

    def waits(transaction: Transaction) -> None:
        transaction._connection.execute("UPDATE runs SET state = 'awaiting_approval', candidate = 1, finished = NULL")

    why = DecisionContext("It passed.", "schedule", run_id="run-1")
    with house.control.store.transaction() as transaction:
        waits(transaction)
    identity = house.control.promotion.record_decision("reviews", 1, Verdict.AWAITING_APPROVAL, why).id
    house.log_in("actor")
    page = house.browser.get(f"/promotions/{identity}/reject").text
    assert "2 votes in quarantine until somebody reviews them" in page and 'name="keep_data"' in page
    assert house.form(f"/promotions/{identity}/reject", comment="no", **fields).status_code == 303
    assert len(quarantines(house)) == held


@pytest.mark.parametrize(
    ("verb", "state", "verdict"), [("release", "released", "released"), ("discard", "rejected", "discarded")]
)
def test_a_quarantine_is_listed_read_and_decided_once_by_whom_the_ledger_names(
    house: House, verb: str, state: str, verdict: str
) -> None:
    learnt(house, 3)
    house.log_in("actor")
    house.form("/models/reviews/rollback", comment="worse")
    identity = quarantines(house)[0]["id"]
    listed = house.browser.get("/quarantine?model=reviews").text
    assert f"/quarantine/{identity}" in listed and "waits for review" in listed
    page = house.browser.get(f"/quarantine/{identity}").text
    assert "3 of 1 users" in page and "Rolled back" in page and "&lt;script&gt;" in page and "<script>" not in page
    assert 'href="/quarantine"' in house.browser.get("/feedback").text
    twin = house.browser.get(f"/quarantine/{identity}.json").json()
    assert (len(twin["quarantine"]["sample"]), twin["decision"]["verdict"]) == (3, "rolled_back")
    assert "3 votes of 1 users" in house.browser.get(f"/quarantine/{identity}/{verb}").text
    assert house.form(f"/quarantine/{identity}/{verb}", comment="looked at").status_code == 303
    row = quarantines_table.find(house.control.store, id=identity)
    actor = f"actor (key {house.made['actor'].id})"
    assert (row["state"], row["actor"], row["comment"]) == (state, actor, "looked at")
    assert house.verdicts()[-1] == (verdict, actor)
    assert house.browser.get(f"/quarantine/{identity}/{verb}").status_code == 409


def test_a_quarantine_of_a_key_names_the_key_and_is_found_by_its_row_in_the_ledger(house: House) -> None:
    learnt(house, 2)
    given = [
        Feedback(f"k{n}", house.clock(), f"i{n}", None, "label", "bad", None, "eve", key_id="key-9") for n in range(2)
    ]
    add(house.control.store, given)
    quarantine_review.hold_key(house.control.promotion, "reviews", "key-9", actor="ann", comment="a script")
    house.log_in("actor")
    row = quarantines(house)[0]
    for path in ("/quarantine", f"/quarantine/{row['id']}", f"/quarantine/{row['decision_seq']}"):
        page = house.browser.get(path).text
        assert "key <code>key-9</code>" in page and "vNone" not in page, path
    assert "2 votes of 1 users" in house.browser.get(f"/quarantine/{row['decision_seq']}/release").text
    assert f"/quarantine/{row['id']}/release" in house.browser.get(f"/quarantine/{row['decision_seq']}").text
    assert 'href="/quarantine?model=reviews"' in house.browser.get(f"/promotions/{row['decision_id']}").text


def test_a_reader_decides_no_quarantine_and_an_unknown_one_is_not_found(house: House) -> None:
    learnt(house, 1)
    house.control.promotion.roll_back("reviews", None, DecisionContext("So.", "person"))
    identity = quarantines(house)[0]["id"]
    house.log_in("reader")
    assert "/release" not in house.browser.get(f"/quarantine/{identity}").text
    assert house.browser.get(f"/quarantine/{identity}/release").status_code == 403
    assert house.browser.get("/quarantine/nope").status_code == 404
    assert house.browser.get("/quarantine/nope.json").status_code == 404


def vote(house: House, number: int, about: str, kind: str, value: Any) -> Feedback:
    return Feedback(f"f{number}", house.clock(), about, None, kind, value, None, f"voter-{number}")


def queued(house: House) -> list[tuple[str, int]]:
    found = []
    while True:
        view = labelling.queue(house.control, "reviews", len(found))
        if view["doubt"] is None:
            return found
        found.append((view["doubt"]["interaction_id"], view["doubt"]["rank"]))


def test_disagreement_comes_first_then_objections_then_what_looks_unsure(house: House) -> None:
    add(
        house.control.store,
        [
            asked(house, "sure"),
            asked(house, "strange", "another", "dunno"),
            asked(house, "twice-a", "the same", "good"),
            asked(house, "twice-b", "the same", "bad"),
            asked(house, "down"),
            asked(house, "labelled"),
            asked(house, "apart"),
            asked(house, "failed", answer="dunno", status=502),
            vote(house, 1, "down", "thumbs", False),
            vote(house, 2, "labelled", "thumbs", False),
            vote(house, 3, "labelled", "label", "good"),
            vote(house, 4, "apart", "thumbs", True),
            vote(house, 5, "apart", "thumbs", False),
        ],
    )
    # "sure" and three more asked the same question and got one answer; "twice" did not.
    assert queued(house) == [("apart", 1), ("down", 2), ("strange", 3), ("twice-a", 4), ("twice-b", 4)]
    house.log_in("actor")
    assert "In this order" in house.browser.get("/feedback/queue").text


def test_a_label_of_the_queue_carries_its_actor(house: House) -> None:
    add(house.control.store, [asked(house, "i1"), vote(house, 1, "i1", "thumbs", False)])
    house.log_in("actor")
    assert house.form("/feedback/queue?model=reviews&skip=0", label="bad").status_code == 303
    given = house.browser.get("/feedback/i1.json").json()["votes"][-1]
    assert given["metadata"] == {"source": "console", "actor": f"actor (key {house.made['actor'].id})"}


def test_a_model_that_writes_is_corrected_in_the_queue(house: House) -> None:
    settings = house.control.settings.models["reviews"]
    house.control.settings.models["reviews"] = settings.model_copy(update={"task": "generate", "labels": []})
    add(
        house.control.store,
        [
            asked(house, "i1", answer="a bad answer"),
            vote(house, 1, "i1", "thumbs", False),
            asked(house, "i2", "another", finish_reason="length"),
        ],
    )
    house.log_in("actor")
    page = house.browser.get("/feedback/queue").text
    assert re.search(r'<textarea[^>]*data-key="c"[^>]*>a bad answer</textarea>', page)
    assert [identity for identity, _ in queued(house)] == ["i1", "i2"]
    assert house.form("/feedback/queue?model=reviews&skip=0", correction="   ").status_code == 422
    wide = "好" * 20_000
    assert house.form("/feedback/queue?model=reviews&skip=0", correction=wide).status_code == 303
    given = house.browser.get("/feedback/i1.json").json()["votes"][-1]
    assert (given["type"], given["value"]) == ("correction", wide)
    assert [identity for identity, _ in queued(house)] == ["i2"]


def test_a_page_of_many_quarantined_votes_is_a_sample(house: House) -> None:
    learnt(house, 60)
    house.control.promotion.roll_back("reviews", None, DecisionContext("So.", "person"))
    house.log_in("reader")
    twin = house.browser.get(f"/quarantine/{quarantines(house)[0]['id']}.json").json()
    assert (twin["quarantine"]["votes"], len(twin["quarantine"]["sample"])) == (60, 50)
    assert json.loads(house.browser.get("/quarantine.json").text)["quarantines"][0]["votes"] == 60
