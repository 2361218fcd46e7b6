"""Preferences: whether arms find the answers better that users preferred."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext
from eval.gates.offline import LEAST_ITEMS, LEAST_USERS
from eval.kpis import classification
from eval.kpis.arrays import Floats
from eval.kpis.bootstrap import BootstrapPlan, interval, mean_of, resample, user_numbers
from eval.kpis.comparison import compare_outcomes, difference
from eval.kpis.evidence import Difference, Measure, SuiteEvidence
from eval.measure.likelihood import NOT_ALL, implicit_rewards, likelihoods
from feedback.heldout_votes import Thumb
from feedback.pairs import Pair

MARGIN = "preference_margin"
ACCURACY = "preference_accuracy"
AUC = "thumbs_auc"
# The minimum of a holdout.
LEAST_PAIRS = LEAST_ITEMS
# Maximum numbers of the newest pairs and thumbs. Each pair costs two queries per arm, and two of the base model.
MOST_PAIRS = 500
MOST_THUMBS = 200


@dataclass(frozen=True, slots=True)
class PreferenceResult:
    """A KPI of preferences by arm, and the candidate's difference from every other arm.

    `outcomes` holds each arm's 1, ½ or 0 for each of the `pairs`, (n,).
    """

    suite: SuiteEvidence
    differences: Mapping[str, Difference] = field(default_factory=dict)
    pairs: Sequence[Pair] = ()
    outcomes: Mapping[str, Floats] = field(default_factory=dict)


def compare_preferences(
    engine: EngineContext,
    arms: Sequence[Arm],
    pairs: Sequence[Pair],
    left_out: Mapping[str, int],
    plan: BootstrapPlan,
) -> dict[str, PreferenceResult]:
    """The KPIs of held-out preferences: shares of pairs in which an arm agrees with the user. A tie counts half.

    `preference_margin` compares what each answer gains on the base model, summed over its tokens: what DPO and KTO
    train. The base model itself gains nothing, so it has one half. `preference_accuracy` compares the likelihood per
    token. The mean over tokens removes the effect of length, because a sum would prefer the shorter answer. Up to a
    factor it is the reward of Meng, Xia and Chen, "SimPO: Simple Preference Optimization with a Reference-Free
    Reward", 2024.
    """
    pairs = pairs[-MOST_PAIRS:]
    user_count = len({pair.user for pair in pairs})
    if len(pairs) < LEAST_PAIRS or user_count < LEAST_USERS:
        missing = _too_few(len(pairs), user_count, left_out)
        return {kpi: PreferenceResult(SuiteEvidence(kpi, 0, {}, missing=missing)) for kpi in (MARGIN, ACCURACY)}
    answered = [(pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected)]
    rewards, likely = implicit_rewards(engine, arms, answered)
    return {kpi: _compared(kpi, found, pairs, plan) for kpi, found in ((MARGIN, rewards), (ACCURACY, likely))}


def _compared(kpi: str, values: Mapping[str, Floats], pairs: Sequence[Pair], plan: BootstrapPlan) -> PreferenceResult:
    """A KPI from values (2n,) of chosen and rejected answers in turn, by arm, with intervals over users."""
    outcomes = {arm: wins(found) for arm, found in values.items()}
    users = user_numbers([pair.user for pair in pairs])
    evidence = compare_outcomes(kpi, outcomes, plan, users=users)
    if evidence.missing:
        return PreferenceResult(evidence)
    samples = resample({arm: mean_of(found) for arm, found in outcomes.items()}, users, plan)
    ours, level, units = outcomes["candidate"], plan.level_of(kpi), int(users.max()) + 1
    return PreferenceResult(
        evidence,
        {
            arm: difference(ours, theirs, samples["candidate"] - samples[arm], units, level)
            for arm, theirs in outcomes.items()
            if arm != "candidate"
        },
        pairs,
        outcomes,
    )


def wins(likely: Floats) -> Floats:
    """1, ½ or 0 per pair, from the values (2n,) of chosen and rejected answers in turn. NaN if one is NaN."""
    chosen, rejected = likely[::2], likely[1::2]
    outcomes = np.where(chosen == rejected, 0.5, (chosen > rejected).astype(np.float64))
    return np.where(np.isnan(chosen) | np.isnan(rejected), np.nan, outcomes)


def _too_few(pairs: int, users: int, left_out: Mapping[str, int]) -> str:
    reasons = Counter(left_out)
    reasons.pop("another bucket", None)
    counts = (
        f"the holdout has {pairs} preferences from {users} users; "
        f"it needs {LEAST_PAIRS} preferences from {LEAST_USERS} users"
    )
    return f"{counts} (left out: {', '.join(f'{n} {why}' for why, n in reasons.most_common())})" if reasons else counts


def thumbs_auc(
    engine: EngineContext, arms: Sequence[Arm], thumbs: Sequence[Thumb], plan: BootstrapPlan
) -> SuiteEvidence:
    """The area under the ROC curve of thumbs, with each arm's likelihood per token of the answer as the score.

    This is a diagnostic: the answers are those of the version that served then, and training used thumbs too.
    """
    thumbs = thumbs[-MOST_THUMBS:]
    up = np.array([thumb.up for thumb in thumbs], dtype=np.int64)
    if not 0 < up.sum() < len(up):
        why = f"all {len(up)} thumbs are {'up' if up.all() else 'down'}" if len(up) else "the holdout has no thumbs"
        return SuiteEvidence(AUC, 0, {}, missing=why)
    likely = likelihoods(engine, arms, [(thumb.prompt, thumb.answer) for thumb in thumbs])
    if not all(np.isfinite(values).all() for values in likely.values()):
        return SuiteEvidence(AUC, len(up), {}, missing=NOT_ALL)
    users = user_numbers([thumb.user for thumb in thumbs])
    units = int(users.max()) + 1
    scores = {arm: np.stack([-values, values], axis=1) for arm, values in likely.items()}
    areas = {arm: partial(classification.resampled, "roc_auc", up, values) for arm, values in scores.items()}
    samples = resample(areas, users, plan)
    measures = {
        arm: Measure(classification.roc_auc(up, values), *interval(samples[arm], units))
        for arm, values in scores.items()
    }
    return SuiteEvidence(AUC, len(up), measures, users=units)
