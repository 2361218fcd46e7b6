"""Facts about pictures: they are whole XML, they escape, and they draw what there is."""

import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from eval.kpis.intervals import wilson
from ops.console.assets import stylesheet
from ops.console.svg import evidence, gate, live, primitives
from ops.console.svg.primitives import Scale, tick_words, ticks

EVIL = '<script>alert("x")</script>&\x00'
MEASURE = {"value": 0.7, "low": 0.65, "high": 0.74}
BARE = {"value": 0.7, "low": None, "high": None}
SVG = "{http://www.w3.org/2000/svg}"


def arms(measure: dict[str, float | None]) -> dict[str, Any]:
    return {"arms": {arm: {"macro_f1": measure} for arm in evidence.FOUR}, "primary": "macro_f1"}


def check(
    name: str = "macro_f1 against champion",
    outcome: str = "pass",
    value: float | None = 0.05,
    bound: float | None = 0.02,
    threshold: float | None = 0.0,
) -> dict[str, Any]:
    return {
        "name": name,
        "outcome": outcome,
        "reason": "It was so.",
        "value": value,
        "bound": bound,
        "threshold": threshold,
    }


def look(users: int, difference: float, half_width: float | None, verdict: str = "wait") -> dict[str, Any]:
    body = {
        "control": {"users": users},
        "canary": {"users": users},
        "difference": difference,
        "half_width": half_width,
        "line": -0.03,
    }
    return {"look": 1, "verdict": verdict, "reason": "So far.", "body": body}


def point(second: float, version: int, rated: int, approved: int) -> dict[str, float]:
    return {"second": second, "version": version, "rated": rated, "approved": approved}


def parsed(picture: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(str(picture))


def words(picture: Markup) -> str:
    return " ".join(parsed(picture).itertext())


def places(picture: Markup, shape: str, name: str) -> list[float]:
    return [float(found.attrib[name]) for found in parsed(picture).iter(f"{SVG}{shape}")]


ALL = {
    "interval_bars": lambda s: evidence.interval_bars({"arms": {"candidate": {s: MEASURE}}}, s),
    "arm_bars": lambda s: evidence.arm_bars({"base": {s: 0.5}}, s, {s: {s: 0.4}}),
    "gate_plot": lambda s: gate.gate_plot([check(s) | {"reason": s}]),
    "confidence_sequence": lambda s: live.confidence_sequence([look(10, 0.1, 0.2, s)]),
    "durations": lambda s: evidence.durations({s: 2.0}),
    "gain_bar": lambda s: gate.gain_bar({"value": 0.1, "lower": 0.0, "upper": 0.2}),
    "approval": lambda s: live.approval([point(1, 0, 10, 5)], 3.0),
}


@pytest.mark.parametrize("name", ALL)
def test_a_picture_is_whole_xml_with_a_title_a_description_and_a_role(name: str) -> None:
    found = parsed(ALL[name]("macro_f1"))
    assert found.attrib["role"] == "img"
    assert [child.tag for child in found][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert all(child.text for child in list(found)[:2])


@pytest.mark.parametrize("name", ALL)
def test_no_string_becomes_markup(name: str) -> None:
    picture = ALL[name](EVIL)
    parsed(picture)
    assert "<script" not in picture


def test_the_stylesheet_has_every_class_of_a_picture_and_its_text_is_legible_on_a_phone() -> None:
    known = set(re.findall(r"\.picture \.([\w-]+) ", stylesheet())) | {"picture"}
    used = {name for draw in ALL.values() for found in parsed(draw("macro_f1")).iter() for name in _classes(found)}
    assert used > {"picture", "ts", "f-muted"} and used <= known
    colours = (primitives.MUTED, primitives.RULE, primitives.PAPER, "none", *primitives.SERIES[:-1])
    assert {f"f-{colour}" for colour in colours} <= known
    sizes = dict(re.findall(r"\.picture (text|\.ts) { font-size: ([\d.]+)px; }", stylesheet()))
    assert {name: float(size) for name, size in sizes.items()} == {"text": primitives.NORMAL, ".ts": primitives.SMALL}
    assert primitives.SMALL >= 11


def _classes(found: ElementTree.Element) -> list[str]:
    return found.attrib.get("class", "").split()


def test_a_picture_of_its_own_has_its_colours_with_it() -> None:
    drawn = primitives.with_style(ALL["gain_bar"]("x"), stylesheet())
    style = next(parsed(drawn).iter(f"{SVG}style")).text
    assert style is not None and ".picture .f-muted" in style and "--muted: #" in style


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_label_makes_whole_xml(label: str) -> None:
    parsed(evidence.durations({label: 1.0}))
    parsed(gate.gate_plot([check(label) | {"reason": label}]))


def test_an_interval_without_bounds_still_draws() -> None:
    picture = evidence.interval_bars(arms(BARE), "macro_f1")
    assert len(list(parsed(picture).iter(f"{SVG}circle"))) == 4
    assert "0.700" in words(picture)


def test_an_arm_that_was_not_measured_says_so() -> None:
    assert "not measured" in words(evidence.interval_bars({"arms": {"base": {"macro_f1": MEASURE}}}, "macro_f1"))
    assert "was not measured" in words(evidence.interval_bars({"arms": {}}, "macro_f1"))


def test_a_number_that_is_not_finite_is_not_drawn() -> None:
    picture = evidence.arm_bars({"base": {"roc_auc": math.nan}, "rag": {"roc_auc": 0.6}}, "roc_auc", {})
    assert "nan" not in str(picture).lower()
    assert len(list(parsed(picture).iter(f"{SVG}circle"))) == 1


def test_other_systems_are_next_to_the_arms_by_name() -> None:
    report = {"candidate": {"accuracy": 0.7, "intervals": {"accuracy": [0.6, 0.8]}}}
    said = words(evidence.arm_bars(report, "accuracy", {"vader": {"accuracy": 0.6}, "human_raters": {"accuracy": 0.9}}))
    assert "VADER" in said and "one human rater" in said


def test_the_primary_kpi_comes_first_and_one_without_intervals_is_left_out() -> None:
    found = {"arms": {"base": {"accuracy": MEASURE, "roc_auc": MEASURE, "p95_latency_ms": BARE}}, "primary": "roc_auc"}
    assert evidence.drawn_kpis(found) == ["roc_auc", "accuracy"]


def test_an_outcome_has_words_next_to_its_colour() -> None:
    checks = [check(outcome=outcome) for outcome in ("pass", "fail", "inconclusive", "wait")]
    said = words(gate.gate_plot(checks))
    assert all(word in said for word in ("✓ passes", "✗ fails", "? not shown", "… waits"))


def test_a_check_without_numbers_is_still_in_the_plot() -> None:
    picture = gate.gate_plot([check("holdout", "inconclusive", None, None, None), check(bound=None)])
    assert "holdout" in words(picture)
    assert not list(parsed(picture).iter(f"{SVG}circle"))


@pytest.mark.parametrize(
    ("outcome", "bound", "threshold", "right"),
    [
        ("pass", 0.02, 0.0, True),
        ("inconclusive", -0.02, 0.0, False),
        ("fail", -0.02, 0.0, False),
        ("pass", 700.0, 900.0, True),
        ("fail", 950.0, 900.0, False),
    ],
)
def test_what_passes_is_right_of_the_line_whether_more_or_less_is_better(
    outcome: str, bound: float, threshold: float, right: bool
) -> None:
    picture = gate.gate_plot([check("floor x", outcome, bound, bound, threshold)])
    assert (places(picture, "circle", "cx")[0] > 170) is right


def test_a_margin_guardrail_draws_its_harm_on_the_scale_of_its_bound() -> None:
    picture = gate.gate_plot([check("guardrail accuracy", "pass", 0.01, 0.02, 0.03)])
    assert len(list(parsed(picture).iter(f"{SVG}circle"))) == 1


def test_gains_over_several_arms_share_a_scale() -> None:
    checks = [check(value=0.1, bound=0.05), check("macro_f1 against base", value=0.2, bound=0.1)]
    near, far = (x - 170 for x in places(gate.gate_plot(checks), "circle", "cx"))
    assert far == pytest.approx(2 * near, abs=0.2)


def test_a_look_without_a_band_still_draws() -> None:
    said = words(live.confidence_sequence([look(5, 0.2, None)]))
    assert "no band yet" in said


def test_the_last_look_is_said_in_words() -> None:
    said = words(live.confidence_sequence([look(50, 0.1, 0.2), look(200, 0.08, 0.05, "pass")]))
    assert "+0.080 ± 0.050; promotes" in said
    assert "the bound must be above" in said


def test_a_wide_early_band_does_not_flatten_the_later_looks() -> None:
    picture = live.confidence_sequence([look(3, 0.1, 90.0), look(200, 0.1, 0.05)])
    assert "90" not in [found.text for found in parsed(picture).iter(f"{SVG}text")]


def test_a_day_of_looks_stays_a_light_page_and_keeps_its_end() -> None:
    looks = [look(n, 0.1, 1 / n, "wait") for n in range(1, 6000)] + [look(6000, 0.1, 0.01, "pass")]
    picture = live.confidence_sequence(looks)
    longest = max(len(found.attrib["points"].split()) for found in parsed(picture).iter(f"{SVG}polyline"))
    assert longest <= live.MOST_POINTS + 3
    assert "promotes" in words(picture)


def test_no_look_yet_says_so() -> None:
    assert "not been tested" in words(live.confidence_sequence([]))


def test_a_row_of_a_confusion_sums_to_a_hundred_percent() -> None:
    found = evidence.confusion_rows([[30, 10], [0, 0]])
    assert [(cell.count, cell.share) for cell in found[0]] == [("30", "75%"), ("10", "25%")]
    assert found[1] == [evidence.Cell(), evidence.Cell()]


def test_the_shades_of_a_confusion_tell_right_from_wrong_and_are_in_the_stylesheet() -> None:
    shades = {cell.shade for n in range(101) for row in evidence.confusion_rows([[n, 100 - n], [0, 0]]) for cell in row}
    assert shades - {""} == {f"{kind}-{n}" for kind in ("hit", "miss") for n in range(evidence.SHADES + 1)}
    assert shades - {""} <= set(re.findall(r"^\.((?:hit|miss)-\d) ", stylesheet(), re.MULTILINE))


def test_approval_draws_a_series_for_each_version_and_marks_the_switch() -> None:
    points = [point(5, 0, 40, 20), point(10, 0, 40, 18), point(15, 1, 30, 24), point(20, 1, 0, 0)]
    picture = live.approval(points, 12.0)
    assert len(list(parsed(picture).iter(f"{SVG}polygon"))) == 1
    assert "switch at 12 s" in words(picture) and "v1: 80% of 30 rated answers" in words(picture)


def test_approval_without_a_switch_or_without_votes_still_draws() -> None:
    assert "switch" not in words(live.approval([point(5, 0, 4, 2)], None))
    assert "Nothing was rated" in words(live.approval([point(5, 0, 0, 0)], None))


def test_no_phase_and_a_phase_of_no_time_still_draw() -> None:
    assert "No phase" in words(evidence.durations({}))
    assert "0.0 s" in words(evidence.durations({"switch": 0.0}))


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_wilson_interval_holds_the_rate_and_stays_within_0_and_1(rated: int, part: float) -> None:
    approved = round(rated * part)
    low, high = wilson(approved, rated)
    assert 0 <= low <= approved / rated + 1e-12 and approved / rated - 1e-12 <= high <= 1


@given(st.floats(-1e4, 1e4), st.floats(1e-4, 1e4))
def test_ticks_are_few_inside_the_range_and_have_different_labels(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert len(found) <= 6
    assert all(low - span * 1e-6 <= tick <= low + span * 1.000001 for tick in found)
    assert len(set(tick_words(found))) == len(found)


def test_a_scale_keeps_what_is_outside_at_its_edge() -> None:
    scale = Scale(0, 1, 10, 20)
    assert (scale(-5), scale(0.5), scale(7)) == (10, 15, 20)
    assert Scale(1, 1, 10, 20)(1) == 15


def test_no_picture_fetches_or_runs_anything() -> None:
    for draw in ALL.values():
        assert not re.search(r"(href|src|url\(|onload|<script|<style)", str(draw("macro_f1")))
