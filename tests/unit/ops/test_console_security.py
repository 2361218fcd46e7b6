"""Facts about the console and text from outside: who gets in, what a form must bring, and what no input can do."""

import json
import re

import pytest

from core.db import decisions, runs
from core.db.store import Transaction
from core.records import Feedback, Interaction, Verdict
from feedback.ingest import add
from rollout.change_writer import DecisionContext
from tests.support.console_security import EVIL, SECRET_PAGES, KeyedConsole


def test_a_reader_sees_no_button_and_may_not_act(console: KeyedConsole) -> None:
    console.promote(1)
    console.log_in("reader")
    assert "/rollback?" not in console.browser.get("/models/reviews").text
    assert console.browser.get("/models/reviews/rollback").status_code == 403
    assert console.browser.post("/models/reviews/rollback", data={"champion": 1, "to": 0}).status_code == 403
    assert console.control.promotion.route("reviews").champion == 1


def test_a_roll_back_is_confirmed_shown_and_in_the_ledger_with_its_verified_actor(console: KeyedConsole) -> None:
    console.promote(1)
    console.log_in("actor")
    page = console.browser.get("/models/reviews/rollback").text
    assert "Roll reviews back to v0?" in page and "It won." in page
    done = console.form("/models/reviews/rollback", comment="a drill\r\nof ours", actor="somebody else")
    assert done.status_code == 303 and done.headers["location"] == "/models/reviews"
    assert console.control.promotion.route("reviews").champion == 0
    assert console.verdicts()[2] == ("rolled_back", f"actor (key {console.made['actor'].id})")
    assert json.loads(decisions.chain(console.control.store)[2]["body"])["comment"] == "a drill\nof ours"


def test_what_changed_since_the_page_was_read_is_not_confirmed(console: KeyedConsole) -> None:
    console.promote(1)
    console.log_in("actor")
    page = console.browser.get("/models/reviews/rollback?to=0").text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    console.promote(2)
    assert console.browser.post("/models/reviews/rollback", data=hidden).status_code == 409
    assert console.control.promotion.route("reviews").champion == 2


def awaiting(console: KeyedConsole) -> str:
    console.promote(1)
    console.promote(2)

    def add_run(transaction: Transaction) -> None:
        runs.add(
            transaction,
            id="run-1",
            model="reviews",
            trigger="t",
            state="awaiting_approval",
            started=console.clock(),
            feedback_until=console.clock(),
        )
        transaction._connection.execute("UPDATE runs SET candidate = 1 WHERE id = 'run-1'")

    why = DecisionContext("It passed.", "schedule", run_id="run-1")
    with console.control.store.transaction() as transaction:
        add_run(transaction)
    return console.control.promotion.record_decision("reviews", 1, Verdict.AWAITING_APPROVAL, why).id


@pytest.mark.parametrize(("word", "champion", "verdict"), [("approve", 1, "promoted"), ("reject", 2, "rejected")])
def test_an_approval_is_given_or_refused_once(console: KeyedConsole, word: str, champion: int, verdict: str) -> None:
    identity = awaiting(console)
    console.log_in("actor")
    assert console.form(f"/promotions/{identity}/{word}", comment="yes").status_code == 303
    assert console.control.promotion.route("reviews").champion == champion
    assert (verdict, f"actor (key {console.made['actor'].id})") in console.verdicts()
    assert console.browser.get(f"/promotions/{identity}/{word}").status_code == 409


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_that_another_site_sends_does_nothing_even_with_the_token(
    console: KeyedConsole, headers: dict[str, str]
) -> None:
    console.promote(1)
    console.log_in("actor")
    hidden = dict(
        re.findall(
            r'<input type="hidden" name="(\w+)" value="([^"]*)"', console.browser.get("/models/reviews/rollback").text
        )
    )
    assert console.browser.post("/models/reviews/rollback", data=hidden, headers=headers).status_code == 403
    for token in ("", "0" * 64, "é", console.control.keyring.grants[0].id):
        assert console.browser.post("/models/reviews/rollback", data=hidden | {"token": token}).status_code == 403
    assert console.control.promotion.route("reviews").champion == 1


def test_a_token_of_one_session_is_not_that_of_another(console: KeyedConsole) -> None:
    console.promote(1)
    console.log_in("actor")
    stolen = dict(
        re.findall(
            r'<input type="hidden" name="(\w+)" value="([^"]*)"', console.browser.get("/models/reviews/rollback").text
        )
    )
    console.browser.cookies.clear()
    console.log_in("actor")
    assert console.browser.post("/models/reviews/rollback", data=stolen).status_code == 403


def test_no_page_can_be_framed_or_run_a_script_of_a_page(console: KeyedConsole) -> None:
    for path in ("/login", "/promotions", "/nothing/../promotions"):
        answer = console.browser.get(path)
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy and "base-uri 'none'" in policy


def test_what_users_wrote_is_text_on_every_page(console: KeyedConsole) -> None:
    asked = Interaction(
        "i1",
        console.clock(),
        "reviews",
        0,
        "champion",
        0.0,
        0.5,
        EVIL,
        None,
        "chat",
        {"messages": [{"role": EVIL, "content": EVIL}]},
        EVIL,
        "stop",
        200,
        1.0,
        None,
        1,
        1,
        False,
    )
    said = [
        Feedback("f1", console.clock(), "i1", None, "thumbs", False, EVIL, EVIL, {"a": EVIL}),
        Feedback("f2", console.clock(), "i1", None, "correction", EVIL, None, EVIL),
        Feedback("f3", console.clock(), EVIL, None, "flag", "other", EVIL, EVIL),
    ]
    add(console.control.store, [asked, *said])
    console.control.promotion.record_decision("reviews", None, Verdict.FAILED, DecisionContext(EVIL, EVIL, EVIL, EVIL))
    console.log_in("actor")
    for path in (
        *SECRET_PAGES,
        "/feedback/i1",
        "/promotions/1",
        f"/feedback?words={EVIL}",
        f"/promotions?verdict={EVIL}",
        f"/runs/{EVIL}",
        f"/models/{EVIL}",
    ):
        text = console.browser.get(path).text
        assert "<script>" not in text and "<img" not in text, path
    assert "&lt;script&gt;" in console.browser.get("/feedback").text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py",
        "/static/x/console.css",
        "/static/%2e%2e/%2e%2e/pages.py",
        "/static/x/..%2f..%2fpages.py",
        "/runs/..%2f..%2fetc%2fpasswd",
        "/runs/../../loraloop.duckdb",
    ],
)
def test_no_path_leads_out_of_the_served_folders(console: KeyedConsole, path: str) -> None:
    console.log_in("actor")
    assert console.browser.get(path).status_code == 404


def test_the_log_of_a_run_is_the_runs_own(console: KeyedConsole) -> None:
    console.log_in("reader")
    (console.control.settings.data / "secret").mkdir()
    (console.control.settings.data / "secret" / "trainer.log").write_text("a secret")
    (console.control.settings.data / "runs").mkdir()
    for identity in ("../secret", "run-1"):
        runs.add(
            console.control.store,
            id=identity,
            model="reviews",
            trigger="t",
            state="training",
            started=console.clock(),
            feedback_until=console.clock(),
        )
    assert "a secret" not in console.browser.get("/runs/..%2Fsecret").text
    (console.control.settings.data / "runs" / "run-1").mkdir()
    (console.control.settings.data / "runs" / "run-1" / "trainer.log").write_text(EVIL)
    assert "&lt;script&gt;" in console.browser.get("/runs/run-1").text


def test_a_comment_cannot_forge_a_line_of_the_log(console: KeyedConsole, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    console.promote(1)
    console.log_in("actor")
    console.form("/models/reviews/rollback", comment="x\n2026-01-01 CRITICAL all is lost")
    console.browser.get("/models/a%0aCRITICAL forged")
    console.browser.get("/promotions/a%0aCRITICAL%20forged")
    assert not any("\n" in record.getMessage() for record in caplog.records)


def test_a_label_of_the_queue_is_feedback_of_a_reviewer_and_the_answer_leaves_the_queue(console: KeyedConsole) -> None:
    asked = [
        Interaction(
            f"i{n}",
            console.clock(),
            "reviews",
            0,
            "champion",
            0.0,
            0.5,
            "u",
            None,
            "chat",
            {"messages": [{"role": "user", "content": f"text {n}"}]},
            "good",
            "stop",
            200,
            1.0,
            None,
            1,
            1,
            False,
        )
        for n in range(3)
    ]
    votes = [
        Feedback("f0", console.clock(), "i0", None, "thumbs", False, None, "a"),
        Feedback("f1", console.clock(), "i1", None, "label", "good", None, "a"),
        Feedback("f2", console.clock(), "i1", None, "label", "bad", None, "b"),
        Feedback("f3", console.clock(), "i2", None, "thumbs", True, None, "b"),
    ]
    add(console.control.store, [*asked, *votes])
    console.log_in("actor")
    first = console.browser.get("/feedback/queue.json").json()
    assert (first["waiting"], first["about"]["interaction"]["id"]) == (2, "i1")  # users contradict each other
    assert console.form("/feedback/queue?model=reviews&skip=0", label="terrible").status_code == 422
    assert console.form("/feedback/queue?model=reviews&skip=0", label="bad").status_code == 303
    after = console.browser.get("/feedback/queue.json").json()
    assert (after["waiting"], after["about"]["interaction"]["id"]) == (1, "i0")
    given = console.browser.get("/feedback/i1.json").json()["votes"][-1]
    assert (given["value"], given["user_id"]) == ("bad", f"reviewer:{console.made['actor'].id}")


def test_odd_queries_are_answered_and_never_a_bug(console: KeyedConsole) -> None:
    console.log_in("reader")
    for query in (
        "/promotions?since=yesterday",
        "/promotions?before=-1",
        "/feedback?before=x",
        "/feedback?words=%25_%5c'",
        "/feedback/queue?skip=-1",
        "/feedback/queue?model=nope",
        "/promotions?since=0001-01-01T00:00%2B23:59",
        "/models/nope",
        "/runs/nope",
        "/promotions/99999999999999999999999",
        "/feedback?before_id=%00",
    ):
        answer = console.browser.get(query)
        assert answer.status_code in (200, 404, 422) and answer.headers["content-type"].startswith("text/html"), query
