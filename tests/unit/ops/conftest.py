"""Fixtures of the tests of what people operate."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from tests.support.console_security import KeyedConsole


@pytest.fixture
def console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyedConsole]:
    """Control with its console behind a log-in."""
    monkeypatch.setattr("rollout.promotion.SETTLE_SECONDS", 0.0)
    made = KeyedConsole(tmp_path)
    # One event loop for all requests, as TestClient has it when it is entered; that would start the scheduler.
    with start_blocking_portal() as made.browser.portal:
        yield made
    made.control.store.close()
