"""Facts about reviewers who label the same answers: whose label counts, and how far they agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from core.names import ADJUDICATOR, REVIEWER
from core.settings import ModelSettings
from feedback.reviewer_agreement import LabelledAnswer, gather, settle
from ops.agreement_statistics import alpha, kappa, report, share_of
from tests.support.curation import curated, user_in, vote

LABELS = ["good", "bad", "odd"]


def answer(*labels: str, adjudicated: str | None = None) -> LabelledAnswer:
    return LabelledAnswer({f"{REVIEWER}k{n}": label for n, label in enumerate(labels)}, adjudicated)


@pytest.mark.parametrize(
    ("labels", "adjudicated", "reviewers", "expected"),
    [
        (("good", "bad"), None, 1, ("good", "newest")),
        (("good",), None, 2, ("good", "agreed")),
        (("good", "good"), None, 2, ("good", "agreed")),
        (("good", "bad"), None, 2, (None, "open")),
        (("good", "bad", "bad"), None, 2, ("bad", "majority")),
        (("good", "bad", "odd"), None, 3, (None, "open")),
        (("good", "good", "bad", "odd"), None, 3, (None, "open")),
        (("good", "bad"), "odd", 2, ("odd", "adjudicated")),
        (("good", "bad"), "bad", 1, ("bad", "adjudicated")),
    ],
)
def test_more_than_half_of_the_reviewers_or_an_adjudication_settle_an_answer(
    labels: Sequence[str], adjudicated: str | None, reviewers: int, expected: tuple[str | None, str]
) -> None:
    found = settle(answer(*labels, adjudicated=adjudicated), reviewers)
    assert (found.label, found.how) == expected


def labelled(model: ModelSettings, reviewed: Sequence[str], adjudicated: str | None) -> tuple[set[str], dict[str, int]]:
    """The labels that an answer's rows have with these labels of reviewers, the oldest first, and one of a user."""
    about: dict[str, Any] = {"interaction_id": "i1", "asker": user_in("train")}
    votes = [vote(1, said="good", **about)]
    votes += [vote(n + 2, said=said, voter=f"{REVIEWER}k{n}", **about) for n, said in enumerate(reviewed)]
    votes += [vote(90, said=adjudicated, voter=f"{ADJUDICATOR}k0", **about)] if adjudicated else []
    found = curated(votes, model)
    return {row["label"] for row in found.rows.to_pylist()}, found.reasons()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(LABELS), min_size=1, max_size=5),
    st.sampled_from([None, *LABELS]),
    st.integers(1, 4),
)
def test_training_uses_the_label_that_the_rule_gives(said: list[str], adjudicated: str | None, reviewers: int) -> None:
    model = ModelSettings.model_validate({"labels": LABELS, "feedback": {"reviewers": reviewers}})
    rows = [
        {"interaction_id": "i1", "user_id": f"{REVIEWER}k{n}", "label": label}
        for n, label in reversed(list(enumerate(said)))
    ]
    rows = [{"interaction_id": "i1", "user_id": f"{ADJUDICATOR}k0", "label": adjudicated}] * bool(adjudicated) + rows
    expected = settle(gather(rows)["i1"], reviewers).label
    assert labelled(model, said, adjudicated)[0] == ({expected} if expected else set())


def test_no_label_of_an_answer_is_used_while_reviewers_disagree_and_the_report_says_so() -> None:
    model = ModelSettings.model_validate({"labels": LABELS, "feedback": {"reviewers": 2}})
    assert labelled(model, ("good", "bad"), None) == (set(), {"reviewers disagree about the answer": 3})
    assert labelled(model, ("good", "bad"), "bad") == ({"bad"}, {"a reviewer's label overrules it": 2})


def test_a_relabel_of_one_reviewer_is_no_second_reviewer() -> None:
    model = ModelSettings.model_validate({"labels": LABELS, "feedback": {"reviewers": 2}})
    about: dict[str, Any] = {"interaction_id": "i1", "asker": user_in("train"), "voter": f"{REVIEWER}k0"}
    found = curated([vote(1, said="good", **about), vote(2, said="bad", **about)], model)
    assert [row["label"] for row in found.rows.to_pylist()] == ["bad"]


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn_with_the_error_of_fleiss_cohen_and_everitt(seed: int) -> None:
    draw = np.random.default_rng(seed)
    first = draw.integers(0, 3, 120)
    second = np.where(draw.random(120) < 0.6, first, draw.integers(0, 3, 120))
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    found = kappa(table)
    assert found.value == pytest.approx(cohen_kappa_score(first, second)) and found.n == 120
    p = table / 120
    rows, columns, k = p.sum(1), p.sum(0), found.value
    by_chance = float(rows @ columns)
    a = sum(p[i, i] * (1 - (rows[i] + columns[i]) * (1 - k)) ** 2 for i in range(3))
    b = (1 - k) ** 2 * sum(p[i, j] * (columns[i] + rows[j]) ** 2 for i in range(3) for j in range(3) if i != j)
    c = (k - by_chance * (1 - k)) ** 2
    error = np.sqrt((a + b - c) / (120 * (1 - by_chance) ** 2))
    assert found.low == pytest.approx(k - 1.959964 * error) and found.high == pytest.approx(k + 1.959964 * error)


def test_alpha_is_that_of_krippendorffs_example() -> None:
    # "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers, 12 units, five values.
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    counts = np.array([[unit.count(value) for value in "12345"] for unit in units if len(unit) > 1], dtype=np.float64)
    assert alpha(counts).value == pytest.approx(0.743, abs=0.0005)


def test_the_intervals_hold_the_true_values_in_95_of_100_samples() -> None:
    draw = np.random.default_rng(3)

    def table_and_counts(n: int) -> tuple[Any, Any]:
        truth = draw.choice(3, n, p=[0.5, 0.3, 0.2])
        said = [np.where(draw.random(n) < 0.7, truth, draw.integers(0, 3, n)) for _ in range(3)]
        table = np.zeros((3, 3))
        np.add.at(table, (said[0], said[1]), 1)
        return table, np.stack([sum((one == label).astype(float) for one in said) for label in range(3)], axis=1)

    table, counts = table_and_counts(400_000)
    true_kappa, true_alpha = kappa(table).value, alpha(counts).value
    assert true_kappa is not None and true_alpha is not None
    held = np.zeros(2)
    for _ in range(400):
        table, counts = table_and_counts(150)
        for place, (found, true) in enumerate(((kappa(table), true_kappa), (alpha(counts), true_alpha))):
            assert found.low is not None and found.high is not None
            held[place] += found.low <= true <= found.high
    assert ((held / 400 > 0.92) & (held / 400 < 0.98)).all(), held / 400


def test_what_cannot_be_known_is_none() -> None:
    assert kappa(np.zeros((3, 3))).value is None and kappa(np.diag([5.0, 0, 0])).value is None
    same = kappa(np.diag([30.0, 20, 5]))
    assert (same.value, same.low, same.n) == (1.0, None, 55)
    assert alpha(np.array([[2.0, 0, 0]])).value is None
    assert share_of(0, 0).value is None
    few = share_of(9, 10)
    # Wilson's interval of 9 of 10.
    assert (few.value, round(few.low or 0, 3), round(few.high or 0, 3)) == (0.9, 0.596, 0.982)


def test_the_report_counts_per_reviewer_pair_and_state() -> None:
    answers = {
        "i1": answer("good", "good"),
        "i2": answer("good", "bad"),
        "i3": answer("bad", "bad", "odd"),
        "i4": answer("good"),
        "i5": answer("good", "bad", adjudicated="bad"),
    }
    found = report(answers, LABELS, 2)
    assert (found["labelled"], found["shared"]) == (5, 4)
    assert found["states"] == {"agreed": 2, "majority": 1, "adjudicated": 1, "open": 1}
    assert found["by_reviewer"][0] == {"reviewer": "reviewer:k0", "labels": 5, "shared": 4}
    assert (found["agreement"]["value"], found["agreement"]["n"]) == (0.25, 4)
    pairs = {(pair["first"][-2:], pair["second"][-2:]): pair for pair in found["pairs"]}
    assert pairs["k0", "k1"]["agreement"]["value"] == 0.5 and pairs["k0", "k1"]["kappa"]["n"] == 4
    assert pairs["k0", "k2"]["agreement"] == {"value": 0.0, "low": 0.0, "high": pytest.approx(0.793, abs=0.001), "n": 1}
