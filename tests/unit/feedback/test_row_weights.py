"""Facts about the weights of train rows: right and wrong answers count as often as thumbs say."""

from datetime import timedelta
from typing import Any

import pytest

from core.settings import ModelSettings
from feedback.row_weights import LEAST_VOTERS, MOST, choose_weights
from tests.support.curation import NOW, curated, thumb, user_in, vote

MODEL = ModelSettings(labels=["good", "Bad"])


def without(**retrain: Any) -> ModelSettings:
    return MODEL.model_copy(update={"retrain": MODEL.retrain.model_copy(update=retrain)})


def test_rows_of_wrong_answers_get_the_share_of_thumbs_down() -> None:
    found = choose_weights(900, 400, 0.5, 100)
    assert (found.right, found.wrong) == (0.7, 1.6)
    shares = [found.right * 900, found.wrong * 400]
    assert shares[0] / sum(shares) == pytest.approx(0.5, abs=0.02)
    assert found.reason == "50% of the thumbs are up, 69% of the rows are of right answers."


def test_rows_of_wrong_answers_that_are_too_many_weigh_less() -> None:
    found = choose_weights(100, 300, 0.75, 100)
    assert found.wrong < 1 < found.right and found.right / found.wrong > MOST * 0.8


def test_equal_shares_change_nothing() -> None:
    found = choose_weights(530, 470, 0.53, 100)
    assert (found.right, found.wrong) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("right", "wrong", "approval"), [(1000, 1, 0.01), (1, 1000, 0.99), (1, 1, 0.999), (316, 84, 0.95)]
)
def test_few_rows_never_weigh_more_than_five_times_as_much(right: int, wrong: int, approval: float) -> None:
    found = choose_weights(right, wrong, approval, 100)
    assert min(found.right, found.wrong) > 0
    assert max(found.right, found.wrong) / min(found.right, found.wrong) <= MOST


@pytest.mark.parametrize(
    ("right", "wrong", "approval", "voters", "reason"),
    [
        (9, 9, 0.5, LEAST_VOTERS - 1, "Thumbs of 19 users, 20 are needed."),
        (9, 9, None, 0, "Thumbs of 0 users, 20 are needed."),
        (0, 9, 0.5, 30, "All rows are of right answers, or all of wrong ones."),
        (9, 9, 1.0, 30, "All thumbs are up, or all are down."),
    ],
)
def test_without_what_it_needs_all_rows_weigh_the_same(
    right: int, wrong: int, approval: float | None, voters: int, reason: str
) -> None:
    found = choose_weights(right, wrong, approval, voters)
    assert (found.right, found.wrong, found.reason) == (1.0, 1.0, reason)


def votes_of(count: int = 40) -> list[dict[str, Any]]:
    """Half of the answers are right. Each has a thumb, and half of the wrong ones a label."""
    found = []
    for n in range(count):
        found.append(_thumb(n, n % 2 == 0))
        if n % 4 == 1:
            found.append(vote(n, said="Bad", id=f"l{n:04d}", answer=" GOOD"))
    return found


def _thumb(number: int, up: bool) -> dict[str, Any]:
    return thumb(number, up) | {"id": f"t{number:04d}", "answer": "good"}


def test_curation_weighs_rows_by_the_answer_that_was_served() -> None:
    rows = curated(votes_of(), MODEL)
    weights = {(row["signal"], row["weight"]) for row in rows.rows.to_pylist()}
    assert weights == {("confirmation", 0.8), ("label", 1.6)}
    assert rows.weights is not None
    assert (rows.weights.rows_right, rows.weights.rows_wrong, rows.weights.voters) == (20, 10, 40)
    assert rows.weights.approval == 0.5


def test_labels_of_right_answers_count_as_right() -> None:
    votes = votes_of()
    votes += [vote(n, said="good", id=f"l{n:04d}", answer="Good") for n in range(0, 40, 4)]
    found = curated(votes, MODEL).weights
    assert found and (found.rows_right, found.rows_wrong) == (20, 10)


def test_an_answer_that_is_no_label_or_is_not_kept_is_neither() -> None:
    votes = [_thumb(n, n % 2 == 0) for n in range(40)]
    votes += [vote(n, id=f"l{n:04d}", said="Bad", answer=answer) for n, answer in ((1, None), (3, "something"))]
    found = curated(votes, MODEL)
    assert found.weights and found.weights.rows_wrong == 0
    assert {row["weight"] for row in found.rows.to_pylist()} == {1.0}


def test_thumbs_in_quarantine_and_of_holdouts_say_nothing() -> None:
    held = [_thumb(n, False) | {"quarantined": True, "id": f"q{n}"} for n in range(100, 130)]
    judging = [_thumb(n, False) | {"asker": user_in("h1", n), "id": f"h{n}"} for n in range(200, 230)]
    found = curated([*votes_of(), *held, *judging], MODEL).weights
    assert found and (found.approval, found.voters) == (0.5, 40)


def test_a_voter_with_many_thumbs_counts_as_the_limit() -> None:
    noisy = [_thumb(n, False) | {"asker": user_in("train", 39), "id": f"n{n}"} for n in range(500, 700)]
    model = MODEL.model_copy(update={"trust": MODEL.trust.model_copy(update={"rows_per_voter": 1})})
    found = curated([*votes_of(), *noisy], model).weights
    assert found and found.voters == 40 and found.approval == pytest.approx(0.5, abs=0.01)


def test_a_voter_has_one_thumb_on_an_answer_the_last_one() -> None:
    noisy = [_thumb(38, False) | {"id": f"n{n:03}", "time": NOW + timedelta(hours=1, seconds=n)} for n in range(100)]
    found = curated([*votes_of(), *noisy], MODEL).weights
    # One voter who changed from up to down.
    assert found and (found.approval, found.voters) == (19 / 40, 40)


def test_a_thumb_that_was_taken_back_ends_the_voters_word() -> None:
    back = _thumb(38, False) | {"id": "back", "time": NOW + timedelta(hours=1), "revoked": True}
    found = curated([*votes_of(), back], MODEL).weights
    assert found and (found.approval, found.voters) == (19 / 39, 39)


def test_the_setting_switches_it_off() -> None:
    found = curated(votes_of(), without(weigh_by_thumbs=False))
    assert found.weights is None and {row["weight"] for row in found.rows.to_pylist()} == {1.0}
