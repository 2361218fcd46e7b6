"""Facts about slices: which are judged, their differences and bounds, and what the gate's check says of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from core.settings import PromotionSettings, SliceSettings
from eval.gates.offline import decide
from eval.gates.result import Outcome
from eval.gates.slices import check_slices
from eval.kpis.approval import Approval
from eval.kpis.bootstrap import BootstrapPlan, deviation_bounds
from eval.kpis.common_words import CommonWord
from eval.kpis.evidence import Difference, Evidence, Slice, SliceEvidence
from eval.kpis.label_selection import LabelSelection
from eval.kpis.slices import LABEL_F1, Dimension, ScoredItems, compare_slices

PLAN = BootstrapPlan(0.05, 2000)
SETTINGS = SliceSettings(margin=0.1)


def items(lost: list[int], of: list[int], voters: int | None = None) -> tuple[ScoredItems, Dimension]:
    """Slices s0, s1, … of the sizes `of`. The candidate loses the first `lost` items of each."""
    champion = np.ones(sum(of))
    candidate = np.concatenate(
        [np.repeat([0.0, 1.0], (gone, size - gone)) for gone, size in zip(lost, of, strict=True)]
    )
    people = np.arange(sum(of)) % (voters or sum(of))
    values = [f"s{place}" for place, size in enumerate(of) for _ in range(size)]
    return ScoredItems("accuracy", people, champion, candidate), Dimension("app", values)


def one(value: float, half: float, *, name: str = "shop", words: tuple[CommonWord, ...] = ()) -> Slice:
    return Slice("app", name, "accuracy", 120, 80, Difference(value, value - half, value + half, 0.0125), words)


def evidence(*slices: Slice, small: int = 0) -> SliceEvidence:
    return SliceEvidence(slices, small, 50, 0.05 / max(len(slices), 1))


def test_a_slice_has_its_mean_difference_and_a_bound_for_all_slices_together():
    scored, app = items([12, 0], [60, 60])
    found = compare_slices(scored, [app], PLAN, 50)
    worst, best = found.slices
    assert (worst.name, worst.n, worst.voters, worst.kpi) == ("app s0", 60, 60, "accuracy")
    assert worst.difference.value == pytest.approx(-0.2)
    assert found.level == worst.difference.level == pytest.approx(0.05 / 2)
    # A share of 12 of 60 has the standard error √(.2·.8/60).
    half = t.isf(0.025, 59) * math.sqrt(0.2 * 0.8 / 59)
    assert worst.difference.upper == pytest.approx(-0.2 + half, abs=0.01)
    assert worst.difference.lower == pytest.approx(-0.2 - half, abs=0.01)
    assert (best.difference.value, best.difference.lower, best.difference.upper) == (0.0, 0.0, 0.0)


def test_more_slices_make_each_bound_wider():
    scored, app = items([12, 0], [60, 60])
    others = [Dimension(f"d{n}", ["a"] * 60 + ["b"] * 60) for n in range(9)]
    few, many = (compare_slices(scored, dimensions, PLAN, 50) for dimensions in ([app], [app, *others]))
    assert many.level == pytest.approx(0.05 / 20)
    assert many.slices[0].difference.value == few.slices[0].difference.value
    assert many.slices[0].difference.upper > few.slices[0].difference.upper


def test_items_of_one_voter_count_together():
    """60 items of 20 voters, who lose all of their three items or none."""
    candidate = np.ones(120)
    candidate[:12] = 0
    app = Dimension("app", ["a"] * 60 + ["b"] * 60)
    alone = ScoredItems("accuracy", np.arange(120), np.ones(120), candidate)
    together = replace(alone, voters=np.arange(120) // 3)
    first, second = (compare_slices(scored, [app], PLAN, 50).slices[0].difference for scored in (alone, together))
    assert first.value == second.value
    assert second.upper - second.value == pytest.approx(math.sqrt(3) * (first.upper - first.value), rel=0.15)


def test_a_slice_needs_the_least_items_and_twenty_voters():
    scored, app = items([0, 0, 0], [50, 49, 60])
    found = compare_slices(scored, [app], PLAN, 50)
    assert ([one.value for one in found.slices], found.small) == (["s0", "s2"], 1)
    few, app = items([0, 0], [60, 60], voters=19)
    assert compare_slices(few, [app], PLAN, 50).small == 2
    # One voter with 41 of 60 items: 20 voters, who count for few.
    lopsided = replace(scored, voters=np.concatenate([np.arange(99), np.full(41, 99), np.arange(99, 118)]))
    _, app = items([0, 0, 0], [50, 49, 60])
    assert "s2" not in {one.value for one in compare_slices(lopsided, [app], PLAN, 50).slices}


def test_a_slice_of_all_items_is_none_and_no_dimension_is_no_slice():
    scored, _ = items([10], [100])
    for dimensions in ([Dimension("app", ["shop"] * 100)], []):
        found = compare_slices(scored, dimensions, PLAN, 50)
        assert (found.slices, found.small, found.level) == ((), 0, 0.05)
        (check,) = check_slices(found, SETTINGS)
        assert check.outcome is Outcome.PASS
        assert check.reason == "No slice has 50 items from 20 voters, so none is judged."


def test_items_without_a_value_are_in_no_slice():
    scored, _ = items([10, 0], [60, 60])
    found = compare_slices(scored, [Dimension("app", ["shop"] * 60 + [None] * 60)], PLAN, 50)
    assert [(one.value, one.n) for one in found.slices] == [("shop", 60)]


def test_a_tie_is_no_difference():
    scored, app = items([0, 0], [60, 60])
    swapped = replace(
        scored,
        candidate=np.where(np.arange(120) % 2, 1.0, 0.0),
        champion=np.roll(np.where(np.arange(120) % 2, 1.0, 0.0), 1),
    )
    found = compare_slices(swapped, [app], PLAN, 50)
    assert all(one.difference.value == pytest.approx(0) for one in found.slices)
    assert check_slices(found, SETTINGS)[0].outcome is Outcome.PASS


def labelled(truth: list[int], champion: list[int], candidate: list[int]) -> tuple[ScoredItems, Dimension]:
    true, ours, theirs = (np.array(numbers, dtype=np.int64) for numbers in (truth, candidate, champion))
    right = (theirs == true).astype(np.float64), (ours == true).astype(np.float64)
    scored = ScoredItems("accuracy", np.arange(len(true)), *right, true, (theirs, ours))
    return scored, Dimension("label", [f"l{number}" for number in truth])


def test_a_label_is_judged_by_its_f1_so_a_constant_answer_is_not_perfect_on_it():
    """The champion always says 0. The candidate is right on 80% of both labels: worse on items of label 0 alone."""
    truth = [0] * 100 + [1] * 100
    scored, label = labelled(truth, [0] * 200, [0] * 80 + [1] * 20 + [0] * 20 + [1] * 80)
    found = compare_slices(scored, [label], PLAN, 50)
    by_label = {one.value: one for one in found.slices}
    # F1 of label 0: 2·80/(100 + 100) = .8 against 2·100/(100 + 200) = 2/3.
    assert by_label["l0"].kpi == LABEL_F1
    assert by_label["l0"].difference.value == pytest.approx(0.8 - 2 / 3)
    assert by_label["l1"].difference.value == pytest.approx(0.8)
    assert check_slices(found, SETTINGS)[0].outcome is Outcome.PASS
    (recall,) = [
        one for one in compare_slices(replace(scored, answers=None), [label], PLAN, 50).slices if one.value == "l0"
    ]
    assert recall.difference.value == pytest.approx(-0.2)


def test_the_f1_of_a_slice_has_items_of_other_labels_from_outside():
    """s0 has 80 items of label 0 and 20 of label 1, s1 the opposite. The candidate says 1 to half of the 80."""
    truth = [0] * 80 + [1] * 20 + [0] * 20 + [1] * 80
    scored, _ = labelled(truth, truth, [1] * 40 + truth[40:])
    found = compare_slices(scored, [Dimension("app", ["s0"] * 100 + ["s1"] * 100)], PLAN, 50)
    by_app = {one.value: one for one in found.slices}
    assert {one.kpi for one in found.slices} == {LABEL_F1}
    # Label 0: 2·40/(80 + 40). Label 1 with 20 of the 80 items of label 0, half of them wrong: 2·20/(20 + 20 + 10).
    assert by_app["s0"].difference.value == pytest.approx(0.8 * 2 / 3 + 0.2 * 0.8 - 1)
    # Label 1 needs 80 items of label 0: 20 in s1 without an error, and 60 outside, half of them wrong.
    assert by_app["s1"].difference.value == pytest.approx(0.2 + 0.8 * 160 / (160 + 30) - 1)


def topics_of_labels(minority: int, champion: float, candidate: float, in_topic: float) -> SliceEvidence:
    """Two topics of 200 items, each of one label but for `minority` items.

    The champion answers the share `champion` right, and gives label 0 to others. The candidate is right on the share
    `candidate` of its items, and on `in_topic` in the topic of label 0.
    """
    truth = np.repeat([0, 1, 0, 1], (200 - minority, minority, minority, 200 - minority))
    topics, rng = np.repeat([0, 1], 200), np.random.default_rng(7)
    theirs = np.where(rng.random(400) < champion, truth, 0)
    ours = np.where(rng.random(400) < np.where(topics == 0, in_topic, candidate), truth, 1 - truth)
    scored, label = labelled(truth.tolist(), theirs.tolist(), ours.tolist())
    return compare_slices(scored, [label, Dimension("topic", [f"t{topic}" for topic in topics])], PLAN, 50)


@pytest.mark.parametrize("minority", [0, 2, 10])
@pytest.mark.parametrize("champion", [0.0, 0.4])
def test_a_better_candidate_passes_where_a_topic_is_of_the_label_that_the_champion_favours(
    minority: int, champion: float
):
    found = topics_of_labels(minority, champion, 0.8, 0.8)
    assert all(one.difference.value > 0 for one in found.slices)
    assert check_slices(found, SliceSettings())[0].outcome is Outcome.PASS


@pytest.mark.parametrize("minority", [0, 2, 10])
def test_a_loss_in_a_topic_of_one_label_fails(minority: int):
    found = topics_of_labels(minority, 0.8, 0.9, 0.5)
    (check,) = check_slices(found, SliceSettings())
    assert check.outcome is Outcome.FAIL and "topic t0" in check.reason and "the F1 of its labels" in check.reason


def test_a_resample_without_an_item_of_a_label_is_no_loss():
    """All items of label 1 in s0 are of one voter, so a third of the resamples have none."""
    truth = [0] * 59 + [1] + [0, 1] * 30
    scored, _ = labelled(truth, truth, truth)
    found = compare_slices(scored, [Dimension("app", ["s0"] * 60 + ["s1"] * 60)], PLAN, 50)
    assert all((one.difference.lower, one.difference.upper) == (0, 0) for one in found.slices)


def test_labels_have_their_weights_in_slices_too():
    """Right answers are a tenth of the labels and 80% of live traffic; the candidate loses the right ones of s0."""
    right = np.tile(np.repeat([1.0, 0.0], (30, 60)), 2)
    candidate = right.copy()
    candidate[:15] = 0
    scored = ScoredItems("accuracy", np.arange(180), right, candidate)
    app = Dimension("app", ["s0"] * 90 + ["s1"] * 90)
    selection = LabelSelection(right.astype(np.int64), Approval(0.5, 0.0, 100))
    plain, weighted = (compare_slices(scored, [app], PLAN, 50, chosen).slices[0] for chosen in (None, selection))
    assert plain.difference.value == pytest.approx(-15 / 90)
    # Weights 1.5 and .75: 15·1.5 of 30·1.5 + 60·.75.
    assert weighted.difference.value == pytest.approx(-22.5 / 90)
    # 90² / (30·1.5² + 60·.75²) = 80 items count: more are required.
    assert compare_slices(scored, [app], PLAN, 80, selection).small == 0
    assert compare_slices(scored, [app], PLAN, 81, selection).small == 2


def test_a_slice_that_fell_fails_the_gate_and_the_reason_says_where():
    scored, app = items([40, 0, 3], [100, 100, 100])
    found = compare_slices(scored, [app], PLAN, 50)
    (check,) = check_slices(found, SETTINGS)
    assert check.outcome is Outcome.FAIL
    assert (
        "In the slice app s0 (100 items from 100 voters), accuracy is 0.400 lower than the champion's" in check.reason
    )
    assert "0.100 is accepted" in check.reason and "all 3 slices together" in check.reason
    assert "s2" not in check.reason
    assert check.value == pytest.approx(0.4) and check.bound is not None and 0.1 < check.bound < 0.4
    settings = PromotionSettings(must_beat=[], guardrails=[], slices=SETTINGS)
    judged = decide(Evidence(300, 300, {}, {}, {}, "h1", 1, slices=found), settings)
    assert judged.outcome is Outcome.FAIL and "app s0" in judged.reason


def test_a_loss_that_chance_explains_passes_and_the_lowest_is_named():
    (check,) = check_slices(evidence(one(-0.15, 0.1), one(0.02, 0.1, name="web")), SETTINGS)
    assert check.outcome is Outcome.PASS
    assert check.reason == (
        "None of 2 slices is worse by more than 0.100 beyond chance. The lowest difference is app shop (120 items from "
        "80 voters): -0.150 in accuracy, between -0.250 and -0.050."
    )


@pytest.mark.parametrize(("upper", "outcome"), [(-0.1, Outcome.PASS), (-0.1001, Outcome.FAIL)])
def test_a_loss_of_just_the_margin_is_accepted(upper: float, outcome: Outcome):
    found = evidence(replace(one(-0.2, 0.1), difference=Difference(-0.2, -0.3, upper, 0.05)))
    assert check_slices(found, SETTINGS)[0].outcome is outcome


def test_words_are_in_the_reason_with_their_counts():
    words = (CommonWord("refund", 14, 20, 3, 90),)
    (check,) = check_slices(evidence(one(-0.4, 0.1, words=words)), SETTINGS)
    assert "Words of its lost items: refund (14 of 20 voters, in other items 3 of 90)." in check.reason


def test_many_slices_that_fell_are_counted():
    (check,) = check_slices(evidence(*(one(-0.4, 0.1, name=f"s{n}") for n in range(5))), SETTINGS)
    assert check.reason.count("In the slice") == 3 and "2 other slices fell too." in check.reason


@pytest.mark.parametrize("kind", ["accuracy", "label"])
def test_a_score_that_is_not_a_number_never_passes(kind: str):
    scored, label = labelled([0, 1] * 60, [0, 1] * 60, [0, 1] * 60)
    candidate = scored.candidate.copy()
    candidate[3] = math.nan
    app = Dimension("app", ["s0"] * 60 + ["s1"] * 60)
    broken = replace(scored, candidate=candidate, answers=scored.answers if kind == "label" else None)
    found = compare_slices(broken, [label if kind == "label" else app], PLAN, 50)
    assert not found.slices[0].is_measured
    (check,) = check_slices(found, SETTINGS)
    assert check.outcome is Outcome.INCONCLUSIVE and "is not a number" in check.reason
    if kind == "accuracy":
        # The other slice is known, and a fall there is not hidden.
        assert found.slices[1].is_measured
        assert (
            check_slices(replace(found, slices=(found.slices[0], one(-0.5, 0.1))), SETTINGS)[0].outcome is Outcome.FAIL
        )


@pytest.mark.parametrize("field", ["value", "lower", "upper"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_bound_that_is_not_finite_never_passes(field: str, number: float):
    broken = one(0.1, 0.05)
    broken = replace(broken, difference=replace(broken.difference, **{field: number}))
    assert check_slices(evidence(one(0.1, 0.1), broken), SETTINGS)[0].outcome is Outcome.INCONCLUSIVE


def test_without_settings_or_slices_there_is_no_check_and_a_pass_says_that_it_is_waived():
    assert check_slices(evidence(one(-0.9, 0.1)), None) == []
    assert check_slices(None, SETTINGS) == []
    arm = {"macro_f1": Difference(0.2, 0.1, 0.3, 0.05)}
    gains = {"macro_f1": {"champion": arm["macro_f1"]}}
    judged = decide(
        Evidence(100, 50, {}, gains, {}, "h1", 1), PromotionSettings(must_beat=["base", "rag"], slices=None)
    )
    assert "slices" not in {check.name for check in judged.checks}
    judged = decide(Evidence(100, 50, {}, gains, {}, "h1", 1), PromotionSettings(must_beat=[], slices=None))
    assert judged.outcome is Outcome.PASS and "Waived in the settings: base, rag, slices." in judged.reason


def test_a_loss_of_eight_points_is_accepted_by_default():
    assert SliceSettings().margin == 0.08


@pytest.mark.parametrize("margin", [0.0, 1.0, math.nan, math.inf])
def test_a_margin_is_between_0_and_1(margin: float):
    with pytest.raises(ValueError, match="margin"):
        SliceSettings(margin=margin)


def test_the_bound_by_the_standard_error_needs_no_resample_beyond_it():
    samples = np.random.default_rng(0).normal(0.3, 0.1, 200)
    lower, upper = deviation_bounds(0.3, samples, 50, 1e-6)
    half = t.isf(1e-6, 49) * samples.std() * math.sqrt(50 / 49)
    assert (lower, upper) == pytest.approx((0.3 - half, 0.3 + half))


@pytest.mark.parametrize(
    ("value", "missing", "units"), [(math.nan, 0, 50), (0.3, 21, 50), (0.3, 0, 1), (0.3, 0, math.nan)]
)
def test_the_bound_is_not_a_number_without_a_value_resamples_or_units(value: float, missing: int, units: float):
    samples = np.full(200, 0.3)
    samples[:missing] = math.nan
    assert all(map(math.isnan, deviation_bounds(value, samples, units, 0.05)))
