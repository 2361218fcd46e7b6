"""Preferences: whether arms find the answers likelier that users liked better.

It owns two KPIs of held-out votes, preference accuracy and the ROC AUC of thumbs, and how many votes they want; how
likelihoods are asked for, and what a gate makes of the KPIs, is others' business.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from eval.arms import Arm
from eval.engine_queries import Progress, QueryRunner
from eval.gates.offline import LEAST_ITEMS, LEAST_USERS
from eval.kpis import classification
from eval.kpis.classification import Floats
from eval.kpis.evidence import Difference, Measure, SuiteEvidence, difference, suite, user_numbers
from eval.measure.likelihood import NOT_ALL, likelihoods
from feedback.heldout_votes import Preference, Thumb

ACCURACY = "preference_accuracy"
AUC = "thumbs_auc"
# As many as a holdout wants to be judged by.
LEAST_PAIRS = LEAST_ITEMS
# The newest so many are asked about, each pair twice an arm: more would cost much and tell little.
MOST_PAIRS = 500
MOST_THUMBS = 200


@dataclass(frozen=True, slots=True)
class Resampling:
    """How an interval over users is drawn, and the one-sided level of a difference."""

    level: float
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True)
class Preferred:
    """Preference accuracy by arm, and the candidate's differences from every other arm."""

    suite: SuiteEvidence
    differences: Mapping[str, Difference] = field(default_factory=dict)


def accuracy(
    asker: QueryRunner,
    base_name: str,
    arms: Sequence[Arm],
    found: Sequence[Preference],
    left_out: Mapping[str, int],
    how: Resampling,
    progress: Progress = lambda done, total: None,
) -> Preferred:
    """The share of pairs whose chosen answer is likelier a token than the rejected one, ties half.

    The mean over tokens takes lengths out, where the sum would prefer whatever is shorter: up to a factor, the reward
    of Meng, Xia and Chen, "SimPO: Simple Preference Optimization with a Reference-Free Reward", 2024.
    """
    found = found[-MOST_PAIRS:]
    users = {one.user for one in found}
    if len(found) < LEAST_PAIRS or len(users) < LEAST_USERS:
        return Preferred(SuiteEvidence(ACCURACY, 0, {}, missing=_too_few(len(found), len(users), left_out)))
    answered = [(one.prompt, answer) for one in found for answer in (one.chosen, one.rejected)]
    worth = {arm: wins(likely) for arm, likely in likelihoods(asker, base_name, arms, answered, progress).items()}
    numbers = user_numbers([one.user for one in found])
    evidence = suite(ACCURACY, worth, level=how.level, users=numbers, resamples=how.resamples, seed=how.seed)
    if evidence.missing:
        return Preferred(evidence)
    means = {arm: classification.mean_of(values) for arm, values in worth.items()}
    samples = classification.bootstrap(means, numbers, how.resamples, how.seed)
    ours, drawn = worth.pop("candidate"), len(users)
    return Preferred(
        evidence,
        {
            arm: difference(ours, theirs, samples["candidate"] - samples[arm], drawn, how.level)
            for arm, theirs in worth.items()
        },
    )


def wins(likely: Floats) -> Floats:
    """1, ½ or 0 for each pair from the likelihoods (2n,) of chosen and rejected answers in turn; NaN where one is."""
    chosen, rejected = likely[::2], likely[1::2]
    worth = np.where(chosen == rejected, 0.5, (chosen > rejected).astype(np.float64))
    return np.where(np.isnan(chosen) | np.isnan(rejected), np.nan, worth)


def _too_few(pairs: int, users: int, left_out: Mapping[str, int]) -> str:
    why = Counter(left_out)
    why.pop("another bucket", None)
    said = f"the holdout has {pairs} preferences of {users} users; it wants {LEAST_PAIRS} of {LEAST_USERS}"
    return f"{said} (left out: {', '.join(f'{n} {reason}' for reason, n in why.most_common())})" if why else said


def thumbs_auc(
    asker: QueryRunner,
    base_name: str,
    arms: Sequence[Arm],
    found: Sequence[Thumb],
    how: Resampling,
    progress: Progress = lambda done, total: None,
) -> SuiteEvidence:
    """The area under the ROC curve of thumbs by how likely a token each arm finds the answer.

    A diagnostic: the answers are those of whoever served then, and thumbs are what was trained with.
    """
    found = found[-MOST_THUMBS:]
    up = np.array([one.up for one in found], dtype=np.int64)
    if not 0 < up.sum() < len(up):
        said = f"all {len(up)} thumbs are {'up' if up.all() else 'down'}" if len(up) else "the holdout has no thumbs"
        return SuiteEvidence(AUC, 0, {}, missing=said)
    likely = likelihoods(asker, base_name, arms, [(one.prompt, one.answer) for one in found], progress)
    if not all(np.isfinite(values).all() for values in likely.values()):
        return SuiteEvidence(AUC, len(up), {}, missing=NOT_ALL)
    users = user_numbers([one.user for one in found])
    drawn = int(users.max()) + 1
    both = {arm: np.stack([-values, values], axis=1) for arm, values in likely.items()}
    areas = {arm: partial(classification.resampled, "roc_auc", up, values) for arm, values in both.items()}
    samples = classification.bootstrap(areas, users, how.resamples, how.seed)
    arms_found = {
        arm: Measure(classification.roc_auc(up, values), *classification.interval(samples[arm], drawn))
        for arm, values in both.items()
    }
    return SuiteEvidence(AUC, len(up), arms_found, users=drawn)
