"""Facts about weights in curation: a voter who disagrees with others makes no row, and the rest keep their weight."""

from typing import Any

import pyarrow as pa

from core.settings import ModelSettings
from feedback.curation import VOTES
from feedback.weights import weights_of_thumbs
from tests.support.curation import curated, kept, thumb, user_in, vote

MODEL = ModelSettings(labels=["good", "bad"])
TEXTS = 12
HONEST = 6
REASON = "the voter disagrees with others"


def trusting(**trust: Any) -> ModelSettings:
    return MODEL.model_copy(update={"trust": MODEL.trust.model_copy(update=trust)})


def panel(liar: bool = True, **of_liar: Any) -> list[dict[str, Any]]:
    """Six honest voters who label the same twelve texts, and the last one, who says the other label each time."""
    votes = []
    for voter in range(HONEST + 1):
        for text in range(TEXTS):
            lies = liar and voter == HONEST
            said = ("good", "bad")[(text % 2) ^ lies]
            changes = {"asker": user_in("train", voter)} | (of_liar if voter == HONEST else {})
            votes.append(vote(len(votes), f"text {text}", said, **changes))
    return votes


def users(votes: list[dict[str, Any]], settings: ModelSettings) -> dict[str, float]:
    return {row["user"]: row["weight"] for row in curated(votes, settings).rows.to_pylist()}


def test_a_voter_who_flips_every_label_makes_no_row() -> None:
    assert kept(panel(), MODEL)[1] == {REASON: TEXTS}
    weights = users(panel(), MODEL)
    assert f"user:{user_in('train', HONEST)}" not in weights
    assert min(weights.values()) > 0.8


def test_voters_who_agree_all_make_rows() -> None:
    assert kept(panel(liar=False), MODEL)[1] == {}


def test_weights_can_be_turned_off_and_the_limit_set() -> None:
    assert kept(panel(), trusting(weights=False))[1] == {}
    assert set(users(panel(), trusting(weights=False)).values()) == {1.0}
    assert kept(panel(), trusting(min_weight=0.0))[1] == {}
    assert kept(panel(liar=False), trusting(min_weight=1.0))[1] == {REASON: TEXTS * (HONEST + 1)}


def test_a_reviewers_rows_stay_whatever_others_say() -> None:
    assert REASON not in kept(panel(voter="reviewer:k1"), MODEL)[1]


def test_the_same_user_of_another_key_is_another_voter() -> None:
    honest = vote(500, "own text", asker=user_in("train", HONEST), key_id="other")
    assert ("f0500", "good") in kept([*panel(), honest], MODEL)[0]


def test_a_voter_whom_nobody_can_be_compared_with_keeps_the_weight_1() -> None:
    assert users([vote(1, "alone")], MODEL) == {f"user:{user_in('train', 1)}": 1.0}


def test_a_correction_counts_voters_who_agree_with_others_only() -> None:
    thumbs = [
        thumb(n * 10 + voter, up=voter < 4, interaction_id=f"shared{n}", asker=None, voter=user_in("train", voter))
        for n in range(10)
        for voter in range(5)
    ]
    same = {"type": "correction", "said": "Better so."}
    by_liar = vote(900, "q", asker=user_in("train", 4), **same)
    by_honest = vote(901, "q", asker=user_in("train", 0), **same)
    generate = ModelSettings(task="generate")
    found, left_out = kept([*thumbs, by_liar, by_honest], generate)
    assert [said for said, _ in found] == ["f0901"]
    assert left_out[REASON] == 1
    two = generate.model_copy(update={"trust": generate.trust.model_copy(update={"correction_voters": 2})})
    assert kept([*thumbs, by_liar, by_honest], two)[0] == []


def test_thumbs_taken_back_or_in_quarantine_weigh_nobody() -> None:
    def weights(**changes: Any) -> dict[str, float]:
        votes = [thumb(v, up=v > 0, interaction_id="i", asker=None, voter=f"v{v}", **changes) for v in range(3)]
        rows = [{name: one[name] for name in VOTES.names} for one in votes]
        rows = [row | {"time": row["time"].replace(tzinfo=None), "arrived": None} for row in rows]
        found = weights_of_thumbs(pa.Table.from_pylist(rows, VOTES))
        return dict(zip(found["name"].to_pylist(), found["weight"].to_pylist(), strict=True))

    assert weights()["\nv0"] == 0.67
    assert weights(revoked=True) == weights(quarantined=True) == {}
