"""Facts about labels that users give mostly to wrong answers: their weights, the gate's check, and what it prevents."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.db.store import Store
from core.prompts import Chat
from core.settings import ModelSettings, Primary, PromotionSettings
from eval.gates.label_selection import check_selection
from eval.gates.offline import LEAST_ITEMS, decide
from eval.gates.result import Outcome
from eval.kpis.approval import Approval, approval_of
from eval.kpis.bootstrap import BootstrapPlan
from eval.kpis.comparison import compare_labels
from eval.kpis.evidence import ArmScores, Evidence
from eval.kpis.label_selection import RIGHT, UNKNOWN, WRONG, LabelSelection
from eval.label_selection import selection_of
from feedback.ingest import ingest
from feedback.snapshot import Row
from tests.support.ingest import asked, pieces, said

KNOWN = Approval(0.8, 0.0, 100)
SETTINGS = ModelSettings(task="classify", labels=["bad", "good"])


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def selection(right: int, wrong: int, unknown: int = 0, approval: Approval = KNOWN) -> LabelSelection:
    return LabelSelection(np.array([RIGHT] * right + [WRONG] * wrong + [UNKNOWN] * unknown), approval)


def arm(hits: Sequence[bool]) -> ArmScores:
    """An arm of two labels whose truth is always the first one."""
    return ArmScores(np.eye(2)[[0 if hit else 1 for hit in hits]], np.ones(len(hits)), np.ones(len(hits), dtype=int))


def evidence_of(found: LabelSelection | None, right: int, wrong: int) -> Evidence:
    """A champion that is right where its served answers were, and a candidate that is right on half of all items."""
    n = right + wrong
    champion = [place < right for place in range(n)]
    candidate = [place % 2 == 0 for place in range(n)]
    return compare_labels(
        np.zeros(n, dtype=int),
        np.arange(n),
        {"champion": arm(champion), "candidate": arm(candidate)},
        BootstrapPlan(0.05, 2000),
        selection=found,
    )


def test_weights_give_right_and_wrong_answers_their_live_shares():
    weights = selection(10, 30, 5).point_weights[0]
    assert weights[:10].sum() == pytest.approx(0.8 * 40)
    assert weights[10:40].sum() == pytest.approx(0.2 * 40)
    assert weights[40:].tolist() == [1.0] * 5


def test_every_resample_has_the_live_shares_or_keeps_its_only_kind():
    drawn = np.array([[1.0, 1.0, 2.0, 0.0], [0.0, 0.0, 3.0, 1.0]])
    weights = selection(2, 2).weigh(drawn, np.random.default_rng(0))
    assert weights[0].tolist() == pytest.approx([1.6, 1.6, 0.8, 0.0])
    assert weights[1].tolist() == drawn[1].tolist()


def test_the_error_of_the_approval_widens_the_bounds():
    sure, unsure = (
        evidence_of(selection(100, 100, approval=Approval(0.8, error, 100)), 100, 100) for error in (0, 0.1)
    )
    first, second = (found.differences["accuracy"]["champion"] for found in (sure, unsure))
    assert first.value == second.value
    assert second.upper - second.lower > 1.2 * (first.upper - first.lower)


def test_the_accuracy_of_the_champion_is_its_live_approval():
    found = evidence_of(selection(40, 160), 40, 160)
    assert found.arms["champion"]["accuracy"].value == pytest.approx(0.8)
    assert found.arms["candidate"]["accuracy"].value == pytest.approx(0.5)
    assert evidence_of(None, 40, 160).arms["champion"]["accuracy"].value == pytest.approx(0.2)


def test_a_candidate_that_is_worse_live_does_not_win_by_labels_of_wrong_answers():
    settings = PromotionSettings(primary=Primary(kpi="accuracy"), must_beat=[], guardrails=[])
    without = decide(evidence_of(None, 40, 160), settings)
    weighted = decide(evidence_of(selection(40, 160), 40, 160), settings)
    (gain,) = [check for check in without.checks if check.kind == "gain"]
    assert gain.outcome is Outcome.PASS
    (gain,) = [check for check in weighted.checks if check.kind == "gain"]
    assert gain.outcome is Outcome.FAIL and weighted.outcome is Outcome.FAIL


def test_the_number_of_labels_that_count_is_kishs():
    assert selection(80, 20).effective == pytest.approx(100)
    found = selection(10, 90)
    # Ten labels of weight 8 and ninety of weight 2/9: 100² / (10·64 + 90·(2/9)²).
    assert found.effective == pytest.approx(100**2 / (640 + 90 * (2 / 9) ** 2))


@pytest.mark.parametrize(
    ("found", "outcome", "words"),
    [
        (selection(80, 20), Outcome.PASS, "100 labels are of known answers, 80 of them of right ones; live, 80% of"),
        (selection(0, 100), Outcome.INCONCLUSIVE, "No label is of an answer that was right; live, 80% of thumbs"),
        (selection(100, 0), Outcome.INCONCLUSIVE, "No label is of an answer that was wrong"),
        (selection(4, 96), Outcome.INCONCLUSIVE, "the labels count for 6; a judgement needs 30"),
        # The smallest holdout: a third of its labels is of right answers, where half of the live ones are right.
        (selection(10, 20, approval=Approval(0.5, 0.02, 400)), Outcome.PASS, "The labels have weights"),
        (selection(4, 26, approval=Approval(0.5, 0.02, 400)), Outcome.INCONCLUSIVE, "a judgement needs 20"),
        (selection(100, 0, approval=Approval(0.98, 0.01, 50)), Outcome.PASS, "The labels have weights"),
        (
            selection(0, 40, approval=Approval(math.nan, math.nan, 0)),
            Outcome.INCONCLUSIVE,
            "All 40 labels are of answers",
        ),
        (selection(5, 40, approval=Approval(0.9, 0.01, 19)), Outcome.PASS, "Too few thumbs"),
    ],
)
def test_the_check_says_in_words_what_is_missing(found: LabelSelection, outcome: Outcome, words: str):
    evidence = replace(evidence_of(None, 1, 1), selection=found)
    (check,) = check_selection(evidence, LEAST_ITEMS)
    assert check.outcome is outcome
    assert words in check.reason


def test_labels_of_imported_answers_and_generated_texts_have_no_check():
    nothing = evidence_of(None, 1, 1)
    assert check_selection(nothing, LEAST_ITEMS) == []
    assert check_selection(replace(nothing, selection=selection(0, 0, 40)), LEAST_ITEMS) == []


def test_the_error_of_an_approval_counts_voters_and_not_votes():
    """Ten voters with ten thumbs each, five of them always up: the error of five of ten."""
    votes = [(10, 10)] * 5 + [(0, 10)] * 5
    sums = [sum(f(up, n) for up, n in votes) for f in (lambda u, n: u * u, lambda u, n: u * n, lambda u, n: n * n)]
    found = approval_of(10, 50, 100, *sums)
    assert found.share == 0.5
    assert found.error == pytest.approx(math.sqrt(0.25 / 9))
    assert approval_of(40, 40, 40, 40, 40, 40).error == pytest.approx(1 / 40)
    assert math.isnan(approval_of(1, 1, 1, 1, 1, 1).share)


def test_answers_and_thumbs_are_read_from_the_store(store: Store):
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    records = []
    for number in range(30):
        answer = "Good " if number % 3 else "bad"
        records.append(asked(f"i{number}", model="m", user=f"u{number}", answer=answer if number else "who knows"))
        records.append(replace(said(f"l{number}", f"i{number}", "good", "label"), user=f"u{number}", time=at))
        thumb = replace(said(f"t{number}", f"i{number}", number % 3 > 0), user=f"u{number}", time=at)
        records.append(thumb)
    late = replace(said("late", "i1", False), user="u1", time=at + timedelta(days=1))
    reviewer = replace(said("reviewer", "i1", False), user="reviewer:ann", time=at)
    ingest(store, "g", 0, 0, pieces(*records, late, reviewer))
    prompt = Chat((("user", "text"),))
    rows = [
        Row(f"i{n}", f"l{n}", f"u{n}", "h1", prompt, "good", time=at.replace(tzinfo=None).isoformat())
        for n in range(30)
    ]
    found = selection_of(store, "m", [*rows, replace(rows[0], interaction_id="imported")], SETTINGS)
    assert found is not None
    assert found.served.tolist() == [UNKNOWN, *(RIGHT if n % 3 else WRONG for n in range(1, 30)), UNKNOWN]
    assert (found.thumbs.voters, found.thumbs.share) == (30, pytest.approx(20 / 30))
    assert selection_of(store, "m", rows, ModelSettings(task="generate")) is None
