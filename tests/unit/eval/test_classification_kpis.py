"""Facts about KPIs: the resampled forms agree with scikit-learn on the very resample."""

import math
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SettingsError
from eval.gates.offline import LAST_USE, LEAST_USERS, spent_level
from eval.kpis import bootstrap, classification
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, bounds, mean_of, resample, user_weights
from eval.kpis.comparison import compare_labels
from eval.kpis.evidence import ArmScores
from eval.ledger_evidence import plain_evidence

ITEMS, LABELS = 40, 3


def scores(seed: int, n: int = ITEMS) -> tuple[Ints, Floats, Ints]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, LABELS, n)
    # Few distinct values, so that ties occur.
    raw = rng.integers(1, 6, (n, LABELS)).astype(float)
    users = np.unique(rng.integers(0, 9, n), return_inverse=True)[1].astype(np.int64)
    return truth, raw / raw.sum(1, keepdims=True), users


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["accuracy", "macro_f1", "weighted_f1", "brier"]))
def test_a_resample_scores_as_the_repeated_items_would(seed: int, kpi: str):
    truth, probabilities, users = scores(seed)
    weights = user_weights(users, 5, seed)
    found = classification.resampled(kpi, truth, probabilities, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        again = np.repeat(np.arange(ITEMS), row)
        assert value == pytest.approx(classification.POINT[kpi](truth[again], probabilities[again]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_the_resampled_roc_auc_is_scikit_learns_with_ties_half(seed: int):
    truth, probabilities, users = scores(seed)
    weights = user_weights(users, 5, seed)
    found = classification.resampled("roc_auc", truth, probabilities, weights)
    for row, value in zip(weights.astype(int), found, strict=True):
        again = np.repeat(np.arange(ITEMS), row)
        assert value == pytest.approx(classification.roc_auc(truth[again], probabilities[again]), nan_ok=True)


def test_items_of_one_user_are_always_drawn_together():
    _, _, users = scores(1)
    weights = user_weights(users, 50, 3)
    for user in range(users.max() + 1):
        own = weights[:, users == user]
        assert (own == own[:, :1]).all()


def test_resamples_are_the_same_however_many_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch):
    truth, probabilities, users = scores(4)
    auc = {"roc_auc": partial(classification.resampled, "roc_auc", truth, probabilities)}
    whole = resample(auc, users, BootstrapPlan(0.05, 50, 3))["roc_auc"]
    monkeypatch.setattr(bootstrap, "CELLS", 7 * ITEMS)
    assert [len(part) for part in bootstrap.draw_weights(users, 50, 3)] == [7] * 7 + [1]
    assert np.array_equal(resample(auc, users, BootstrapPlan(0.05, 50, 3))["roc_auc"], whole)


def test_a_large_holdout_does_not_need_memory_for_all_resamples():
    users = np.arange(10_000)
    tracemalloc.start()
    resample({"mean": mean_of(np.ones(len(users)))}, users, BootstrapPlan(0.05, 1000, 0))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * 5 * bootstrap.CELLS


def test_bounds_are_those_of_hesterberg_and_cover_where_percentiles_do_not():
    """Means of ten normal values, as in his table: percentile bounds miss too often, expanded ones as they should."""
    rng = np.random.default_rng(8)
    values = rng.normal(size=(2000, 10))
    weights = user_weights(np.arange(10), 2000, 0)
    missed, plain = 0, 0
    for sample in values:
        means = mean_of(sample)(weights)
        missed += bounds(means, 10, 0.05)[0] > 0
        plain += float(np.quantile(means, 0.05)) > 0
    error = 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert plain / 2000 > 0.05 + error
    assert missed / 2000 <= 0.05 + error


def test_a_tail_that_no_resample_reaches_has_no_bound():
    samples = np.random.default_rng(0).normal(size=10_000)
    last = spent_level(0.05, LAST_USE)
    assert np.isfinite(bounds(samples, LEAST_USERS, last)).all()
    assert np.isnan(bounds(samples, LEAST_USERS // 2, last)).all()
    assert np.isnan(bounds(samples[:2000], LEAST_USERS, last)).all()
    assert np.isnan(bounds(samples, 1, 0.05)).all()


def test_a_single_class_has_no_roc_auc():
    truth = np.zeros(5, dtype=np.int64)
    assert np.isnan(classification.roc_auc(truth, np.full((5, 2), 0.5)))


def test_a_sure_and_right_answer_has_no_calibration_error():
    truth = np.array([0, 1, 1])
    assert classification.calibration_error(truth, np.eye(2)[truth]) == pytest.approx(0.0)


def test_two_equal_arms_differ_by_nothing():
    truth, probabilities, users = scores(5)
    arm = ArmScores(probabilities, np.ones(ITEMS), np.full(ITEMS, 9))
    evidence = compare_labels(
        truth, users, {"champion": arm, "candidate": arm}, BootstrapPlan(0.05, 200, 0, {"macro_f1": 0.03})
    )
    gain = evidence.differences["macro_f1"]["champion"]
    assert (gain.value, gain.lower, gain.upper) == (0.0, 0.0, 0.0)
    assert gain.level == 0.03


def test_the_confusion_counts_truth_by_answer():
    truth, users = np.array([0, 0, 1]), np.array([0, 1, 2])
    arm = ArmScores(np.eye(2)[[0, 1, 1]], np.ones(3), np.ones(3, dtype=np.int64))
    evidence = compare_labels(truth, users, {"base": arm}, BootstrapPlan(0.05, 200))
    assert evidence.confusion["base"] == [[1, 1], [0, 1]]
    assert plain_evidence(evidence)["class_f1"] == {"base": [0.666667, 0.666667]}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_f1_by_class_is_that_of_scikit_learn_and_none_for_a_class_that_is_not_there(pairs: list[tuple[int, int]]):
    truth, answers = zip(*pairs, strict=True)
    table = sklearn.metrics.confusion_matrix(truth, answers, labels=range(4))
    how: dict[str, Any] = {"average": None, "zero_division": np.nan}
    theirs: Any = sklearn.metrics.f1_score(truth, answers, labels=range(4), **how)
    assert classification.f1_by_class(table.tolist()) == pytest.approx(theirs.tolist(), nan_ok=True)


class Plugged:
    """An entry point as an installed package declares it."""

    value = "package:kpi"

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self) -> Callable[[Any, Any], float]:
        return lambda truth, probabilities: float((probabilities.argmax(1) == truth).sum())


def test_a_kpi_that_a_package_brings_is_measured_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        classification, "entry_points", lambda group: [Plugged("hits")] if group == "loraloop.kpis" else []
    )
    classification.plugin_kpis.cache_clear()
    try:
        scores = ArmScores(np.eye(2)[[0, 1, 1]], np.ones(3), np.ones(3, dtype=np.int64))
        found = compare_labels(np.array([0, 1, 0]), np.arange(3), {"base": scores}, BootstrapPlan(0.05, 200))
        assert found.arms["base"]["hits"].value == 2.0
        monkeypatch.setattr(classification, "entry_points", lambda group: [Plugged("accuracy")])
        classification.plugin_kpis.cache_clear()
        with pytest.raises(SettingsError, match="named accuracy, which is a KPI of LoraLoop"):
            classification.plugin_kpis()
    finally:
        classification.plugin_kpis.cache_clear()
