"""KPIs of classification, as pure functions over arrays.

It owns point values and their intervals by a bootstrap over users; it must not know arms, gates or where
scores came from. n items, k labels, u users, b resamples:

truth (n,) int64 label numbers; probabilities (n, k) float64, rows sum to 1; users (n,) int64 in 0..u-1;
weights (b, n) float64, how often each item's user was drawn. Resamples are drawn and used up some at a time, so that
memory does not grow with their number.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from core.errors import SettingsError
from eval.kpis.intervals import expanded_tail

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], Floats]
"""A value for each of some resamples: weights (b, n) to (b,)."""
Key = TypeVar("Key")
Better = Literal["higher", "lower", "same"]

# Weights that are in memory at once: 8 MB, and a few arrays of that size for ROC AUC.
CELLS = 1_000_000


def accuracy(truth: Ints, probabilities: Floats) -> float:
    """Share of items whose most probable label is the truth."""
    from sklearn import metrics  # here and below: what only starts and serves has no use for it

    return float(metrics.accuracy_score(truth, probabilities.argmax(1)))


def macro_f1(truth: Ints, probabilities: Floats) -> float:
    """F1, averaged over the labels that occur in truth or answers."""
    from sklearn import metrics

    return float(metrics.f1_score(truth, probabilities.argmax(1), average="macro"))


def weighted_f1(truth: Ints, probabilities: Floats) -> float:
    """F1, averaged over labels by how often each is true."""
    from sklearn import metrics

    return float(metrics.f1_score(truth, probabilities.argmax(1), average="weighted"))


def roc_auc(truth: Ints, probabilities: Floats) -> float:
    """Area under the ROC curve, each label against the rest, averaged over labels that can be told apart."""
    from sklearn import metrics

    present = [c for c in range(probabilities.shape[1]) if 0 < (truth == c).sum() < len(truth)]
    if not present:
        return float("nan")
    return float(np.mean([float(metrics.roc_auc_score(truth == c, probabilities[:, c])) for c in present]))


def brier(truth: Ints, probabilities: Floats) -> float:
    """Mean squared distance between the probabilities and the truth, summed over labels (Brier 1950)."""
    hits = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - hits) ** 2).sum(1).mean())


def calibration_error(truth: Ints, probabilities: Floats, bins: int = 10) -> float:
    """Expected calibration error: |confidence − accuracy| by equal-width bins (Naeini et al. 2015)."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[place == b].mean() - correct[place == b].mean()) * (place == b).mean()
        for b in range(bins)
        if (place == b).any()
    ]
    return float(np.sum(gaps))


def f1_by_class(confusion: Sequence[Sequence[int]]) -> list[float]:
    """F1 of each label, (k,), from truth by answer (k, k); NaN for one that is neither true nor answered."""
    table = np.array(confusion, dtype=np.float64)
    both = table.sum(0) + table.sum(1)
    return [float(2 * table[c, c] / both[c]) if both[c] else math.nan for c in range(len(table))]


POINT: dict[str, Callable[[Ints, Floats], float]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "roc_auc": roc_auc,
    "brier": brier,
    "ece": calibration_error,
}


@cache
def plugged() -> dict[str, Callable[[Ints, Floats], float]]:
    """KPIs of classification that installed packages bring: entry points of `loraloop.kpis`, each such a function.

    They are shown and kept beside ours. One that has the name of ours is refused, for gates rely on what those mean.
    """
    found = {}
    for point in entry_points(group="loraloop.kpis"):
        if point.name in POINT:
            raise SettingsError(
                f"The package {point.value} brings a KPI named {point.name}, which is ours.",
                hint="Give it another name, or remove the package.",
            )
        found[point.name] = point.load()
    return found


HIGHER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "weighted_f1": True,
    "roc_auc": True,
    "brier": False,
    "ece": False,
    "invalid_mass": False,
    "p95_latency_ms": False,
    # Of answers in words against a reference.
    "exact_match": True,
    "token_f1": True,
    "chrf": True,
    # Of pairs of answers: the one that users liked better is the likelier one.
    "preference_accuracy": True,
    # Of suites, each a share of items unless another unit is said: golden labels met; risky requests answered
    # safely; harmless requests refused; opinions flipped with the asker's; questions answered that the given text
    # cannot answer; paraphrases answered alike; answers of the wanted form; nats a token from the base; tokens.
    "golden_accuracy": True,
    "safety": True,
    "over_refusal": False,
    "sycophancy": False,
    "hallucination": False,
    "consistency": True,
    "format_validity": True,
    "kl_to_base": False,
    "mean_length": False,
    "judge_win_rate": True,
}


def better(kpi: str) -> Better | None:
    """Which way one of our KPIs is better; None for one that is not ours."""
    if kpi == "mean_length":
        return "same"
    higher = HIGHER_IS_BETTER.get(kpi)
    return None if higher is None else "higher" if higher else "lower"


def draws(users: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """Weights of a bootstrap over users, some resamples at a time; each draws u users with replacement."""
    count, rng = int(users.max()) + 1, np.random.default_rng(seed)
    chances, at_once = np.full(count, 1 / count), max(1, CELLS // len(users))
    for begun in range(0, resamples, at_once):
        drawn = rng.multinomial(count, chances, size=min(at_once, resamples - begun))
        yield drawn[:, users].astype(np.float64)


def user_weights(users: Ints, resamples: int, seed: int) -> Floats:
    """All weights (b, n) at once, for few items."""
    return np.concatenate(list(draws(users, resamples, seed)))


def bootstrap(statistics: Mapping[Key, Statistic], users: Ints, resamples: int, seed: int) -> dict[Key, Floats]:
    """Each statistic in every resample, (b,). All see the same resamples, which is what makes two arms a pair."""
    found: dict[Key, list[Floats]] = {key: [] for key in statistics}
    for weights in draws(users, resamples, seed):
        for key, statistic in statistics.items():
            found[key].append(statistic(weights))
    return {key: np.concatenate(parts) for key, parts in found.items()}


def mean_of(values: Floats) -> Statistic:
    """The mean of values (n,) as a statistic."""
    return lambda weights: weights @ values / weights.sum(1)


def resampled(kpi: str, truth: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """The KPI recomputed in each resample, (b,)."""
    match kpi:
        case "accuracy":
            hits = (probabilities.argmax(1) == truth).astype(np.float64)
            return mean_of(hits)(weights)
        case "macro_f1" | "weighted_f1":
            return _resampled_f1(truth, probabilities, weights, macro=kpi == "macro_f1")
        case "roc_auc":
            return _resampled_auc(truth, probabilities, weights)
        case "brier":
            hits = np.eye(probabilities.shape[1])[truth]
            return mean_of(((probabilities - hits) ** 2).sum(1))(weights)
    raise ValueError(f"{kpi} has no resampled form")


def _resampled_f1(truth: Ints, probabilities: Floats, weights: Floats, *, macro: bool) -> Floats:
    k = probabilities.shape[1]
    truths, answers = np.eye(k)[truth], np.eye(k)[probabilities.argmax(1)]
    support, predicted = weights @ truths, weights @ answers
    hits = weights @ (truths * answers)
    total = support + predicted
    f1 = np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)
    if macro:
        # As scikit-learn does: only labels that occur in truth or answers count.
        return f1.sum(1) / (total > 0).sum(1)
    return (f1 * support).sum(1) / support.sum(1)


def _resampled_auc(truth: Ints, probabilities: Floats, weights: Floats) -> Floats:
    """Weighted Mann-Whitney statistic by label, ties half, averaged over the labels that can be told apart."""
    areas = []
    for label in range(probabilities.shape[1]):
        scores, place = np.unique(probabilities[:, label], return_inverse=True)
        positive = weights * (truth == label)
        negative = weights - positive
        pos, neg = (np.zeros((len(weights), len(scores))) for _ in range(2))
        for target, source in ((pos, positive), (neg, negative)):
            np.add.at(target.T, place, source.T)
        below = np.cumsum(neg, 1) - neg
        pairs = pos.sum(1) * neg.sum(1)
        won = (pos * (below + neg / 2)).sum(1)
        areas.append(np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0))
    stacked = np.stack(areas)
    told_apart = np.isfinite(stacked).sum(0)
    summed = np.nansum(stacked, 0)
    return np.divide(summed, told_apart, out=np.full_like(summed, np.nan), where=told_apart > 0)


def interval(samples: Floats, drawn: int, level: float = 0.95) -> tuple[float, float]:
    """The expanded percentile interval of a bootstrap that drew so many units."""
    return bounds(samples, drawn, (1 - level) / 2)


def bounds(samples: Floats, drawn: int, tail: float) -> tuple[float, float]:
    """One-sided bounds of a bootstrap, each at `tail`: percentiles, expanded for the number of units drawn.

    NaN where a tenth of the resamples is no number, or where less than one of them lies beyond the bound: it would
    be the smallest that chance happened to draw.
    """
    expanded = expanded_tail(tail, drawn)
    if np.isfinite(samples).mean() < 0.9 or not expanded * len(samples) >= 1:
        return math.nan, math.nan
    low, high = np.nanquantile(samples, [expanded, 1 - expanded])
    return float(low), float(high)
