"""Facts about notifications: real webhooks on loopback ports, the real store, apprise itself."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from core.db import decisions
from core.db import notifications as notifications_table
from core.db.decisions import LedgerHead
from core.db.store import Store
from core.errors import SettingsError
from core.ledger import append
from core.records import Decision, Verdict
from core.settings import KeySettings, NotificationSettings, Settings, build
from ops.alarms.alarm_log import AlarmLog
from ops.notify import notifier as notifications
from ops.notify.feeds import compose_decision
from ops.notify.message import Message
from ops.notify.notifier import LONGEST_BACKOFF, Notifier
from ops.notify.targets import Target, targets
from tests.support.http_receiver import HttpReceiver
from tools.live_stack import free_ports

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
TOKEN = "T0KEN-that-nobody-may-read"
WANTED = NotificationSettings().verdicts


class Webhook(HttpReceiver):
    """A receiver of apprise's JSON, which refuses while its status is an error."""

    def __init__(self) -> None:
        super().__init__(f"/hooks/{TOKEN}")
        self.url = f"json://{self.address}"

    @property
    def said(self) -> list[dict[str, Any]]:
        """What it took."""
        return [json.loads(body) for body in self.accepted]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    with made.running():
        yield made


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.close()


def settings(*urls: str, **changes: Any) -> Settings:
    made = build({"models": {"reviews": {"labels": ["a", "b"]}}} | changes)
    return made.model_copy(update={"keys": KeySettings(notify=SecretStr(" ".join(urls)))})


def decide(store: Store, verdict: Verdict, reason: str = "It won.") -> str:
    number = len(decisions.chain(store)) + 1
    decision = Decision(f"dec-{number}", NOW, "reviews", 6, 7, verdict, reason, "new feedback", "scheduler")
    with store.transaction() as transaction:
        return append(transaction, decision)


def notifier_of(store: Store, found: list[Target], **changes: Any) -> Notifier:
    common: dict[str, Any] = {"verdicts": WANTED, "ops_url": "http://ops", "clock": lambda: NOW}
    common["alarms"] = AlarmLog(store, lambda: NOW)
    return Notifier(store=store, targets=found, **common | changes)


def test_a_promotion_reaches_a_webhook_with_reason_and_head(store: Store, webhook: Webhook):
    (target,) = targets(settings(webhook.url))
    notifier = notifier_of(store, [target])
    decide(store, Verdict.PROMOTED, "macro F1 +0.08\nLedger: forged line")
    decide(store, Verdict.KEPT)
    head = decide(store, Verdict.SWITCHED)
    assert notifier.step(target) == 0.0 and notifier.step(target) > 0
    (said,) = webhook.said
    assert said["title"] == "reviews: Promoted, v6 → v7"
    lines = said["message"].splitlines()
    assert lines[0] == "macro F1 +0.08 Ledger: forged line"
    assert lines[2] == "http://ops/promotions/1"
    assert lines[3] == f"Ledger: row 1, head {head} at row 3."
    assert notifier.deliveries()[0].behind == 0


def test_a_target_that_refuses_is_retried_ever_later_and_loses_nothing(store: Store, webhook: Webhook):
    (target,) = targets(settings(webhook.url))
    notifier = notifier_of(store, [target])
    decide(store, Verdict.PROMOTED, "first")
    decide(store, Verdict.ROLLED_BACK, "second")
    webhook.status = 503
    waits = [notifier.step(target) for _ in range(12)]
    assert waits[:4] == [1, 2, 4, 8] and waits[-1] == LONGEST_BACKOFF
    (delivery,) = notifier.deliveries()
    assert (delivery.refusals, delivery.behind) == (12, 2)
    webhook.status = 200
    notifier.step(target)
    assert [said["message"].splitlines()[0] for said in webhook.said] == ["first", "second"]
    assert notifier.deliveries()[0].refusals == 0


def test_a_restart_neither_loses_nor_doubles(tmp_path: Path, webhook: Webhook):
    (target,) = targets(settings(webhook.url))
    store = Store(tmp_path / "s.duckdb")
    notifier = notifier_of(store, [target])
    decide(store, Verdict.PROMOTED, "while it was up")
    notifier.step(target)
    decide(store, Verdict.FAILED, "while it was down")
    store.close()
    store = Store(tmp_path / "s.duckdb")
    notifier_of(store, [target]).step(target)
    store.close()
    assert [said["message"].splitlines()[0] for said in webhook.said] == ["while it was up", "while it was down"]


def test_a_new_target_gets_no_past_decisions(store: Store, webhook: Webhook):
    decide(store, Verdict.PROMOTED)
    (target,) = targets(settings(webhook.url))
    notifier_of(store, [target]).step(target)
    assert webhook.said == []


def test_only_the_configured_verdicts_are_sent(store: Store, webhook: Webhook):
    (target,) = targets(settings(webhook.url))
    notifier = notifier_of(store, [target], verdicts=[Verdict.KEPT])
    for verdict in Verdict:
        decide(store, verdict)
    notifier.step(target)
    assert [said["title"] for said in webhook.said] == ["reviews: Champion kept, v6 → v7"]


def test_the_configured_verdicts_may_change_while_it_runs(store: Store, webhook: Webhook):
    (target,) = targets(settings(webhook.url))
    notifier = notifier_of(store, [target])
    notifier.want([Verdict.SKIPPED])
    decide(store, Verdict.PROMOTED)
    decide(store, Verdict.SKIPPED)
    notifier.step(target)
    assert [said["title"] for said in webhook.said] == ["reviews: Skipped, v6 → v7"]


def test_a_dead_target_delays_no_other(store: Store, webhook: Webhook):
    dead = f"json://127.0.0.1:{free_ports(1)[0]}/x"
    notifier = notifier_of(store, targets(settings(dead, webhook.url)), poll_s=0.01)
    notifier.start()
    decide(store, Verdict.PROMOTED)
    deadline = threading.Event()
    for _ in range(500):
        if webhook.said:
            break
        deadline.wait(0.02)
    notifier.stop()
    assert len(webhook.said) == 1
    assert [delivery.behind for delivery in notifier.deliveries()] == [1, 0]


def test_no_url_and_no_token_is_ever_said(store: Store, webhook: Webhook, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    gone = f"json://user:{TOKEN}@127.0.0.1:{free_ports(1)[0]}/{TOKEN}"
    found = targets(settings(webhook.url, gone))
    webhook.status = 500
    notifier = notifier_of(store, found)
    decide(store, Verdict.PROMOTED)
    for target in found:
        notifier.step(target)
    kept = notifications_table.position(store, target=found[0].fingerprint)
    output = caplog.text + repr(found) + str(notifier.deliveries()) + str(kept) + str(settings(webhook.url))
    assert "did not take row 1" in output and TOKEN not in output


def test_a_librarys_error_text_is_not_logged(store: Store, caplog: pytest.LogCaptureFixture):
    def fails(_: Message) -> bool:
        raise RuntimeError(f"cannot reach https://hooks/{TOKEN}")

    target = Target("slack (URL 1)", "f", fails)
    notifier = notifier_of(store, [target])
    assert notifier.test() == [{"target": "slack (URL 1)", "taken": False}]
    assert "slack (URL 1) failed: RuntimeError" in caplog.text and TOKEN not in caplog.text


@pytest.mark.parametrize("url", [f"nonsense-{TOKEN}", f"nowhere://{TOKEN}", "json://"])
def test_a_url_that_is_none_is_refused_without_being_said(url: str):
    with pytest.raises(SettingsError, match="LORALOOP_NOTIFY_URLS: URL 1 is not a URL that apprise supports") as caught:
        targets(settings(url))
    assert TOKEN not in str(caught.value)


def test_urls_of_a_file_are_read_with_remarks(tmp_path: Path, webhook: Webhook):
    file = tmp_path / "urls"
    file.write_text(f"# ops\n\n{webhook.url}\njson://two\n{webhook.url}\n")
    found = targets(settings(notifications={"urls_file": str(file)}))
    assert [target.name for target in found] == [
        "json (notifications.urls_file, line 5)",
        "json (notifications.urls_file, line 4)",
    ]
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        targets(settings(notifications={"urls_file": str(file)}))


def test_urls_in_the_configuration_are_refused():
    with pytest.raises(SettingsError, match=r"notifications\.urls is not a setting"):
        settings(notifications={"urls": ["slack://…"]})


def test_the_environment_gives_the_urls(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LORALOOP_NOTIFY_URLS", f"json://one/{TOKEN} json://two")
    made = build({"models": {"reviews": {"labels": ["a", "b"]}}})
    assert len(targets(made)) == 2 and TOKEN not in made.model_dump_json()


def test_the_routes_say_how_targets_stand_and_send_a_test(store: Store, webhook: Webhook):
    notifier = notifier_of(store, targets(settings(webhook.url)))
    app = FastAPI()
    app.include_router(notifications.create_reading_router(notifier))
    app.include_router(notifications.create_acting_router(notifier))
    with TestClient(app) as client:
        assert client.post("/api/notifications/test").json()[0]["taken"] is True
        assert webhook.said[0]["title"] == "LoraLoop: test"
        assert client.get("/api/notifications").json()[0]["behind"] == 0


def test_every_verdict_has_a_message():
    for verdict in Verdict:
        body = json.dumps({"actor": "a\x1b[31m", "trigger": "t"})
        row = {
            "body": body,
            "model": "m",
            "verdict": verdict,
            "from_version": None,
            "to_version": 3,
            "reason": "r",
            "time": NOW,
            "seq": 1,
            "id": "dec-1",
            "run_id": None,
        }
        said = compose_decision(row, LedgerHead(1, "h"), "http://ops")
        assert said.title and "\x1b" not in said.body
