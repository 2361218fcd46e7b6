"""The log-in against a provider that others wrote: oidc-provider-mock, in a process of its own."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from core.clock import utc_now
from tests.support.oidc import SECRET, OidcConsole
from tests.support.oidc_mock import mock_provider


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mock_provider(tmp_path_factory.mktemp("mock")) as url:
        yield url


@pytest.fixture
def console(issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OidcConsole]:
    monkeypatch.setenv("LORALOOP_OIDC_CLIENT_SECRET", SECRET)  # any is right for this provider, and none is not
    monkeypatch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
    made = OidcConsole(tmp_path, issuer)
    made.clock.now = utc_now()  # the provider's clock is the machine's
    with start_blocking_portal() as made.browser.portal:
        yield made
    made.control.store.close()


def consent(console: OidcConsole, url: str, **form: str) -> str:
    """Sends the provider's form, and returns the path that it redirects to."""
    assert httpx.get(url, trust_env=False).status_code == 200
    answer = httpx.post(url, data=form, trust_env=False)
    assert answer.status_code in (302, 303), answer.text
    return answer.headers["location"].removeprefix(console.control.settings.console_url)


def test_a_person_logs_in_acts_and_logs_out(console: OidcConsole, issuer: str) -> None:
    console.promote(1)
    answer = console.browser.get(consent(console, console.start("/runs"), sub="ada-1"))
    assert answer.status_code == 303 and answer.headers["location"] == "/runs", answer.text
    assert "ada@example.com" in console.browser.get("/runs").text
    assert console.form("/models/reviews/rollback", comment="a drill").status_code == 303
    assert ("rolled_back", "ada@example.com (person ada-1)") in console.verdicts()
    token = re.search(r'name="token" value="(\w+)"', console.browser.get("/runs").text)
    assert token
    left = console.browser.post("/logout", data={"token": token[1]})
    link = re.search(r'href="([^"]*end_session[^"]*)"', left.text)
    assert link and httpx.get(link[1].replace("&amp;", "&"), trust_env=False).status_code == 200
    assert console.browser.get("/runs").status_code == 401


def test_a_person_without_a_mapped_group_does_not_get_in(console: OidcConsole) -> None:
    answer = console.browser.get(consent(console, console.start(), sub="bob-2"))
    assert answer.status_code == 403 and "cooks" in answer.text and console.count() == 0


def test_a_person_who_declines_at_the_provider_is_not_logged_in(console: OidcConsole) -> None:
    answer = console.browser.get(consent(console, console.start(), action="deny"))
    assert answer.status_code == 401 and console.count() == 0


def test_a_token_that_is_too_old_lets_nobody_in(console: OidcConsole) -> None:
    console.clock.now += timedelta(hours=2)
    assert "has expired" in console.browser.get(consent(console, console.start(), sub="ada-1")).text
