"""Facts about the states of runs: the store and the rules agree on which of them end a run."""

from datetime import UTC, datetime

import pytest

from core.db import runs
from core.db.store import Store
from retrain.run_states import STATES, allowed_actions, is_working

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize("state", STATES)
def test_a_run_has_ended_in_the_store_exactly_where_its_state_says_so(state: str) -> None:
    store = Store(":memory:")
    runs.add(store, id="r", model="m", trigger="t", state="queued", started=NOW, feedback_until=NOW)
    runs.set_state(store, state=state, reason=None, time=NOW, id="r")
    row = runs.find(store, id="r")
    assert row and (row["finished"] is not None) is (STATES[state].kind == "ended")
    store.close()


def test_a_run_that_waits_is_not_worked_on_and_one_that_ended_allows_nothing() -> None:
    assert not is_working("canary") and is_working("queued")
    assert allowed_actions("paused") == ["resume", "cancel"]
    assert allowed_actions("finished") == allowed_actions("canary") == []
