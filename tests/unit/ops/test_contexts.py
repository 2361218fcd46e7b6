"""Facts about contexts: login, which control a command speaks to, and where keys are."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Header, HTTPException, Response

from core.errors import SettingsError
from ops import contexts
from ops.contexts import Context, Contexts
from serve.engines.fake import running
from tests.support.command_line import Ended, loraloop
from tests.support.environment import clear_settings

KEY = "llk_a1b2c3_secret"


class Remote:
    """A control elsewhere that accepts one key, and a person's own folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch, self.status, self.keys = folder, monkeypatch, 200, list[str]()
        self.reloads: list[str] = []
        self.app, self.url = FastAPI(), ""
        self.app.get("/api/models")(self.models)
        self.file = folder / "config" / "loraloop" / "contexts.yaml"

    def models(self, authorization: str = Header("")) -> list[str]:
        self.keys.append(authorization.removeprefix("Bearer "))
        if self.keys[-1] != KEY:
            raise HTTPException(401)
        if self.status != 200:
            raise HTTPException(self.status)
        return []

    def reload(self, authorization: str = Header("")) -> dict[str, object]:
        self.reloads.append(authorization.removeprefix("Bearer "))
        return {"process": "control" if len(self.reloads) in (1, 4) else "gateway", "applied": [], "restart": []}

    def run(self, *words: str, stdin: str = "") -> Ended:
        done = loraloop(*words, cwd=self.folder, stdin=stdin)
        self.set_up()
        assert "secret" not in done.stdout + done.stderr, "a key was printed"
        return done

    def set_up(self, **variables: str) -> None:
        clear_settings(self.monkeypatch)
        for name, value in {"XDG_CONFIG_HOME": str(self.folder / "config"), **variables}.items():
            self.monkeypatch.setenv(name, value)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    made = Remote(tmp_path, monkeypatch)
    made.set_up()
    with running(made.app) as made.url:
        yield made


def log_in(remote: Remote, *words: str, **variables: str) -> Ended:
    remote.set_up(LORALOOP_KEY=KEY, **variables)
    return remote.run("login", "--url", remote.url, *words)


def test_after_a_login_commands_need_neither_a_file_nor_a_variable(remote: Remote) -> None:
    assert log_in(remote, "--context", "prod").returncode == 0
    assert stat.S_IMODE(remote.file.stat().st_mode) == 0o600
    done = remote.run("models", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == []
    assert f"Control at {remote.url}, by the context prod" in done.stderr
    listed = json.loads(remote.run("contexts", "--json").stdout)
    assert listed == [{"name": "prod", "url": remote.url, "key": "llk_a1b2c3_…", "current": True}]


def test_a_key_that_control_refuses_is_not_stored(remote: Remote) -> None:
    remote.set_up(LORALOOP_KEY="llk_x_secret2")
    done = remote.run("login", "--url", remote.url)
    assert done.returncode != 0 and "refuses the key. Nothing was stored." in done.stderr
    assert not remote.file.exists()


def test_another_server_is_no_control(remote: Remote) -> None:
    remote.status = 404
    done = log_in(remote)
    assert done.returncode != 0 and "is not LoraLoop's control" in done.stderr and not remote.file.exists()


def test_a_key_without_the_right_to_read_is_stored_with_a_warning(remote: Remote) -> None:
    remote.status = 403
    done = log_in(remote)
    assert done.returncode == 0 and "warning: the key is valid" in done.stderr and remote.file.exists()


def test_without_a_terminal_a_key_is_needed_and_is_read_from_stdin(remote: Remote) -> None:
    done = remote.run("login", "--url", remote.url)
    assert done.returncode != 0 and "--key-stdin" in done.stderr


def test_logout_deletes_the_key_and_login_needs_no_url_then(remote: Remote) -> None:
    log_in(remote, "--context", "prod")
    done = remote.run("logout")
    assert "loraloop keys revoke a1b2c3" in done.stderr and "secret" not in remote.file.read_text()
    refused = remote.run("models")
    assert refused.returncode != 0 and "loraloop login --context prod" in refused.stderr
    remote.set_up(LORALOOP_KEY=KEY)
    assert remote.run("login").returncode == 0 and remote.run("models").returncode == 0


def test_contexts_are_chosen_and_deleted(remote: Remote) -> None:
    log_in(remote, "--context", "one")
    log_in(remote, "--context", "two")
    assert remote.run("contexts", "use", "one").returncode == 0
    assert "by the context one" in remote.run("models").stderr
    assert "by the context two" in remote.run("models", "--context", "two").stderr
    assert remote.run("contexts", "delete", "one").returncode == 0
    unknown = remote.run("models", "--context", "one")
    assert unknown.returncode != 0 and "There is no context 'one'. There are: two." in unknown.stderr
    assert "No control is named" in remote.run("models").stderr


def test_a_context_never_gets_the_key_of_the_environment(remote: Remote) -> None:
    log_in(remote, "--context", "prod")
    remote.set_up(LORALOOP_KEY="llk_other_secret")
    assert remote.run("models", "--context", "prod").returncode == 0 and remote.keys[-1] == KEY
    remote.set_up(LORALOOP_KEY="llk_other_secret")
    assert remote.run("models", "--url", remote.url).returncode != 0 and remote.keys[-1] == "llk_other_secret"


def test_what_is_named_first_wins(remote: Remote) -> None:
    log_in(remote, "--context", "prod")
    closed = "http://127.0.0.1:9"
    (remote.folder / "loraloop.yaml").write_text(
        "models: {reviews: {labels: [a, b]}}\ncontrol: {listen: 127.0.0.1:9}\n"
    )
    beside = remote.run("models")
    assert f"Control at {closed}" in beside.stderr and "needs: --context prod" in beside.stderr
    remote.set_up(LORALOOP_CONTEXT="prod")
    assert remote.run("models").returncode == 0
    remote.set_up(LORALOOP_CONTEXT="prod")
    assert closed in remote.run("models", "--url", closed).stderr
    for variables, words, said in (
        ({"LORALOOP_CONTEXT": "prod", "LORALOOP_URL": closed}, (), "Unset one of them"),
        ({"LORALOOP_CONTEXT": "prod"}, ("--config", "./loraloop.yaml.2"), "Leave one of them out"),
        ({}, ("--url", closed, "--context", "prod"), "Leave one of them out"),
    ):
        remote.set_up(**variables)
        done = remote.run("models", *words)
        assert done.returncode != 0 and said in done.stderr


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "contexts.yaml"
    contexts.write(file, Contexts({"a": Context("http://a", KEY)}, "a"))
    assert contexts.read(file) == Contexts({"a": Context("http://a", KEY)}, "a")
    assert "secret" not in repr(contexts.read(file))
    file.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        contexts.read(file)


@pytest.mark.parametrize("text", [f"contexts: {{a: {KEY}", f"contexts: {{a: {KEY}}}", "[]", "contexts: {a: {uri: x}}"])
def test_a_file_that_cannot_be_read_shows_no_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "contexts.yaml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(SettingsError) as refused:
        contexts.read(file)
    assert "secret" not in str(refused.value) and refused.value.__cause__ is None


def test_top_and_reload_speak_to_the_control_of_a_context_with_its_key(remote: Remote) -> None:
    remote.app.get("/api/runs")(remote.models)
    remote.app.get("/ready")(lambda: {"engines": []})
    remote.app.get("/metrics")(lambda: Response('loraloop_feedback_total{type="thumbs"} 5\n'))
    remote.app.post("/api/reload")(remote.reload)
    log_in(remote, "--context", "prod")
    shown = remote.run("top", "--json", "--context", "prod")
    assert shown.returncode == 0 and json.loads(shown.stdout)["feedback"] == {}
    assert "No gateway is named: --gateway URL" in shown.stderr
    shown = remote.run("top", "--json", "--gateway", remote.url)
    assert json.loads(shown.stdout)["feedback"]["thumbs"]["count"] == 5
    assert len(remote.keys) > 4 and set(remote.keys) == {KEY}
    done = remote.run("reload", "--gateway", f"{remote.url}/", "--gateway", remote.url)
    assert done.returncode == 0 and "control at " in done.stderr and f"gateway at {remote.url}: " in done.stderr
    assert [row["process"] for row in json.loads(remote.run("reload", "--json").stdout)] == ["control"]
    assert remote.reloads == [KEY] * 4


def test_top_names_the_login_of_a_key_that_control_refuses(remote: Remote) -> None:
    log_in(remote, "--context", "prod")
    remote.status = 401
    shown = remote.run("top", "--once")
    assert shown.returncode == 1 and "Do: loraloop login --context prod" in shown.stderr
    away = remote.run("top", "--once", "--url", "http://127.0.0.1:9")
    assert "control at http://127.0.0.1:9 does not answer" in away.stderr and "loraloop up" not in away.stderr


def test_a_key_comes_from_stdin(remote: Remote) -> None:
    done = remote.run("login", "--url", remote.url, "--key-stdin", stdin=f"{KEY}\n")
    assert done.returncode == 0 and remote.keys[-1] == KEY
