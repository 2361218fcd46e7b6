"""Facts about votes on answers with several choices: only one that names its choice confirms anything."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core.db import feedback as feedback_table
from core.db.store import Store
from core.errors import InputError
from core.records import Feedback, Interaction
from core.settings import ModelSettings
from feedback.ingest import add
from feedback.schema import parse
from feedback.snapshot import curate_store
from tests.support.curation import user_in
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
MODEL = ModelSettings.model_validate({"labels": ["bad", "good"]})
UNKNOWN = "a thumbs-up that does not name which of several choices it is about"
TEXTS = ("bad", "good")
CHOICES = [{"index": n, "message": {"content": text}, "finish_reason": "stop"} for n, text in enumerate(TEXTS)]
COMPLETION = [{"index": n, "text": text, "finish_reason": "stop"} for n, text in enumerate(TEXTS)]


def asked(choices: Any) -> Interaction:
    request = {"messages": [{"role": "user", "content": "so so"}]}
    return interaction("i1", time=NOW, user=user_in("train"), request=request, answer="bad", choices=choices)


@pytest.mark.parametrize(
    ("choices", "choice", "labels", "reasons"),
    [
        (CHOICES, 1, ["good"], {}),
        (CHOICES, 0, ["bad"], {}),
        (COMPLETION, 1, ["good"], {}),
        (CHOICES, None, [], {UNKNOWN: 1}),
        (CHOICES, 2, [], {UNKNOWN: 1}),
        (None, 1, [], {UNKNOWN: 1}),
        (None, 0, ["bad"], {}),
        (None, None, ["bad"], {}),
        (CHOICES[:1], None, ["bad"], {}),
    ],
)
def test_a_thumbs_up_confirms_the_choice_that_it_names(
    choices: Any, choice: int | None, labels: list[str], reasons: dict[str, int]
) -> None:
    store = Store(":memory:")
    add(store, [asked(choices), Feedback("f1", NOW, "i1", None, "thumbs", True, choice=choice)])
    found = curate_store(store, "m", MODEL)
    assert (found.rows["label"].to_pylist(), found.reasons()) == (labels, reasons)
    (vote,) = feedback_table.on_interaction(store, id="i1")
    assert vote["choice"] == choice
    store.close()


def test_a_choice_that_was_cut_off_confirms_nothing() -> None:
    store = Store(":memory:")
    cut = [CHOICES[0], CHOICES[1] | {"finish_reason": "content_filter"}]
    add(store, [asked(cut), Feedback("f1", NOW, "i1", None, "thumbs", True, choice=1)])
    assert curate_store(store, "m", MODEL).reasons() == {"a thumbs-up on an answer that failed or was cut off": 1}
    store.close()


def test_the_last_choice_that_was_named_under_an_id_counts() -> None:
    store = Store(":memory:")
    votes = [Feedback("f1", NOW.replace(minute=n), "i1", None, "thumbs", True, choice=n) for n in (0, 1)]
    add(store, [asked(CHOICES), *votes])
    add(store, votes[:1])
    assert curate_store(store, "m", MODEL).rows["label"].to_pylist() == ["good"]
    store.close()


def test_feedback_takes_the_index_of_a_choice() -> None:
    body = {"interaction_id": "i1", "type": "thumbs", "value": True, "choice": 1}
    (found,) = parse(body, lambda: NOW)
    assert found.choice == 1
    for wrong in (-1, True, "1", 1024):
        with pytest.raises(InputError, match="choice"):
            parse(body | {"choice": wrong}, lambda: NOW)
    about = {"conversation_id": "c", "type": "thumbs", "value": True, "choice": 1}
    with pytest.raises(InputError, match="names a choice of an interaction"):
        parse(about, lambda: NOW)
