"""Control with its console behind a log-in, and a clock that tests move."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.db import decisions
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import Settings, build
from ops.apps import control
from rollout.change_writer import DecisionContext
from serve.engines.fake import FakeEngines

SECRET_PAGES = ("/overview", "/promotions", "/models/reviews", "/feedback", "/feedback/queue", "/runs", "/system")
EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"


class Moving:
    """A clock that tests move on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class KeyedConsole:
    """Control's real app with keys, a browser before it, and a way to log in."""

    def __init__(self, data: Path, settings: Settings | None = None) -> None:
        self.clock = Moving()
        settings = settings or build({"data": str(data), "models": {"reviews": {"labels": ["good", "bad"]}}})
        app = control.create_app(settings=settings, base=ModelFolder("tiny", data), clock=self.clock)
        self.control: Any = app.state.control
        self.control.promotion.engines = FakeEngines()
        self.control.promotion.sync_models(list(settings.models))
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
