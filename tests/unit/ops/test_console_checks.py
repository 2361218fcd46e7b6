"""Facts about the numbers of a gate's check: they have the units and the sign of the check's sentence."""

import math
from typing import Any

import pytest

from eval.gates.live_arms import LEAST_SAMPLE_RATIO_P
from ops.console.svg.checks import check_name, check_numbers
from tests.support.console import Console, full_evidence, look_body


def check(kind: str, value: Any, threshold: Any = None, bound: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": "x", "kind": kind, "value": value, "threshold": threshold, "bound": bound, "kpi": None} | more


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (check("gain", 0.08, 0.0, 0.03), ("measured +0.080", "threshold +0.000", "bound +0.030")),
        (
            check("margin", -0.274, 0.02, 0.197, kpi="accuracy"),
            ("measured +0.274", "threshold -0.020", "bound -0.197"),
        ),
        (check("margin", 12.0, 40.0, 31.0, kpi="p95_latency_ms"), ("measured +12.0", "threshold +40.0", "bound +31.0")),
        (check("max", 931.0, 900.0, 931.0), ("measured 931", "threshold 900", "bound 931")),
        (check("harm", 0.0, math.log(20), 0.0), ("evidence 1.0×", "proven from 20.0×", "")),
        (check("harm", 900.0, math.log(20), 900.0), ("evidence over 1,000,000×", "proven from 20.0×", "")),
        (check("", 0.0, math.log(20), 0.0, name="harm"), ("evidence 1.0×", "proven from 20.0×", "")),
        (check("better", 0.03, -0.1, -0.02), ("measured +1.5 points", "threshold -5.0 points", "bound -1.0 points")),
        (check("sample_ratio", 0.42, 0.001, 0.42), ("p 0.4200", "at least 0.0010", "")),
        (check("readable", None), ("", "", "")),
        (check("harm", math.inf, math.log(20)), ("", "proven from 20.0×", "")),
    ],
)
def test_numbers_are_in_the_units_of_the_sentence(found: dict[str, Any], words: tuple[str, str, str]) -> None:
    assert check_numbers(found) == words


def test_internal_names_are_replaced() -> None:
    assert check_name({"name": "readable"}) == "counts of both arms" and check_name({"name": "slices"}) == "slices"


def test_the_live_part_of_a_decision_has_no_internal_words_and_says_points() -> None:
    console = Console()
    sentence = "4 of 200 canary users and 2 of 200 champion users were harmed."
    harm = {"name": "harm", "outcome": "pass", "reason": sentence, "value": 0.0, "bound": 0.0, "threshold": 2.996}
    names = {"ln_strays": 0.0, "holdback_plan": None, "holdback": None, "gate": [harm | {"kind": "harm"}]}
    live = look_body(200, 0.05, 0.04) | names
    console.add_decision("promoted", evidence=full_evidence(), live=live)
    html = console.whole("/promotions/dec-1")
    assert "Approval differs by +2.5 points ± 2.0." in html and "must be above -2." in html
    assert "Ln strays" not in html and "Holdback" not in html and "line to beat" not in html
    assert sentence in html.partition("The live gate")[2] and "users harmed" in html and "2.996" not in html
    assert f"below {LEAST_SAMPLE_RATIO_P} the test stops" in html
