"""How far reviewers agree who label the same answers. Data in, data out.

Agreement beyond chance is Cohen's kappa for two reviewers and Krippendorff's alpha for nominal data for all of them
("Computing Krippendorff's Alpha-Reliability", 2011). Intervals are 95%, over answers: Wilson's for shares, and by the
delta method for the other two, which for kappa is the error of Fleiss, Cohen and Everitt (1969).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.kpis.intervals import wilson
from feedback.reviewer_agreement import LabelledAnswer, settle

Z95 = 1.959964
# The normal interval of kappa and alpha is too narrow for fewer answers.
LEAST_FOR_INTERVAL = 20
# Reviewers with most labels that are compared in pairs.
MOST_COMPARED = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over `n` answers. `value` is None if it is undefined, the interval if there are too few answers."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def report(answers: Mapping[str, LabelledAnswer], labels: Sequence[str], reviewers: int) -> dict[str, Any]:
    """Counts per reviewer, agreement of all and of each pair, and how many answers are in which state."""
    shared = {name: answer for name, answer in answers.items() if len(answer.labels) > 1}
    given = Counter(user for answer in answers.values() for user in answer.labels)
    compared = Counter(user for answer in shared.values() for user in answer.labels)
    most = sorted(compared, key=lambda user: (-compared[user], user))[:MOST_COMPARED]
    states = Counter(settle(answer, reviewers).how for answer in answers.values())
    agreed = sum(len(set(answer.labels.values())) == 1 for answer in shared.values())
    return {
        "labelled": len(answers),
        "shared": len(shared),
        "states": {how: states[how] for how in ("agreed", "majority", "adjudicated", "open", "newest") if states[how]},
        "by_reviewer": [
            {"reviewer": user, "labels": n, "shared": compared[user]}
            for user, n in sorted(given.items(), key=lambda item: (-item[1], item[0]))
        ],
        "agreement": asdict(share_of(agreed, len(shared))),
        "alpha": asdict(alpha(_counts(shared.values(), labels))),
        "pairs": [_pair(shared.values(), pair, labels) for pair in combinations(most, 2)],
    }


def _pair(answers: Iterable[LabelledAnswer], pair: tuple[str, str], labels: Sequence[str]) -> dict[str, Any]:
    """Agreement of two reviewers on the answers that both labelled."""
    place = {label: n for n, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for answer in answers:
        if all(user in answer.labels for user in pair):
            table[place[answer.labels[pair[0]]], place[answer.labels[pair[1]]]] += 1
    agreement = share_of(int(np.trace(table)), int(table.sum()))
    return {"first": pair[0], "second": pair[1], "agreement": asdict(agreement), "kappa": asdict(kappa(table))}


def _counts(answers: Iterable[LabelledAnswer], labels: Sequence[str]) -> Floats:
    rows = [[list(answer.labels.values()).count(label) for label in labels] for answer in answers]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(labels))


def share_of(agreed: int, n: int) -> Estimate:
    """The share of answers on which reviewers agree, with Wilson's interval."""
    if n == 0:
        return Estimate(None, None, None, 0)
    return Estimate(agreed / n, *wilson(agreed, n), n)


def kappa(table: Floats) -> Estimate:
    """Cohen's kappa of a table (labels, labels) of two reviewers. Undefined if both only say one label."""
    n = table.sum()
    if n == 0:
        return Estimate(None, None, None, 0)
    shares = table / n
    first, second = shares.sum(axis=1), shares.sum(axis=0)
    by_chance = float(first @ second)
    if by_chance >= 1:
        return Estimate(None, None, None, int(n))
    value = (float(np.trace(shares)) - by_chance) / (1 - by_chance)
    # The derivative of kappa by the share of each cell.
    slope = (np.eye(len(table)) - (1 - value) * (second[:, None] + first[None, :])) / (1 - by_chance)
    variance = float((shares * slope**2).sum() - (shares * slope).sum() ** 2) / n
    return _with_interval(value, variance, int(n))


def alpha(counts: Floats) -> Estimate:
    """Krippendorff's alpha for nominal data of counts (answers, labels), each answer with two labels or more."""
    given = counts.sum(axis=1)
    n, totals = float(given.sum()), counts.sum(axis=0)
    expected = n**2 - float(totals @ totals)
    if expected <= 0:
        return Estimate(None, None, None, len(counts))
    apart = given - (counts * (counts - 1)).sum(axis=1) / (given - 1)
    observed = float(apart.sum())
    value = 1 - (n - 1) * observed / expected
    # The derivative of alpha by the weight of each answer.
    of_expected = 2 * (n * given - counts @ totals)
    slope = -(given * observed + (n - 1) * apart - (n - 1) * observed / expected * of_expected) / expected
    return _with_interval(value, float(((slope - slope.mean()) ** 2).sum()), len(counts))


def _with_interval(value: float, variance: float, n: int) -> Estimate:
    # Reviewers who agree on every answer give no error that could be estimated.
    if n < LEAST_FOR_INTERVAL or variance <= 1e-12:
        return Estimate(value, None, None, n)
    half = Z95 * math.sqrt(variance)
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), n)
