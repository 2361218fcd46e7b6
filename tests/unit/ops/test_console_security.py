"""Facts about the console and strangers: who gets in, what a form must bring, and what no input can do."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from fastapi.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.db import decisions, runs
from core.db.store import Transaction
from core.errors import LimitReached
from core.model_folder import ModelFolder
from core.records import Feedback, Interaction, Verdict, Version
from core.settings import build
from feedback.ingest import add
from ops.apps import control
from ops.cli import server
from ops.console.login import FRONT, local
from ops.console.sessions import MOST_ADDRESSES, MOST_SESSIONS, Sessions
from rollout.changes import DecisionContext
from serve.engines.fake import FakeEngines

EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
SECRET_PAGES = ("/promotions", "/models/reviews", "/feedback", "/feedback/queue", "/runs", "/system")


class Moving:
    """A clock that tests move on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class House:
    """Control's real app with keys, a browser before it, and a way to log in."""

    def __init__(self, data: Path) -> None:
        self.clock = Moving()
        settings = build({"data": str(data), "models": {"reviews": {"labels": ["good", "bad"]}}})
        app = control.create_app(settings=settings, base=ModelFolder("tiny", data), clock=self.clock)
        self.control: Any = app.state.control
        self.control.promotion.engines = FakeEngines()
        self.control.promotion.sync_models(["reviews"])
        ring = self.control.keyring
        scopes = {"reader": (Scope.OPS_READ,), "actor": (Scope.OPS_READ, Scope.OPS_WRITE), "app": (Scope.INFER,)}
        self.made = {name: ring.make(NewKey(name, own), "test") for name, own in scopes.items()}
        self.browser = TestClient(app, follow_redirects=False, raise_server_exceptions=False)

    def form(self, path: str, **fields: Any) -> httpx.Response:
        """Sends a form with the token that its page has."""
        page = self.browser.get(path.partition("#")[0])
        found = re.search(r'name="token" value="(\w+)"', page.text)
        assert found, page.text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        return self.browser.post(path, data=hidden | {"token": found[1]} | fields)

    def log_in(self, name: str, **fields: str) -> httpx.Response:
        answer = self.form("/login", key=self.made[name].key, **fields)
        assert answer.status_code == 303, answer.text
        return answer

    def verdicts(self) -> list[tuple[str, str]]:
        rows = decisions.chain(self.control.store)
        return [(row["verdict"], json.loads(row["body"])["actor"]) for row in rows]

    def promote(self, version: int) -> None:
        with self.control.store.transaction() as transaction:
            name = f"reviews@{version}"
            self.control.promotion.add_version(
                transaction, Version("reviews", version, name, f"/{version}", "ab", 8, None)
            )
        self.control.promotion.promote("reviews", version, DecisionContext("It won.", "test"))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("rollout.routes.SETTLE_SECONDS", 0.0)
    made = House(tmp_path)
    # One event loop for all requests, as TestClient has it when it is entered; that would start the scheduler.
    with start_blocking_portal() as made.browser.portal:
        yield made
    made.control.store.close()


@pytest.mark.parametrize("path", SECRET_PAGES)
def test_a_stranger_sees_the_log_in_and_nothing_else(house: House, path: str) -> None:
    answer = house.browser.get(path)
    assert answer.status_code == 401 and "Log in" in answer.text and f'value="{path}"' in answer.text
    assert "reviews" not in answer.text.replace(f'value="{path}"', "")
    assert house.browser.get(f"{path}.json").json()["error"]["code"] == "key_refused"


def test_the_log_in_leads_to_where_one_wanted_to_go_with_a_cookie_that_scripts_cannot_read(house: House) -> None:
    answer = house.log_in("reader", onward="/runs?model=reviews")
    cookie = answer.headers["set-cookie"]
    assert answer.headers["location"] == "/runs?model=reviews"
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert house.made["reader"].key not in cookie
    assert house.browser.get("/runs").status_code == 200


def test_over_tls_the_cookie_never_goes_out_in_the_clear(house: House) -> None:
    page = house.browser.get("/login").text
    found = re.search(r'name="token" value="(\w+)"', page)
    assert found
    fields = {"token": found[1], "key": house.made["reader"].key}
    answer = house.browser.post("/login", data=fields, headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["set-cookie"].startswith("__Host-") and "Secure" in answer.headers["set-cookie"]


def test_a_wrong_key_a_key_of_another_scope_and_no_form_of_ours_open_nothing(house: House) -> None:
    assert house.form("/login", key="llk_x_y").status_code == 401
    assert house.form("/login", key=house.made["app"].key).status_code == 403
    assert house.browser.post("/login", data={"key": house.made["reader"].key}).status_code == 403
    assert house.browser.get("/promotions").status_code == 401


def test_guessing_is_slowed_down_and_others_are_not(house: House) -> None:
    tried = [house.form("/login", key=f"guess {n}").status_code for n in range(12)]
    assert tried == [401] * 10 + [429] * 2
    assert house.form("/login", key=house.made["reader"].key).status_code == 429
    house.clock.now += timedelta(minutes=1)
    house.log_in("reader")


def test_guesses_from_everywhere_are_slowed_down_together_and_leave_nothing_behind() -> None:
    clock = Moving()
    sessions = Sessions(hours=1, clock=clock)
    for number in range(MOST_ADDRESSES + 10):
        sessions.failed(f"2001:db8::{number:x}")
    with pytest.raises(LimitReached):
        sessions.may_try("2001:db8::ffff:1")
    sessions.may_try("2001:db8::1")  # who failed once before has an account of their own
    clock.now += timedelta(minutes=2)
    sessions.may_try("2001:db8::ffff:1")
    sessions.failed("2001:db8::ffff:1")
    assert len(sessions._failures) == 1


def test_old_sessions_give_way_to_new_ones() -> None:
    sessions = Sessions(hours=1, clock=Moving())
    begun = [sessions.begin("key") for _ in range(MOST_SESSIONS + 1)]
    assert sessions.find(begun[0].name) is None and sessions.find(begun[-1].name) is begun[-1]
    assert sessions.find(None) is None and "key" not in repr(begun[-1])


def test_a_session_ends_by_time_by_logging_out_and_with_its_key(house: House) -> None:
    house.log_in("reader")
    house.clock.now += timedelta(hours=12, seconds=1)
    assert house.browser.get("/runs").status_code == 401
    house.log_in("reader")
    old = dict(house.browser.cookies)
    page = house.browser.get("/runs").text
    token = re.search(r'name="token" value="(\w+)"', page)
    assert token and house.browser.post("/logout", data={"token": token[1]}).status_code == 303
    house.browser.cookies.update(old)  # a thief's copy
    assert house.browser.get("/runs").status_code == 401
    house.browser.cookies.clear()
    house.log_in("reader")
    house.control.keyring.revoke(house.made["reader"].id)
    assert house.browser.get("/runs").status_code == 401


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "evil",
        "/%0d%0aSet-Cookie: a=b".replace("%0d%0a", "\r\n"),
        "http:evil.example",
        "",
        "/\t/evil.example",
        "/logout",
        "///evil",
    ],
)
def test_the_log_in_leads_nowhere_else(house: House, onward: str) -> None:
    assert local(onward) == FRONT
    assert house.log_in("reader", onward=onward).headers["location"] == FRONT


def test_a_reader_sees_no_button_and_may_not_act(house: House) -> None:
    house.promote(1)
    house.log_in("reader")
    assert "/rollback?" not in house.browser.get("/promotions").text
    assert house.browser.get("/models/reviews/rollback").status_code == 403
    assert house.browser.post("/models/reviews/rollback", data={"champion": 1, "to": 0}).status_code == 403
    assert house.control.promotion.route("reviews").champion == 1


def test_a_roll_back_is_asked_for_shown_and_lands_in_the_ledger_with_its_verified_actor(house: House) -> None:
    house.promote(1)
    house.log_in("actor")
    page = house.browser.get("/models/reviews/rollback").text
    assert "Roll reviews back to v0?" in page and "It won." in page
    done = house.form("/models/reviews/rollback", comment="a drill\r\nof ours", actor="somebody else")
    assert done.status_code == 303 and done.headers["location"] == "/models/reviews"
    assert house.control.promotion.route("reviews").champion == 0
    assert house.verdicts()[2] == ("rolled_back", f"actor (key {house.made['actor'].id})")
    assert json.loads(decisions.chain(house.control.store)[2]["body"])["comment"] == "a drill\nof ours"


def test_what_changed_since_the_page_was_read_is_not_confirmed(house: House) -> None:
    house.promote(1)
    house.log_in("actor")
    page = house.browser.get("/models/reviews/rollback?to=0").text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    house.promote(2)
    assert house.browser.post("/models/reviews/rollback", data=hidden).status_code == 409
    assert house.control.promotion.route("reviews").champion == 2


def awaiting(house: House) -> str:
    house.promote(1)
    house.promote(2)

    def add_run(transaction: Transaction) -> None:
        runs.add(
            transaction,
            id="run-1",
            model="reviews",
            trigger="t",
            state="awaiting_approval",
            started=house.clock(),
            feedback_until=house.clock(),
        )
        transaction._connection.execute("UPDATE runs SET candidate = 1 WHERE id = 'run-1'")

    why = DecisionContext("It passed.", "schedule", run_id="run-1")
    with house.control.store.transaction() as transaction:
        add_run(transaction)
    return house.control.promotion.record_decision("reviews", 1, Verdict.AWAITING_APPROVAL, why).id


@pytest.mark.parametrize(("word", "champion", "verdict"), [("approve", 1, "promoted"), ("reject", 2, "rejected")])
def test_an_approval_is_given_or_refused_once(house: House, word: str, champion: int, verdict: str) -> None:
    identity = awaiting(house)
    house.log_in("actor")
    assert house.form(f"/promotions/{identity}/{word}", comment="yes").status_code == 303
    assert house.control.promotion.route("reviews").champion == champion
    assert (verdict, f"actor (key {house.made['actor'].id})") in house.verdicts()
    assert house.browser.get(f"/promotions/{identity}/{word}").status_code == 409


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_form_that_another_site_sends_does_nothing_even_with_the_token(house: House, headers: dict[str, str]) -> None:
    house.promote(1)
    house.log_in("actor")
    hidden = dict(
        re.findall(
            r'<input type="hidden" name="(\w+)" value="([^"]*)"', house.browser.get("/models/reviews/rollback").text
        )
    )
    assert house.browser.post("/models/reviews/rollback", data=hidden, headers=headers).status_code == 403
    for token in ("", "0" * 64, "é", house.control.keyring.grants[0].id):
        assert house.browser.post("/models/reviews/rollback", data=hidden | {"token": token}).status_code == 403
    assert house.control.promotion.route("reviews").champion == 1


def test_behind_a_trusted_proxy_one_visitors_wrong_keys_lock_nobody_else_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.run", lambda app, **how: options.update(how, app=app))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    server._serve(house.browser.app, "127.0.0.1:0", ["10.0.0.0/24"])  # type: ignore[arg-type]
    assert options["proxy_headers"]
    behind = ProxyHeadersMiddleware(options["app"], options["forwarded_allow_ips"])

    def tries(proxy: str, visitor: str) -> int:
        house.browser = TestClient(behind, client=(proxy, 1), headers={"X-Forwarded-For": visitor})  # type: ignore[arg-type]
        return house.form("/login", key="wrong").status_code

    assert [tries("10.0.0.7", "1.1.1.1") for _ in range(11)][-1] == 429
    assert tries("10.0.0.7", "2.2.2.2") == 401
    assert tries("10.0.0.7", "1.1.1.1") == 429
    assert [tries("9.9.9.9", f"3.3.3.{n}") for n in range(11)][-1] == 429  # whom nobody trusts is believed nothing


def test_a_token_of_one_session_is_not_that_of_another(house: House) -> None:
    house.promote(1)
    house.log_in("actor")
    stolen = dict(
        re.findall(
            r'<input type="hidden" name="(\w+)" value="([^"]*)"', house.browser.get("/models/reviews/rollback").text
        )
    )
    house.browser.cookies.clear()
    house.log_in("actor")
    assert house.browser.post("/models/reviews/rollback", data=stolen).status_code == 403


def test_no_page_can_be_framed_or_run_a_script_of_a_page(house: House) -> None:
    for path in ("/login", "/promotions", "/nothing/../promotions"):
        answer = house.browser.get(path)
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy and "base-uri 'none'" in policy


def test_what_strangers_wrote_is_text_on_every_page(house: House) -> None:
    asked = Interaction(
        "i1",
        house.clock(),
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
        Feedback("f1", house.clock(), "i1", None, "thumbs", False, EVIL, EVIL, {"a": EVIL}),
        Feedback("f2", house.clock(), "i1", None, "correction", EVIL, None, EVIL),
        Feedback("f3", house.clock(), EVIL, None, "flag", "other", EVIL, EVIL),
    ]
    add(house.control.store, [asked, *said])
    house.control.promotion.record_decision("reviews", None, Verdict.FAILED, DecisionContext(EVIL, EVIL, EVIL, EVIL))
    house.log_in("actor")
    for path in (
        *SECRET_PAGES,
        "/feedback/i1",
        "/promotions/1",
        f"/feedback?words={EVIL}",
        f"/promotions?verdict={EVIL}",
        f"/runs/{EVIL}",
        f"/models/{EVIL}",
    ):
        text = house.browser.get(path).text
        assert "<script>" not in text and "<img" not in text, path
    assert "&lt;script&gt;" in house.browser.get("/feedback").text


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
def test_no_path_leads_out_of_the_house(house: House, path: str) -> None:
    house.log_in("actor")
    assert house.browser.get(path).status_code == 404


def test_the_log_of_a_run_is_the_runs_own(house: House) -> None:
    house.log_in("reader")
    (house.control.settings.data / "secret").mkdir()
    (house.control.settings.data / "secret" / "trainer.log").write_text("a secret")
    (house.control.settings.data / "runs").mkdir()
    for identity in ("../secret", "run-1"):
        runs.add(
            house.control.store,
            id=identity,
            model="reviews",
            trigger="t",
            state="training",
            started=house.clock(),
            feedback_until=house.clock(),
        )
    assert "a secret" not in house.browser.get("/runs/..%2Fsecret").text
    (house.control.settings.data / "runs" / "run-1").mkdir()
    (house.control.settings.data / "runs" / "run-1" / "trainer.log").write_text(EVIL)
    assert "&lt;script&gt;" in house.browser.get("/runs/run-1").text


def test_a_comment_cannot_forge_a_line_of_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    house.promote(1)
    house.log_in("actor")
    house.form("/models/reviews/rollback", comment="x\n2026-01-01 CRITICAL all is lost")
    house.browser.get("/models/a%0aCRITICAL forged")
    house.browser.get("/promotions/a%0aCRITICAL%20forged")
    assert not any("\n" in record.getMessage() for record in caplog.records)


def test_a_label_of_the_queue_is_feedback_of_a_reviewer_and_the_answer_leaves_the_queue(house: House) -> None:
    asked = [
        Interaction(
            f"i{n}",
            house.clock(),
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
        Feedback("f0", house.clock(), "i0", None, "thumbs", False, None, "a"),
        Feedback("f1", house.clock(), "i1", None, "label", "good", None, "a"),
        Feedback("f2", house.clock(), "i1", None, "label", "bad", None, "b"),
        Feedback("f3", house.clock(), "i2", None, "thumbs", True, None, "b"),
    ]
    add(house.control.store, [*asked, *votes])
    house.log_in("actor")
    first = house.browser.get("/feedback/queue.json").json()
    assert (first["waiting"], first["about"]["interaction"]["id"]) == (2, "i1")  # users contradict each other
    assert house.form("/feedback/queue?model=reviews&skip=0", label="terrible").status_code == 422
    assert house.form("/feedback/queue?model=reviews&skip=0", label="bad").status_code == 303
    after = house.browser.get("/feedback/queue.json").json()
    assert (after["waiting"], after["about"]["interaction"]["id"]) == (1, "i0")
    given = house.browser.get("/feedback/i1.json").json()["votes"][-1]
    assert (given["value"], given["user_id"]) == ("bad", f"reviewer:{house.made['actor'].id}")


def test_odd_queries_are_answered_and_never_a_bug(house: House) -> None:
    house.log_in("reader")
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
        answer = house.browser.get(query)
        assert answer.status_code in (200, 404, 422) and answer.headers["content-type"].startswith("text/html"), query
