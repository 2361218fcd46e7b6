"""The log-in by a provider in Chromium: cookies, redirects from another site, and the policy of the pages are its own.

The provider is on `localhost` and the console on `127.0.0.1`, which are two sites for a browser.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.model_folder import ModelFolder
from core.settings import build
from ops.apps import control
from serve.engines.fake import running
from tests.browser.test_pages import faults
from tests.support.oidc import SECRET, settings_of
from tests.support.oidc_mock import mock_provider
from tools.live_stack import free_ports

pytestmark = pytest.mark.browser


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a console whose people log in at a provider of another site."""
    monkeypatch.setenv("LORALOOP_OIDC_CLIENT_SECRET", SECRET)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with mock_provider(tmp_path, "localhost") as issuer:
        plain = settings_of(issuer, tmp_path / "data") | {"control": {"public_url": url}}
        app = control.create_app(settings=build(plain), base=ModelFolder("tiny", tmp_path))
        app.state.control.promotion.sync_models(["reviews", "tweets"])
        with running(app, port, lifespan="off"):
            yield url
        app.state.control.store.close()


@pytest.fixture
def page(chromium: Any, console: str) -> Iterator[Any]:
    context = chromium.new_context(base_url=console)
    made = context.new_page()
    made.violations = []
    made.on("console", lambda said: made.violations.append(said.text) if "Security Policy" in said.text else None)
    yield made
    context.close()
    assert made.violations == []


def test_a_person_logs_in_at_another_site_and_lands_on_the_requested_page(page: Any, console: str) -> None:
    assert page.goto("/runs").status == 401
    assert faults(page) == []
    page.get_by_role("link", name="Log in with localhost").click()
    page.wait_for_url("http://localhost:*/oauth2/authorize*")
    page.get_by_role("button", name="ada-1").click()
    page.wait_for_url(f"{console}/runs")
    assert page.get_by_text("ada@example.com").is_visible()
    assert page.evaluate("document.cookie") == ""
    assert page.goto("/overview").status == 200

    page.get_by_role("button", name="Log out").click()
    assert page.get_by_role("heading", name="Logged out").is_visible()
    assert faults(page) == []
    page.get_by_role("link", name="Log out at localhost").click()
    page.wait_for_url("http://localhost:*/oauth2/end_session*")
    assert page.goto(f"{console}/runs").status == 401


def test_a_person_without_a_mapped_group_reads_why(page: Any) -> None:
    page.goto("/login")
    page.get_by_role("link", name="Log in with localhost").click()
    page.get_by_role("button", name="bob-2").click()
    page.wait_for_url("**/login/oidc/callback*")
    assert page.get_by_role("heading", name="No access").is_visible()
    assert "cooks" in page.inner_text("main") and "login.oidc.roles" in page.inner_text("main")
    assert faults(page) == []


def test_after_a_log_in_by_the_provider_an_act_is_confirmed_by_its_own_form(page: Any, console: str) -> None:
    page.goto("/login?onward=/models/reviews/retrain")
    page.get_by_role("link", name="Log in with localhost").click()
    page.get_by_role("button", name="ada-1").click()
    page.wait_for_url(f"{console}/models/reviews/retrain")
    assert "The ledger will say that ada@example.com (person ada-1) did it." in page.inner_text("main")
