"""Facts about feedback on a conversation: it has the model that answered last, in any order."""

from datetime import timedelta

import pytest

from core.db import feedback
from core.db.store import Store
from core.records import Feedback
from feedback.ingest import ingest
from tests.support.ingest import NOW, asked, pieces, query


def test_feedback_on_a_conversation_counts_for_the_model_that_answered_last() -> None:
    store = Store(":memory:")
    first = asked("i1", conversation="c 1", version=1)
    last = asked("i2", conversation="c 1", version=2, time=NOW + timedelta(minutes=1))
    vote = Feedback("f", NOW + timedelta(minutes=2), None, "c 1", "thumbs", True)
    ingest(store, "g", 1, 0, pieces(last, first, vote))
    assert query(store, "SELECT model, version FROM feedback") == [("m", 2)]
    (counted,) = feedback.counts(store, model="m", key=None)
    assert (counted["type"], counted["n"]) == ("thumbs", 1)
    assert feedback.count_waiting(store) == 0
    store.close()


@pytest.mark.parametrize("is_same", [True, False])
def test_feedback_before_its_conversation_waits_and_is_counted(is_same: bool) -> None:
    store = Store(":memory:")
    ingest(store, "g", 1, 0, pieces(Feedback("f", NOW, None, "c", "thumbs", True)))
    assert feedback.count_waiting(store) == 1
    assert [(row["type"], row["n"]) for row in feedback.waiting_by_type(store)] == [("thumbs", 1)]
    ingest(store, "g", 2, 0, pieces(asked("i", conversation="c" if is_same else "other")))
    assert query(store, "SELECT model FROM feedback") == [("m" if is_same else None,)]
    assert feedback.count_waiting(store) == (0 if is_same else 1)
    store.close()
