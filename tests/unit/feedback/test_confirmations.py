"""Facts about confirmations: a thumbs-up on an answer that nobody labelled."""

import pytest

from core.settings import ModelSettings
from tests.support.curation import curated, kept, thumb, user_in, vote

MODEL = ModelSettings.model_validate({"labels": ["bad", "good"]})


def test_a_thumbs_up_on_a_label_trains_like_it():
    (row,) = curated([thumb(1, answer=" Good")], MODEL).rows.to_pylist()
    assert (row["label"], row["signal"], row["feedback_id"]) == ("good", "confirmation", "f0001")


@pytest.mark.parametrize("bucket", ["dev", "h"])
def test_no_confirmation_judges(bucket: str):
    votes = [thumb(1, asker=user_in(bucket))]
    assert kept(votes, MODEL) == ([], {"a thumbs-up outside the train bucket": 1})


def test_a_label_takes_the_place_of_a_confirmation():
    votes = [thumb(1), vote(2, said="bad", interaction_id="i1", voter=user_in("train", 3))]
    assert kept(votes, MODEL) == ([("f0002", "bad")], {"the answer has a label": 1})


def test_a_later_thumbs_down_takes_a_confirmation_back():
    votes = [thumb(1), thumb(2, up=False, interaction_id="i1", asker=user_in("train", 1))]
    assert kept(votes, MODEL) == ([], {"a thumbs-down": 1, "replaced by the voter's later thumbs": 1})


@pytest.mark.parametrize("answer", ["The", "", None])
def test_a_thumbs_up_on_anything_else_is_no_row(answer: str | None):
    assert kept([thumb(1, answer=answer)], MODEL) == ([], {"a thumbs-up on an answer that is not a label": 1})


def test_confirmations_can_be_left_out():
    settings = MODEL.model_copy(update={"retrain": MODEL.retrain.model_copy(update={"confirmations": False})})
    assert kept([thumb(1)], settings) == ([], {"a thumbs-up, and retrain.confirmations is off": 1})
