"""Facts about signed webhooks: what a receiver can verify, and what is never sent or logged."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.db.store import Store
from core.errors import SettingsError
from core.ledger import append
from core.records import Decision, Verdict
from core.settings import KeySettings, NotificationSettings, Settings, build
from ops.alarms.alarm_log import AlarmLog
from ops.notify.notifier import Notifier
from ops.notify.targets import targets
from ops.notify.webhooks import sign
from tests.support.http_receiver import HttpReceiver

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
TOKEN = "T0KEN-that-nobody-may-read"


class Receiver(HttpReceiver):
    """A receiver of signed webhooks."""

    def __init__(self) -> None:
        super().__init__(f"/hooks/{TOKEN}")
        self.status = 204
        self.url = f"webhook+http://{self.address}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with made.running():
        yield made


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.close()


def settings(url: str, secret: str | None = SECRET) -> Settings:
    made = build({"models": {"reviews": {"labels": ["a", "b"]}}})
    keys = KeySettings(notify=SecretStr(url), webhook=SecretStr(secret) if secret is not None else None)
    return made.model_copy(update={"keys": keys})


def notifier_of(store: Store, given: Settings) -> Notifier:
    return Notifier(
        store=store,
        targets=targets(given),
        verdicts=NotificationSettings().verdicts,
        alarms=AlarmLog(store, lambda: NOW),
        ops_url="http://ops",
        clock=lambda: NOW,
    )


def decide(store: Store) -> None:
    with store.transaction() as transaction:
        append(transaction, Decision("dec-1", NOW, "reviews", 6, 7, Verdict.PROMOTED, "It won.", "t", "scheduler"))


def documented() -> Callable[..., bool]:
    """The function of docs/how-to/webhooks.md."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "webhooks.md").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], found)
    return found["is_genuine"]


def verified(headers: dict[str, str], body: bytes, key: bytes) -> bool:
    return documented()(headers, body, f"whsec_{base64.b64encode(key).decode()}")


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's reference libraries.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signature = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_can_verify_what_it_gets(store: Store, receiver: Receiver) -> None:
    notifier = notifier_of(store, settings(receiver.url))
    decide(store)
    (target,) = notifier._targets
    notifier.step(target)
    ((headers, body),) = receiver.got
    assert (
        verified(headers, body, KEY) and not verified(headers, body + b" ", KEY) and not verified(headers, body, b"x")
    )
    late = datetime.now(UTC).timestamp() + 301
    assert not documented()(headers, body, SECRET, now=late) and documented()(headers, body, SECRET, now=late - 60)
    assert headers["webhook-id"] == "dec-1" and headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 300
    said = json.loads(body)
    assert said["type"] == "decision.promoted" and said["timestamp"] == "2026-03-01T03:00:00+00:00"
    assert said["data"]["model"] == "reviews" and said["data"]["to_version"] == 7 and said["data"]["kind"] == "success"


def test_a_message_keeps_its_id_and_its_body_while_it_is_retried(store: Store, receiver: Receiver) -> None:
    notifier = notifier_of(store, settings(receiver.url))
    decide(store)
    (target,) = notifier._targets
    receiver.status = 503
    assert [notifier.step(target) for _ in range(3)] == [1, 2, 4]
    receiver.status = 200
    notifier.step(target)
    assert len(receiver.got) == 4 and len({body for _, body in receiver.got}) == 1
    assert {headers["webhook-id"] for headers, _ in receiver.got} == {"dec-1"}
    assert all(verified(headers, body, KEY) for headers, body in receiver.got)


def test_a_redirect_is_refused(store: Store, receiver: Receiver) -> None:
    notifier = notifier_of(store, settings(receiver.url))
    decide(store)
    (target,) = notifier._targets
    for receiver.status in (301, 302, 307, 308):
        receiver.location = receiver.url.removeprefix("webhook+") + "/elsewhere"
        assert notifier.step(target) > 0
    assert len(receiver.got) == 4 and notifier.deliveries()[0].refusals == 4


def test_two_secrets_sign_so_that_a_receiver_can_change(store: Store, receiver: Receiver) -> None:
    newer = bytes(range(24))
    notifier = notifier_of(store, settings(receiver.url, f"{SECRET} whsec_{base64.b64encode(newer).decode()}"))
    notifier.test()
    ((headers, body),) = receiver.got
    assert verified(headers, body, KEY) and verified(headers, body, newer) and json.loads(body)["type"] == "test"


@pytest.mark.parametrize("secret", [None, "", "hunter2", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", SECRET + "\n x"])
def test_a_webhook_without_a_good_secret_is_refused(secret: str | None) -> None:
    with pytest.raises(SettingsError, match="LORALOOP_WEBHOOK_SECRET") as caught:
        targets(settings("webhook+https://host/x", secret))
    assert "hunter2" not in str(caught.value) and "openssl" in caught.value.hint


@pytest.mark.parametrize("url", [f"webhook+https:///{TOKEN}", f"webhook+https:{TOKEN}", f"webhook+https://[{TOKEN}/"])
def test_a_webhook_without_a_host_is_refused_without_being_said(url: str) -> None:
    with pytest.raises(SettingsError, match="has no host") as caught:
        targets(settings(url))
    assert TOKEN not in str(caught.value)


def test_the_secret_is_not_needed_without_webhooks() -> None:
    assert len(targets(settings("json://one", None))) == 1


def test_no_url_and_no_secret_is_ever_logged(
    store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # as core.logs has it
    caplog.set_level(logging.INFO)
    given = settings(f"{receiver.url} webhook+http://127.0.0.1:1/{TOKEN}")
    receiver.status = 500
    notifier = notifier_of(store, given)
    decide(store)
    for target in notifier._targets:
        notifier.step(target)
    output = caplog.text + repr(list(notifier._targets)) + str(notifier.deliveries()) + str(given)
    assert "answered 500" in output and TOKEN not in output and SECRET not in output
