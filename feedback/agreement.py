"""Weigh voters by how far they agree with others on the same items. Arrays in, arrays out.

An item is what several voters judge: an answer, or texts that are near-duplicates. Labels are compared by
expectation-maximisation as in Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM
Algorithm" (1979), with the voters of MACE (Hovy, Berg-Kirkpatrick, Vaswani and Hovy, "Learning Whom to Trust with
MACE", 2013): a voter either says the true label, or one by habit. Thumbs are compared with the majority of the others.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Votes that a voter needs before agreement counts as much as the weight of 1 that everybody begins with.
PRIOR_VOTES = 2.0
# What EM adds to each voter's counts of true labels and of labels by habit, and to each label by habit.
PRIOR_TRUE, PRIOR_HABIT, PRIOR_LABEL = 0.5, 0.5, 0.1
ITERATIONS = 50
TOLERANCE = 1e-4

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VoteArrays:
    """Votes: `voter`, `item` and `value` are (n,) and count from 0.

    The last vote of a voter on an item counts. `voters`, `items` and `values` are how many there are of each.
    """

    voter: Integers
    item: Integers
    value: Integers
    voters: int
    items: int
    values: int


@dataclass(frozen=True, slots=True)
class Weights:
    """One entry per voter, each (voters,).

    `compared` is the number of votes on items that others judged too, `competence` the estimated share of them that
    were given by knowledge (1 without any), and `weight` the competence shrunk towards 1, in [0, 1].
    """

    weight: Floats
    competence: Floats
    compared: Integers


def voter_weights(votes: VoteArrays) -> Weights:
    """Weights from labels. Agreement by chance does not count: a random voter has a competence near 0."""
    last = _compared(votes)
    return _shrunk(_competence(last), last)


def agreement_weights(votes: VoteArrays) -> Weights:
    """Weights from thumbs or pairs, with two values: the share of votes that the majority of the others agrees with.

    The share s counts as 2s - 1, so that chance is 0. An item on which the others are divided equally does not count.
    """
    last = _compared(votes)
    score = np.where(last.value == 0, -1.0, 1.0)
    others = np.bincount(last.item, score, last.items)[last.item] - score
    decided = others != 0
    last = VoteArrays(
        last.voter[decided], last.item[decided], last.value[decided], last.voters, last.items, last.values
    )
    agreed = np.bincount(last.voter, (score * others)[decided] > 0, last.voters)
    given = np.bincount(last.voter, minlength=last.voters)
    share = np.divide(agreed, given, out=np.ones(last.voters), where=given > 0)
    return _shrunk(np.clip(2 * share - 1, 0.0, 1.0), last)


def _shrunk(competence: Floats, votes: VoteArrays) -> Weights:
    """Weight = (n * competence + 2) / (n + 2), where n is the number of votes that were compared."""
    compared = np.bincount(votes.voter, minlength=votes.voters)
    known = np.where(compared > 0, competence, 1.0)
    weight = (compared * known + PRIOR_VOTES) / (compared + PRIOR_VOTES)
    return Weights(np.clip(weight, 0.0, 1.0), known, compared)


def _compared(votes: VoteArrays) -> VoteArrays:
    """The last vote of each voter on each item that two or more voters judged."""
    place = votes.item * votes.voters + votes.voter
    _, reversed_first = np.unique(place[::-1], return_index=True)
    last = len(place) - 1 - reversed_first
    voter, item, value = votes.voter[last], votes.item[last], votes.value[last]
    shared = np.bincount(item, minlength=votes.items)[item] > 1
    return VoteArrays(voter[shared], item[shared], value[shared], votes.voters, votes.items, votes.values)


def _competence(votes: VoteArrays) -> Floats:
    """The competence of each voter by EM.

    With competence c and habit h, a voter says the label v of an item with the true label t with the probability
    c [v = t] + (1 - c) h[v]. Labels that nobody gave an item need no cell: their odds are the same for each of them.
    """
    voter, value = votes.voter, votes.value
    cell_of, cell = np.unique(votes.item * votes.values + value, return_inverse=True)
    item_of_cell, value_of_cell = np.divmod(cell_of, votes.values)
    said, said_by = np.unique(voter * votes.values + value, return_inverse=True)
    voter_of_said = said // votes.values
    given = np.bincount(voter, minlength=votes.voters)
    # Begin with the majority: the share of an item's votes that say a label.
    votes_of_item = np.bincount(votes.item, minlength=votes.items)
    true = (np.bincount(cell, minlength=len(cell_of)) / votes_of_item[item_of_cell])[cell]
    knew, competence = true, np.ones(votes.voters)
    for _ in range(ITERATIONS):
        before = competence
        known = np.bincount(voter, knew, votes.voters)
        competence = (known + PRIOR_TRUE) / (given + PRIOR_TRUE + PRIOR_HABIT)
        by_habit = np.bincount(said_by, 1.0 - knew, len(said)) + PRIOR_LABEL
        habit = (by_habit / (given - known + PRIOR_LABEL * votes.values)[voter_of_said])[said_by]
        share = _prior(true, value, votes.values)
        chance = (1.0 - competence[voter]) * habit
        odds = np.log(competence[voter] + chance) - np.log(chance)
        evidence: Floats = np.bincount(cell, odds, len(cell_of)).astype(np.float64)
        true = _posterior(evidence, item_of_cell, share[value_of_cell], votes.items)[cell]
        knew = true * competence[voter] / (competence[voter] + chance)
        if np.max(np.abs(competence - before), initial=0.0) < TOLERANCE:
            break
    return competence


def _prior(true: Floats, value: Integers, values: int) -> Floats:
    """The share of each label among the votes that are true."""
    counts = np.bincount(value, true, values) + 1.0
    return counts / counts.sum()


def _posterior(odds: Floats, item: Integers, share: Floats, items: int) -> Floats:
    """The probability that the label of a cell is the true one of its item. Labels without a cell keep their prior."""
    highest = np.zeros(items)
    np.maximum.at(highest, item, odds)
    weight = share * np.exp(odds - highest[item])
    unsaid = np.clip(1.0 - np.bincount(item, share, items), 0.0, 1.0) * np.exp(-highest)
    return weight / (np.bincount(item, weight, items) + unsaid)[item]
