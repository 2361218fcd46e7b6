"""Facts about whose votes a rollback holds."""

import pytest

from core.db.quarantines import Predicate, VoterAgainst
from feedback.indictment import indicted


def voter(user: str | None = "eve", key: str | None = "shop", **more: float) -> VoterAgainst:
    plain = {"peak": 0, "typical": 1.0, "compared": 0, "contradicted": 0}
    return VoterAgainst(key, user, **(plain | more))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("one", "held"),
    [
        (voter(peak=10), True),
        (voter(peak=9), False),
        (voter(peak=10, typical=2.0), False),  # five times the median is what a busy voter may give
        (voter(peak=11, typical=2.0), True),
        (voter(compared=6, contradicted=5), True),
        (voter(compared=4, contradicted=4), False),
        (voter(compared=7, contradicted=5), False),  # others agree with the voter too often
        (voter(None, compared=19, contradicted=19), False),
        (voter(None, compared=20, contradicted=20), True),
        (voter(None, peak=100), False),  # one key may carry the votes of a whole app
    ],
)
def test_a_burst_or_votes_that_others_contradict_are_held_and_nothing_else(one: VoterAgainst, held: bool):
    found = indicted("m", [one])
    assert found.predicates == ((Predicate("shop", one.user),) if held else ())


def test_each_reason_has_its_numbers():
    found = indicted("m", [voter(peak=40), voter("mal", None, compared=10, contradicted=9), voter(None, "old", peak=3)])
    assert found.reason == (
        "Held are the votes of eve (key shop): 40 votes against it in ten minutes, where half of the voters gave 1; "
        "mal: others approve of 9 of the 10 answers that they both judged."
    )


def test_where_nobody_is_indicted_the_reason_names_the_command():
    found = indicted("reviews", [])
    assert found.predicates == () and found.reason.endswith(
        "loraloop quarantine hold --model reviews --user USER, or --key KEY."
    )


def test_a_user_of_an_indicted_key_is_held_with_the_key_and_long_lists_are_cut():
    both = indicted("m", [voter(None, compared=20, contradicted=20), voter(peak=50), voter("x", "other", peak=50)])
    assert both.predicates == (Predicate("shop"), Predicate("other", "x"))
    many = indicted("m", [voter(f"u{n}", peak=50) for n in range(9)])
    assert len(many.predicates) == 9 and many.reason.endswith("; and 6 more.")
