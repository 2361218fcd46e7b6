"""Facts about reloading: what changes at once, what is named for a restart, and that a broken file changes nothing."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from core.errors import NotReady, SettingsError
from core.model_folder import ModelFolder
from core.settings import build, load
from ops.apps import control as control_app
from ops.apps.changed_settings import CONTROL, GATEWAY, Changes, merge
from ops.apps.gateway import create_app
from ops.apps.reload import Reloader, read_again
from ops.cli.app import app as command_line
from ops.local import up
from serve.engines.fake import running
from tests.support.environment import own_logging

LABELS = {"labels": ["a", "b"]}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves the test's own logging as it was."""
    yield from own_logging(monkeypatch)


def settings(**content: Any) -> Any:
    return build({"models": {"reviews": LABELS}} | content)


def merged(part: Any, **content: Any) -> tuple[Any, Changes]:
    return merge(settings(), settings(**content), part)


def test_what_is_judged_by_changes_at_once() -> None:
    model = LABELS | {
        "promotion": {"mode": "approve", "canary": {"share": 0.2}},
        "baselines": {"prompts": ["Say one."]},
        "retrain": {"schedule": "1 2 * * *"},
    }
    found, changes = merged(CONTROL, models={"reviews": model}, control={"check_seconds": 3}, logs={"level": "debug"})
    assert changes.restart == () and set(changes.applied) == {
        "control.check_seconds",
        "logs.level",
        "models.reviews.baselines.prompts",
        "models.reviews.promotion.mode",
        "models.reviews.promotion.canary.share",
        "models.reviews.retrain.schedule",
    }
    assert found.models["reviews"].promotion.canary.share == 0.2 and found.logs.level == "debug"


def test_what_needs_a_restart_is_named_and_stays_as_it_was() -> None:
    found, changes = merged(
        CONTROL,
        base_model="other",
        engine={"max_loras": 9},
        control={"listen": "127.0.0.1:1", "check_seconds": 2},
    )
    assert changes.restart == ("base_model", "control.listen", "engine.max_loras")
    assert changes.applied == ("control.check_seconds",)
    assert (found.base_model, found.engine.max_loras, found.control.listen) == (
        settings().base_model,
        4,
        settings().control.listen,
    )
    assert found.control.check_seconds == 2 and "after a restart: base_model" in str(changes)


def test_a_process_says_nothing_of_settings_that_it_does_not_read() -> None:
    _, changes = merged(GATEWAY, base_model="other", models={"reviews": LABELS | {"retrain": {"epochs": 2}}})
    assert changes == Changes("gateway", (), ()) and str(changes) == "nothing changed"
    found, changes = merged(GATEWAY, gateway={"max_in_flight": 3, "name": "gateway-2"}, tracing={"enabled": True})
    assert (changes.applied, changes.restart) == (("gateway.max_in_flight",), ("gateway.name", "tracing.enabled"))
    assert (found.gateway.max_in_flight, found.gateway.name) == (3, "gateway-1")


def test_a_model_that_is_new_is_taken_and_one_that_is_gone_stays_until_a_restart() -> None:
    found, changes = merged(CONTROL, models={"poems": LABELS})
    assert set(found.models) == {"reviews", "poems"} and changes.restart == ("models.reviews",)
    assert all(path.startswith("models.poems.") for path in changes.applied)


def test_a_change_that_fits_only_with_a_restart_is_refused_whole() -> None:
    model = LABELS | {"retrain": {"rank": 32}}
    with pytest.raises(SettingsError, match=r"does not fit.*max_lora_rank.*Restart instead"):
        merged(CONTROL, models={"reviews": model}, engine={"max_lora_rank": 32})


def test_control_takes_the_models_that_keys_may_be_limited_to() -> None:
    first, second = ({"embeddings": {"urls": ["http://h:1"], "model": model}} for model in ("bge-m3", "other"))
    found, changes = merged(CONTROL, gateway=first | {"max_in_flight": 7})
    assert found.gateway.passed_on == {"bge-m3": ["http://h:1"]} and found.gateway.max_in_flight == 256
    assert changes.restart == () and "gateway.embeddings.model" in changes.applied
    changed, _ = merge(found, settings(gateway=second), CONTROL)
    assert changed.gateway.passed_on == {"other": ["http://h:1"]}
    assert merge(changed, settings(), CONTROL)[0].gateway.passed_on == {}
    assert merged(GATEWAY, gateway=first)[1].applied == ()


def test_control_takes_who_may_log_in_also_where_nobody_could_before() -> None:
    public = {"public_url": "https://ops.example"}
    first = {"issuer": "https://id.example", "client_id": "x", "roles": {"ops": "operator", "a.b": "viewer"}}
    before = settings(control=public)
    found, changes = merge(before, settings(control=public, login={"oidc": first}), CONTROL)
    assert changes.restart == () and found.login.oidc and found.login.oidc.roles == first["roles"]
    changed = settings(control=public, login={"oidc": first | {"roles": {"a.b": "admin"}}})
    found, changes = merge(found, changed, CONTROL)
    assert found.login.oidc and found.login.oidc.roles == {"a.b": "admin"}
    assert set(changes.applied) == {"login.oidc.roles.ops", "login.oidc.roles.a.b"}
    assert merge(found, before, CONTROL)[0].login.oidc is None
    with pytest.raises(SettingsError, match=r"control\.public_url"):
        merge(settings(), settings(control=public, login={"oidc": first}), CONTROL)


@given(st.integers(1, 99), st.booleans(), st.sampled_from(["info", "error"]))
def test_what_was_applied_is_not_named_again(flight: int, canary: bool, level: str) -> None:
    model = LABELS | {"promotion": {"canary": {} if canary else None}}
    new = settings(gateway={"max_in_flight": flight}, models={"reviews": model}, logs={"level": level})
    for part in (GATEWAY, CONTROL):
        first, _ = merge(settings(), new, part)
        assert merge(first, new, part)[1].applied == ()


class File:
    """A configuration that is changed."""

    def __init__(self, folder: Path, **content: Any) -> None:
        self.path = folder / "loraloop.yaml"
        common = {"data": str(folder / "data"), "base_model": str(folder), "models": {"reviews": LABELS}}
        self.content = common | content
        self.write()

    def write(self, **changes: Any) -> None:
        self.content |= changes
        self.path.write_text(yaml.safe_dump(self.content))


BROKEN = [
    "models: [",
    "modles: {}",
    "models: {}",
    "- 1",
    "",
    "models: {reviews: {labels: [a]}}",
    "\x00",
    "models: {reviews: {labels: [a, b], retrain: {schedule: nonsense}}}",
]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[SimpleNamespace]:
    file = File(tmp_path, access="open")
    app = control_app.create_app(settings=load(file.path), base=ModelFolder("tiny", tmp_path), config=file.path)
    client = TestClient(app, base_url="http://127.0.0.1:8081", raise_server_exceptions=False)
    yield SimpleNamespace(file=file, control=app.state.control, app=app, reload=lambda: client.post("/api/reload"))
    app.state.control.store.close()


def test_control_takes_models_schedules_and_the_level_of_its_log(control: SimpleNamespace) -> None:
    inside = control.control
    inside.promotion.sync_models(["reviews"])
    nightly = LABELS | {"retrain": {"schedule": "5 4 * * *"}, "promotion": {"mode": "approve"}}
    models = {"reviews": nightly, "poems": LABELS | {"feedback": {"audit_share": 0.05}}}
    control.file.write(models=models, control={"check_seconds": 7}, logs={"level": "error"})
    answer = control.reload().json()
    assert answer["restart"] == [] and "models.reviews.promotion.mode" in answer["applied"]
    assert inside.settings.models["reviews"].promotion.mode == "approve"
    assert inside.watch.models == inside.scheduler.pipeline.settings.models == inside.settings.models
    assert inside.promotion.route("poems").champion == 0
    assert inside.settings.audit_shares == inside.promotion._audit_shares == {"poems": 0.05}
    jobs = {job.id: job for job in inside.scheduler._scheduler.get_jobs()}
    assert {"cron:reviews", "cron:poems"} <= jobs.keys() and jobs["cron:reviews"].args[1] == "schedule 5 4 * * *"
    assert jobs["check"].trigger.interval.total_seconds() == jobs["watch"].trigger.interval.total_seconds() == 7
    assert logging.getLogger().level == logging.ERROR
    control.file.write(models={"reviews": LABELS | {"retrain": {"schedule": None}}, "poems": LABELS})
    control.reload()
    assert "cron:reviews" not in {job.id for job in inside.scheduler._scheduler.get_jobs()}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_changes_nothing_and_says_why(control: SimpleNamespace, text: str) -> None:
    before = control.control.settings
    control.file.path.write_text(text)
    answer = control.reload()
    assert answer.status_code == 422 and answer.json()["error"]["code"] == "settings_error", answer.text
    assert control.control.settings is before and len(answer.json()["error"]["message"]) > 20
    control.file.path.unlink()
    assert "no configuration" in control.reload().json()["error"]["message"]


def test_access_changes_at_once(control: SimpleNamespace) -> None:
    control.file.write(access="keys")
    assert control.reload().json()["applied"] == ["access"]
    assert control.reload().status_code == 401


def test_a_process_without_a_file_says_so() -> None:
    with pytest.raises(NotReady, match="without a configuration file"):
        Reloader(None, settings(), GATEWAY, lambda _: None).reload()


def test_a_new_worker_has_what_changed_and_a_broken_file_changes_nothing_for_it(tmp_path: Path) -> None:
    file = File(tmp_path)
    before = load(file.path)
    file.write(gateway={"max_in_flight": 3, "name": "other"})
    after = read_again(before, file.path, GATEWAY)
    assert (after.gateway.max_in_flight, after.gateway.name) == (3, "gateway-1")
    file.path.write_text("[")
    assert read_again(after, file.path, GATEWAY) is after
    assert read_again(after, None, GATEWAY) is after


def test_a_sighup_reloads_and_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, taken = File(tmp_path), []
    reloader = Reloader(file.path, load(file.path), GATEWAY, taken.append)
    caplog.set_level(logging.INFO)
    before = signal.signal(signal.SIGHUP, reloader.on_signal)
    try:
        for write, words in (
            (lambda: file.write(gateway={"max_in_flight": 3}), "in effect: gateway.max_in_flight"),
            (lambda: file.write(gateway={"max_in_flight": 3, "name": "g"}), "after a restart: gateway.name"),
            (lambda: file.path.write_text("["), "nothing changed"),
        ):
            write()
            os.kill(os.getpid(), signal.SIGHUP)
            deadline = time.monotonic() + 5
            while words not in caplog.text:
                assert time.monotonic() < deadline, caplog.text
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [each.gateway.max_in_flight for each in taken] == [3]


def test_the_command_line_asks_both_and_says_what_each_took(control: SimpleNamespace, tmp_path: Path) -> None:
    with ExitStack() as stack:
        gateway = create_app(settings=load(control.file.path), config=control.file.path)
        urls = [stack.enter_context(running(app)) for app in (_unstarted(control.app), gateway)]
        listen = [url.removeprefix("http://") for url in urls]
        control.file.write(
            gateway={"control_url": urls[0], "listen": listen[1], "max_in_flight": 5, "max_body_bytes": 2048},
            control={"check_seconds": 9},
        )
        asked = ["reload", "--config", str(control.file.path)]
        done = CliRunner().invoke(command_line, asked)
        assert done.exit_code == 0, done.output
        assert "control: in effect: control.check_seconds" in done.stderr
        assert "gateway: in effect: gateway.max_body_bytes, gateway.max_in_flight; after a restart:" in done.stderr
        large = httpx.post(f"{urls[1]}/v1/chat/completions", content=b"x" * 3000, trust_env=False)
        assert large.status_code == 413
        stack.pop_all().close()
        assert CliRunner().invoke(command_line, [*asked, "--json"]).exit_code == 1


def _unstarted(app: Any) -> Any:
    """An app without its life: a scheduler would look for engines."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await app(scope, receive, send)

    return served


class Process:
    """A child that only takes signals."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def poll(self) -> None:
        return None

    def send_signal(self, number: int) -> None:
        self.got.append(number)


def test_up_passes_a_sighup_on_to_processes_that_handle_it_but_never_to_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_has_terminal", lambda: False)
    stack = up.Stack(settings(data=str(tmp_path)), tmp_path / "x", lambda _: None)
    children: dict[str, Any] = {name: Process() for name in ("engine", "control", "gateway")}
    for name, process in children.items():
        child = up.Child(name, "", Process, process)  # type: ignore[arg-type]
        child.answered = None if name == "gateway" else 1.0
        stack._children.append(child)
    stack._pass_on()
    assert {name: process.got for name, process in children.items()} == {
        "engine": [],
        "control": [signal.SIGHUP],
        "gateway": [],
    }


def test_up_ends_when_its_terminal_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "_has_terminal", lambda: True)
    stack = up.Stack(settings(data=str(tmp_path)), tmp_path / "x", lambda _: None)
    stack.hang_up()
    monkeypatch.setattr(up, "_has_terminal", lambda: False)
    with pytest.raises(KeyboardInterrupt):
        stack.watch()
