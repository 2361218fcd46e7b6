"""Facts about what people review in the console: quarantined votes, and the queue of doubtful answers."""

import json
import re
from typing import Any

import pytest

from core.db import feedback as feedback_table
from core.db import quarantines as quarantines_table
from core.db import runs
from core.db.quarantines import Predicate
from core.db.store import Transaction
from core.records import Feedback, Interaction, Verdict
from feedback.ingest import add
from ops.console import labelling
from rollout import quarantine_review
from rollout.change_writer import DecisionContext
from tests.support.console_security import EVIL, KeyedConsole


def asked(
    console: KeyedConsole, identity: str, content: str = "a question", answer: str | None = "good", **more: Any
) -> Interaction:
    plain: dict[str, Any] = {
        "id": identity,
        "time": console.clock(),
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


def flooded(console: KeyedConsole, votes: int, *, more: int = 0) -> None:
    """Version 1 serves, and one voter has given it `votes` thumbs-down within a minute, and `more` labels."""
    answers = [asked(console, f"i{n}", answer=EVIL, version=1) for n in range(votes)]
    down = [Feedback(f"f{n}", console.clock(), f"i{n}", None, "thumbs", False, EVIL, "ada") for n in range(votes)]
    quiet = [Feedback(f"q{n}", console.clock(), f"i{n}", None, "thumbs", False) for n in range(votes)]
    labels = [Feedback(f"l{n}", console.clock(), f"i{n}", None, "label", "good", None, "ada") for n in range(more)]
    add(console.control.store, [*answers, *down, *quiet, *labels])
    console.promote(1)


def quarantines(console: KeyedConsole) -> list[dict[str, Any]]:
    return quarantines_table.newest(console.control.store, model=None)


def test_a_roll_back_says_whose_votes_it_sends_to_quarantine_and_can_keep_them(console: KeyedConsole) -> None:
    flooded(console, 12)
    console.log_in("actor")
    page = console.browser.get("/models/reviews/rollback").text
    assert "votes of user ada" in page and "in quarantine until somebody reviews them" in page
    assert "12 votes against it in ten minutes" in page and 'name="keep_data"' in page
    assert console.form("/models/reviews/rollback", keep_data="yes").status_code == 303
    assert console.control.promotion.route("reviews").champion == 0 and quarantines(console) == []


def test_a_roll_back_quarantines_where_nothing_else_is_said_and_one_of_nothing_does_not_ask(
    console: KeyedConsole,
) -> None:
    flooded(console, 12)
    console.log_in("actor")
    assert console.form("/models/reviews/rollback").status_code == 303
    assert [row["votes"] for row in quarantines(console)] == [12]
    again = console.browser.get("/models/reviews/rollback?to=1").text
    assert "nothing goes to quarantine" in again and 'name="keep_data"' not in again
    assert "loraloop quarantine hold --model reviews" in again


@pytest.mark.parametrize(("fields", "held"), [({}, 1), ({"keep_data": "yes"}, 0)])
def test_a_rejection_says_what_becomes_of_the_votes_too(
    console: KeyedConsole, fields: dict[str, str], held: int
) -> None:
    flooded(console, 12)
    console.control.promotion.roll_back("reviews", 0, DecisionContext("So.", "test"), keep_data=True)

    def waits(transaction: Transaction) -> None:
        runs.add(
            transaction,
            id="run-1",
            model="reviews",
            trigger="t",
            state="awaiting_approval",
            started=console.clock(),
            feedback_until=console.clock(),
        )
        runs.set_candidate(transaction, id="run-1", candidate=1)
        transaction._connection.execute("UPDATE runs SET state = 'awaiting_approval'")

    why = DecisionContext("It passed.", "schedule", run_id="run-1")
    with console.control.store.transaction() as transaction:
        waits(transaction)
    identity = console.control.promotion.record_decision("reviews", 1, Verdict.AWAITING_APPROVAL, why).id
    console.log_in("actor")
    page = console.browser.get(f"/promotions/{identity}/reject").text
    assert "votes of user ada" in page and 'name="keep_data"' in page
    assert console.form(f"/promotions/{identity}/reject", comment="no", **fields).status_code == 303
    assert len(quarantines(console)) == held


@pytest.mark.parametrize(
    ("verb", "state", "verdict"), [("release", "released", "released"), ("discard", "rejected", "discarded")]
)
def test_a_quarantine_is_listed_read_and_decided_once_by_whom_the_ledger_names(
    console: KeyedConsole, verb: str, state: str, verdict: str
) -> None:
    flooded(console, 12)
    console.log_in("actor")
    console.form("/models/reviews/rollback", comment="worse")
    identity = quarantines(console)[0]["id"]
    listed = console.browser.get("/quarantine?model=reviews").text
    assert f"/quarantine/{identity}" in listed and "waits for review" in listed
    page = console.browser.get(f"/quarantine/{identity}").text
    assert (
        "12 votes from 1 user" in page and "Rolled back" in page and "&lt;script&gt;" in page and "<script>" not in page
    )
    assert 'href="/quarantine"' in console.browser.get("/feedback").text
    twin = console.browser.get(f"/quarantine/{identity}.json").json()
    assert (len(twin["quarantine"]["sample"]), twin["decision"]["verdict"]) == (12, "rolled_back")
    assert "12 votes from 1 user" in console.browser.get(f"/quarantine/{identity}/{verb}").text
    assert console.form(f"/quarantine/{identity}/{verb}", comment="looked at").status_code == 303
    row = quarantines_table.find(console.control.store, id=identity)
    actor = f"actor (key {console.made['actor'].id})"
    assert (row["state"], row["actor"], row["comment"]) == (state, actor, "looked at")
    assert console.verdicts()[-1] == (verdict, actor)
    assert console.browser.get(f"/quarantine/{identity}/{verb}").status_code == 409


def test_a_quarantine_of_a_key_names_the_key_and_is_found_by_its_row_in_the_ledger(console: KeyedConsole) -> None:
    add(console.control.store, [asked(console, f"i{n}") for n in range(2)])
    given = [
        Feedback(f"k{n}", console.clock(), f"i{n}", None, "label", "bad", None, "eve", key_id="key-9") for n in range(2)
    ]
    add(console.control.store, given)
    key = Predicate(key="key-9")
    quarantine_review.hold(console.control.promotion, ["reviews"], key, actor="ann", comment="a script")
    console.log_in("actor")
    row = quarantines(console)[0]
    for path in ("/quarantine", f"/quarantine/{row['id']}", f"/quarantine/{row['decision_seq']}"):
        page = console.browser.get(path).text
        assert "key <code>key-9</code>" in page and "vNone" not in page, path
    assert "2 votes from 1 user" in console.browser.get(f"/quarantine/{row['decision_seq']}/release").text
    assert f"/quarantine/{row['id']}/release" in console.browser.get(f"/quarantine/{row['decision_seq']}").text
    assert 'href="/quarantine?model=reviews"' in console.browser.get(f"/promotions/{row['decision_id']}").text


def test_a_reader_decides_no_quarantine_and_an_unknown_one_is_not_found(console: KeyedConsole) -> None:
    flooded(console, 12)
    console.control.promotion.roll_back("reviews", None, DecisionContext("So.", "person"))
    identity = quarantines(console)[0]["id"]
    console.log_in("reader")
    assert "/release" not in console.browser.get(f"/quarantine/{identity}").text
    assert console.browser.get(f"/quarantine/{identity}/release").status_code == 403
    assert console.browser.get("/quarantine/nope").status_code == 404
    assert console.browser.get("/quarantine/nope.json").status_code == 404


def test_votes_are_held_from_the_console_after_they_were_counted(console: KeyedConsole) -> None:
    flooded(console, 3, more=2)
    console.log_in("actor")
    assert 'action="/hold"' in console.browser.get("/quarantine").text
    query = "/hold?model=&key=&user=ada&from=2020-01-01&until="
    page = console.browser.get(query).text
    assert "5 votes on reviews, of 1 voters" in page and "0 in quarantine" in page and quarantines(console) == []
    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token and 'name="from" value="2020-01-01T00:00:00+00:00"' in page and 'name="model"' not in page
    fields = {"token": token[1], "user": "ada", "from": "2020-01-01T00:00:00+00:00", "comment": "one person"}
    assert console.browser.post("/hold", data=fields, follow_redirects=False).status_code == 303
    (row,) = quarantines(console)
    assert (row["votes"], row["state"]) == (5, "held")
    shown = console.browser.get(f"/quarantine/{row['id']}").text
    assert "user <code>ada</code> from" in shown
    for wrong, status in (("", 422), ("?user=nobody", 409), ("?user=a&from=x", 422), ("?user=ada&model=none", 404)):
        assert console.browser.get(f"/hold{wrong}").status_code == status, wrong
    console.log_in("reader")
    assert 'action="/hold"' not in console.browser.get("/quarantine").text
    assert console.browser.get("/hold?user=ada").status_code == 403


def vote(console: KeyedConsole, number: int, about: str, kind: str, value: Any) -> Feedback:
    return Feedback(f"f{number}", console.clock(), about, None, kind, value, None, f"voter-{number}")


def queued(console: KeyedConsole) -> list[tuple[str, int]]:
    found = []
    while True:
        view = labelling.queue(console.control, "reviews", len(found))
        if view["part"] == "random" or view["doubt"] is None:
            return found
        found.append((view["doubt"]["interaction_id"], view["doubt"]["rank"]))


def test_disagreement_comes_first_then_objections_then_what_looks_unsure(console: KeyedConsole) -> None:
    add(
        console.control.store,
        [
            asked(console, "sure"),
            asked(console, "strange", "another", "dunno"),
            asked(console, "twice-a", "the same", "good"),
            asked(console, "twice-b", "the same", "bad"),
            asked(console, "down"),
            asked(console, "labelled"),
            asked(console, "apart"),
            asked(console, "failed", answer="dunno", status=502),
            vote(console, 1, "down", "thumbs", False),
            vote(console, 2, "labelled", "thumbs", False),
            vote(console, 3, "labelled", "label", "good"),
            vote(console, 4, "apart", "thumbs", True),
            vote(console, 5, "apart", "thumbs", False),
        ],
    )
    # "sure" and three more asked the same question and got one answer; "twice" did not.
    assert queued(console) == [("apart", 1), ("down", 2), ("strange", 3), ("twice-a", 4), ("twice-b", 4)]
    console.log_in("actor")
    assert "In this order" in console.browser.get("/feedback/queue").text


def test_a_label_of_the_queue_carries_its_actor(console: KeyedConsole) -> None:
    add(console.control.store, [asked(console, "i1"), vote(console, 1, "i1", "thumbs", False)])
    console.log_in("actor")
    assert console.form("/feedback/queue?model=reviews&skip=0", label="bad").status_code == 303
    given = console.browser.get("/feedback/i1.json").json()["votes"][-1]
    assert given["metadata"] == {"source": "console", "actor": f"actor (key {console.made['actor'].id})"}


def test_a_model_that_writes_is_corrected_in_the_queue(console: KeyedConsole) -> None:
    settings = console.control.settings.models["reviews"]
    console.control.settings.models["reviews"] = settings.model_copy(update={"task": "generate", "labels": []})
    add(
        console.control.store,
        [
            asked(console, "i1", answer="a bad answer"),
            vote(console, 1, "i1", "thumbs", False),
            asked(console, "i2", "another", finish_reason="length"),
        ],
    )
    console.log_in("actor")
    page = console.browser.get("/feedback/queue").text
    assert re.search(r'<textarea[^>]*data-key="c"[^>]*>a bad answer</textarea>', page)
    assert [identity for identity, _ in queued(console)] == ["i1", "i2"]
    assert console.form("/feedback/queue?model=reviews&skip=0", correction="   ").status_code == 422
    wide = "好" * 20_000
    assert console.form("/feedback/queue?model=reviews&skip=0", correction=wide).status_code == 303
    given = console.browser.get("/feedback/i1.json").json()["votes"][-1]
    assert (given["type"], given["value"]) == ("correction", wide)
    assert [identity for identity, _ in queued(console)] == ["i2"]


def test_a_page_of_many_quarantined_votes_is_a_sample(console: KeyedConsole) -> None:
    flooded(console, 60)
    console.control.promotion.roll_back("reviews", None, DecisionContext("So.", "person"))
    console.log_in("reader")
    twin = console.browser.get(f"/quarantine/{quarantines(console)[0]['id']}.json").json()
    assert (twin["quarantine"]["votes"], len(twin["quarantine"]["sample"])) == (60, 50)
    assert json.loads(console.browser.get("/quarantine.json").text)["quarantines"][0]["votes"] == 60


def test_a_tool_call_and_every_choice_are_shown_as_what_they_are(console: KeyedConsole) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "refund", "arguments": '{"order":7}'}}
    message = {"role": "assistant", "tool_calls": [call], "reasoning": "they are angry"}
    choices = [{"index": 0, "message": message}, {"index": 1, "message": {"refusal": "I must not."}}]
    vote = Feedback("f1", console.clock(), "i1", None, "thumbs", False, choice=1)
    add(console.control.store, [asked(console, "i1", answer=None, choices=choices), vote])
    console.log_in("reader")
    page = console.browser.get("/feedback/i1").text
    assert "call of refund</span> <code>{&#34;order&#34;:7}" in page and "choice 1" in page
    assert "they are angry" in page and "I must not." in page and "down (choice 1)" in page
    assert "call of refund" in console.browser.get("/feedback").text
    assert "call of refund" in console.browser.get("/feedback/queue?model=reviews").text


def test_a_reviewer_corrects_a_call_in_the_queue(console: KeyedConsole) -> None:
    settings = console.control.settings.models["reviews"]
    console.control.settings.models["reviews"] = settings.model_copy(update={"task": "generate", "labels": []})
    call = {"id": "t1", "type": "function", "function": {"name": "refund", "arguments": '{"order":7}'}}
    request = {
        "messages": [{"role": "user", "content": "late"}],
        "tools": [{"type": "function", "function": {"name": "refund"}}],
    }
    choices = [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]
    about = asked(console, "i1", answer=None, choices=choices, request=request)
    add(console.control.store, [about, Feedback("f1", console.clock(), "i1", None, "thumbs", False)])
    console.log_in("actor")
    page = console.browser.get("/feedback/queue?model=reviews").text
    assert (
        "{&#34;tool_calls&#34;:[{&#34;arguments&#34;:{&#34;order&#34;:7},&#34;name&#34;:&#34;refund&#34;}]}</textarea>"
        in page
    )
    said = '{ "tool_calls": [{"name": "refund", "arguments": {"order": 8}}] }'
    console.form("/feedback/queue?model=reviews&skip=0", correction=said)
    votes = feedback_table.on_interaction(console.control.store, id="i1")
    assert json.loads(votes[-1]["value"]) == {"tool_calls": [{"arguments": {"order": 8}, "name": "refund"}]}
