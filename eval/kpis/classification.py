"""KPIs of classification, as pure functions over arrays.

Shapes: n items, k labels, b resamples. truth is (n,) int64 label numbers. probabilities is (n, k) float64, and rows sum
to 1. weights is (b, n) float64: how often each item's user was drawn.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points

import numpy as np

from core.errors import SettingsError
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import mean_of


def accuracy(truth: Ints, probabilities: Floats) -> float:
    """Share of items whose most probable label is the truth."""
    from sklearn import metrics  # here and below: a process that only serves does not need it

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
    """Area under the ROC curve of each label against the rest, averaged over the labels that it is defined for."""
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
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[bin_of == b].mean() - correct[bin_of == b].mean()) * (bin_of == b).mean()
        for b in range(bins)
        if (bin_of == b).any()
    ]
    return float(np.sum(gaps))


def f1_by_class(confusion: Sequence[Sequence[int]]) -> list[float]:
    """F1 of each label, (k,), from counts of truth by answer (k, k). NaN for a label without truth and answers."""
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
def plugin_kpis() -> dict[str, Callable[[Ints, Floats], float]]:
    """Load the KPIs of classification that installed packages define: functions, as entry points of `loraloop.kpis`.

    LoraLoop records and shows them with its own KPIs. Raises SettingsError for a name that LoraLoop uses, because gates
    rely on its meaning.
    """
    plugins = {}
    for point in entry_points(group="loraloop.kpis"):
        if point.name in POINT:
            raise SettingsError(
                f"The package {point.value} defines a KPI named {point.name}, which is a KPI of LoraLoop.",
                hint="Give it another name, or remove the package.",
            )
        plugins[point.name] = point.load()
    return plugins


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
    """Weighted Mann-Whitney statistic by label, ties half, averaged over the labels that it is defined for."""
    areas = []
    for label in range(probabilities.shape[1]):
        scores, score_index = np.unique(probabilities[:, label], return_inverse=True)
        positive = weights * (truth == label)
        negative = weights - positive
        pos, neg = (np.zeros((len(weights), len(scores))) for _ in range(2))
        for target, source in ((pos, positive), (neg, negative)):
            np.add.at(target.T, score_index, source.T)
        below = np.cumsum(neg, 1) - neg
        pairs = pos.sum(1) * neg.sum(1)
        won = (pos * (below + neg / 2)).sum(1)
        areas.append(np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0))
    stacked = np.stack(areas)
    defined = np.isfinite(stacked).sum(0)
    summed = np.nansum(stacked, 0)
    return np.divide(summed, defined, out=np.full_like(summed, np.nan), where=defined > 0)
