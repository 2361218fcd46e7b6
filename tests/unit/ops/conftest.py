"""Fixtures of the tests of what people operate."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from serve.engines.fake import running
from tests.support.console_security import KeyedConsole
from tests.support.oidc import SECRET, FakeProvider, OidcConsole


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyedConsole]:
    """Control with its console behind a log-in."""
    monkeypatch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
    made = KeyedConsole(tmp_path)
    # One event loop for all requests, as TestClient has it when it is entered; that would start the scheduler.
    with start_blocking_portal() as made.browser.portal:
        yield made
    made.control.store.close()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """An OpenID Connect provider on a port."""
    made = FakeProvider()
    with running(made.app) as url:
        made.url = url
        yield made


@pytest.fixture
def oidc(tmp_path: Path, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[OidcConsole]:
    """Control with its console, where people log in by the provider."""
    monkeypatch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
    monkeypatch.setenv("LORALOOP_OIDC_CLIENT_SECRET", SECRET)
    made = OidcConsole(tmp_path, provider.url)
    provider.now = made.clock().timestamp()
    with start_blocking_portal() as made.browser.portal:
        yield made
    made.control.store.close()
