"""The environment of a test: no settings of the machine's, and the test's own logging."""

import logging
import os
from collections.abc import Iterator

import pytest


def clear_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove every variable that LoraLoop reads."""
    for name in [name for name in os.environ if name.startswith("LORALOOP_")]:
        monkeypatch.delenv(name)


def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a fixture: without settings, and the logging is left as it was."""
    clear_settings(monkeypatch)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
