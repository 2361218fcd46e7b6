"""Facts about the weights of voters: who agrees with others weighs more, and nobody is judged by few votes."""

import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.agreement import VoteArrays, Weights, agreement_weights, voter_weights

LABELS = 3


def panel(seed: int, *, accuracies: list[float], votes: int = 30, items: int = 120, labels: int = LABELS) -> VoteArrays:
    """Voters who say the true label with their accuracy, and a random one otherwise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, items)
    voter = np.repeat(np.arange(len(accuracies)), votes)
    item = np.concatenate([rng.choice(items, votes, replace=False) for _ in accuracies])
    true = rng.random(len(voter)) < np.array(accuracies)[voter]
    value = np.where(true, truth[item], rng.integers(0, labels, len(voter)))
    return VoteArrays(voter, item, value, len(accuracies), items, labels)


def changed(votes: VoteArrays, **columns: np.ndarray) -> VoteArrays:
    own = {"voter": votes.voter, "item": votes.item, "value": votes.value} | columns
    return VoteArrays(**own, voters=votes.voters, items=votes.items, values=votes.values)


@pytest.mark.parametrize("weigh", [voter_weights, agreement_weights])
@given(seed=st.integers(0, 1000))
def test_renaming_voters_and_items_renames_the_weights(weigh: object, seed: int) -> None:
    labels = LABELS if weigh is voter_weights else 2
    votes = panel(seed, accuracies=[0.9, 0.8, 0.7, 0.2, 0.0], votes=12, items=20, labels=labels)
    rng = np.random.default_rng(seed)
    voters, items, order = rng.permutation(5), rng.permutation(20), rng.permutation(len(votes.voter))
    renamed = changed(votes, voter=voters[votes.voter][order], item=items[votes.item][order], value=votes.value[order])
    one, other = weigh(votes), weigh(renamed)  # type: ignore[operator]
    np.testing.assert_allclose(other.weight[voters], one.weight, atol=1e-9)
    np.testing.assert_array_equal(other.compared[voters], one.compared)


@given(seed=st.integers(0, 1000))
def test_a_random_voter_weighs_less_than_every_honest_one(seed: int) -> None:
    found = voter_weights(panel(seed, accuracies=[0.8] * 20 + [0.0]))
    assert found.weight[20] < found.weight[:20].min()


def test_a_voter_who_flips_every_label_weighs_next_to_nothing() -> None:
    votes = panel(3, accuracies=[0.9] * 20)
    flipped = changed(votes, value=np.where(votes.voter == 0, (votes.value + 1) % LABELS, votes.value))
    assert voter_weights(flipped).weight[0] < 0.15
    assert voter_weights(votes).weight[0] > 0.6


def test_a_voter_who_always_says_one_label_weighs_little() -> None:
    votes = panel(4, accuracies=[0.9] * 20)
    lazy = changed(votes, value=np.where(votes.voter == 0, 0, votes.value))
    found = voter_weights(lazy).weight
    assert found[0] < 0.35 < found[1:].min()


def test_a_random_thumb_weighs_less_than_an_honest_one() -> None:
    found = agreement_weights(panel(5, accuracies=[0.8] * 20 + [0.0], labels=2, votes=60))
    assert found.weight[20] < found.weight[:20].min()


@pytest.mark.parametrize("weigh", [voter_weights, agreement_weights])
def test_a_voter_whom_nobody_can_be_compared_with_has_the_weight_1(weigh: object) -> None:
    alone = VoteArrays(np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([0, 1, 1]), 3, 3, 2)
    found: Weights = weigh(alone)  # type: ignore[operator]
    assert found.weight.tolist() == [1, 1, 1]
    assert found.compared.tolist() == [0, 0, 0]


def test_an_answer_on_which_the_others_are_divided_says_nothing_about_a_thumb() -> None:
    divided = VoteArrays(np.array([0, 1, 2]), np.array([0, 0, 0]), np.array([0, 1, 1]), 3, 1, 2)
    found = agreement_weights(divided)
    assert found.compared.tolist() == [1, 0, 0]
    assert found.weight.tolist() == [pytest.approx(2 / 3), 1, 1]


def test_one_contradiction_costs_a_third_of_the_weight_and_ten_cost_more() -> None:
    def contradicted(times: int) -> float:
        item = np.tile(np.arange(times), 4)
        voter = np.repeat(np.arange(4), times)
        return float(agreement_weights(VoteArrays(voter, item, (voter == 0).astype(int), 4, times, 2)).weight[0])

    assert contradicted(1) == pytest.approx(2 / 3)
    assert contradicted(10) == pytest.approx(2 / 12)


def test_the_last_vote_of_a_voter_on_an_item_counts() -> None:
    votes = panel(6, accuracies=[0.9] * 6)
    twice = VoteArrays(
        np.concatenate([votes.voter, votes.voter]),
        np.concatenate([votes.item, votes.item]),
        np.concatenate([(votes.value + 1) % LABELS, votes.value]),
        votes.voters,
        votes.items,
        votes.values,
    )
    np.testing.assert_allclose(voter_weights(twice).weight, voter_weights(votes).weight, atol=1e-9)


def test_no_votes_give_every_voter_the_weight_1() -> None:
    none = np.array([], np.int64)
    assert voter_weights(VoteArrays(none, none, none, 2, 0, 3)).weight.tolist() == [1, 1]


def test_a_million_votes_of_100000_voters_take_less_than_15_cpu_seconds() -> None:
    rng = np.random.default_rng(0)
    n, voters, items, labels = 1_000_000, 100_000, 300_000, 64
    votes = VoteArrays(
        rng.integers(0, voters, n), rng.integers(0, items, n), rng.integers(0, labels, n), voters, items, labels
    )
    before = resource.getrusage(resource.RUSAGE_SELF)
    weights = voter_weights(votes).weight
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15
    assert weights.shape == (voters,)
    assert weights.min() >= 0
    assert weights.max() <= 1
