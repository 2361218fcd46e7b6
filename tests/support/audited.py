"""Control's real app with the rows of its audit log, and a disk that is full."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from core.api_keys import Scope
from core.audit_log import append
from core.db import audit_log as table
from core.db.audit_log import Filter
from tests.support.authorization import INTERNAL_KEY, Control

SECRET = "a text that nobody may find in the log"


class Audited(Control):
    """Control's real app, with the rows of its audit log."""

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        """Rows, oldest first, with those that waited."""
        self.control.audit.flush(all_of_them=True)
        return table.page(self.control.store, Filter(**wanted), limit=1000)[::-1]

    def name(self, scope: Scope) -> str:
        """The actor of the key of a scope."""
        key = self.keys.by_scope[scope]
        return f"{scope} (key {key.split('_')[1]})"


@contextmanager
def audited(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audited]:
    """Control, whose background tasks do not run."""
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", INTERNAL_KEY)
    made = Audited(data)
    made.control.promotion.sync_models(["reviews"])
    with start_blocking_portal() as made.client.portal:
        yield made
    made.control.store.close()


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have no row of the audit log written from now on, until what is returned is called."""
    monkeypatch.setattr("ops.audit.recorder.append", _full)
    monkeypatch.setattr("ops.audit.recorder.FLUSH_SECONDS", 0.0)
    return lambda: monkeypatch.setattr("ops.audit.recorder.append", append)
