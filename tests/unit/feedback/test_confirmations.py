"""Facts about confirmations: a thumbs-up on an answer that nobody labelled."""

import json
from collections import Counter
from typing import Any

import pytest

from core.settings import ModelSettings, SplitSettings
from feedback.snapshot import curate
from feedback.split import bucket_of


def thumbs(row: dict[str, Any], identity: str, up: bool) -> dict[str, Any]:
    return row | {"id": identity, "type": "thumbs", "value": "true" if up else "false"}


def spoken(user: str, answer: str, place: int) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": f"text {place}"}]}
    return {
        "id": f"f{place}",
        "type": "label",
        "value": '"good"',
        "answer": answer,
        "voter": "",
        "endpoint": "chat",
        "interaction_id": f"c{place}",
        "user_id": user,
        "conversation_id": None,
        "request": json.dumps(body),
    }


def in_bucket(wanted: str, split: SplitSettings) -> str:
    users = (f"user-{n}" for n in range(1000))
    return next(u for u in users if bucket_of(f"user:{u}", train=split.train, dev=split.dev).startswith(wanted))


CONFIRMING = ModelSettings.model_validate({"labels": ["bad", "good"]})


def test_a_thumbs_up_on_a_label_trains_like_it():
    vote = thumbs(spoken(in_bucket("train", CONFIRMING.split), " Good", 1), "t1", True)
    rows, _ = curate([vote], CONFIRMING)
    assert [(row.label, row.signal, row.feedback_id) for row in rows] == [("good", "confirmation", "t1")]


@pytest.mark.parametrize("bucket", ["dev", "h"])
def test_no_confirmation_judges(bucket: str):
    vote = thumbs(spoken(in_bucket(bucket, CONFIRMING.split), "good", 1), "t1", True)
    assert curate([vote], CONFIRMING)[0] == []


def test_a_label_takes_the_place_of_a_confirmation():
    labelled = spoken(in_bucket("train", CONFIRMING.split), "bad", 1)
    for votes in ([labelled, thumbs(labelled, "t1", True)], [thumbs(labelled, "t1", True), labelled]):
        rows, _ = curate(votes, CONFIRMING)
        assert [(row.label, row.signal) for row in rows] == [("good", "label")]


def test_a_later_thumbs_down_takes_a_confirmation_back():
    vote = spoken(in_bucket("train", CONFIRMING.split), "good", 1)
    assert curate([thumbs(vote, "t1", True), thumbs(vote, "t2", False)], CONFIRMING)[0] == []


@pytest.mark.parametrize("answer", ["The", "", None])
def test_a_thumbs_up_on_anything_else_is_no_row(answer: str | None):
    vote = spoken(in_bucket("train", CONFIRMING.split), "", 1) | {"answer": answer}
    assert curate([thumbs(vote, "t1", True)], CONFIRMING) == ([], Counter())


def test_confirmations_can_be_left_out():
    retrain = CONFIRMING.retrain.model_copy(update={"confirmations": False})
    settings = CONFIRMING.model_copy(update={"retrain": retrain})
    vote = thumbs(spoken(in_bucket("train", CONFIRMING.split), "good", 1), "t1", True)
    assert curate([vote], settings)[0] == []
