"""Facts about the chart's alerting rules: they are about metrics that exist, and have LoraLoop's own alarms."""

import re
from typing import Any

import pytest

from ops.alarms.conditions import RULES
from serve.gateway.request_metrics import ENDS
from tests.support.chart import EVERYTHING, objects, of_kind
from tests.support.exported_metrics import own_metrics
from tests.unit.ops.test_alarm_conditions import RUNBOOK

SCRAPED = {"namespace", "service", "pod"}  # labels that the ServiceMonitor adds to every series


def groups(**changes: Any) -> dict[str, list[dict[str, Any]]]:
    values = EVERYTHING | {"prometheusRule": EVERYTHING["prometheusRule"] | changes}
    [rule] = of_kind(objects(values), "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    return {group["name"].removeprefix("demo-loraloop-"): group["rules"] for group in rule["spec"]["groups"]}


def test_there_are_no_rules_by_default() -> None:
    assert of_kind(objects({}), "PrometheusRule") == []


def test_every_expression_is_about_metrics_and_labels_that_exist() -> None:
    rules, known = groups(), own_metrics()
    own = {rule["record"]: set(rule["labels"]) for rule in rules["slo-records"]}
    for rule in [rule for each in rules.values() for rule in each]:
        expression = rule["expr"]
        assert expression.count("(") == expression.count(")"), expression
        names = re.findall(r"((?:loraloop[_:]|up\b)[\w:]*)(?:\{([^}]*)\})?", expression)
        assert names, expression
        for name, labels in names:
            allowed = own[name] if name in own else (known | {"up": set()})[name] | SCRAPED
            assert set(re.findall(r'(\w+)=~?"', labels)) <= allowed, (name, labels)


def test_every_alarm_has_a_rule_with_its_severity_and_section() -> None:
    found = {
        re.findall(r'alarm="(\w+)"', rule["expr"])[0]: (rule["labels"]["severity"], rule["annotations"]["runbook"])
        for rule in groups()["alarms"]
    }
    assert found == {rule.name: (rule.severity, f"docs/runbook.md, {rule.section}") for rule in RULES}


def test_every_rule_names_a_section_of_the_runbook_and_no_two_are_one() -> None:
    rules = groups()
    alerts = [rule for name, each in rules.items() if name != "slo-records" for rule in each]
    text = RUNBOOK.read_text(encoding="utf-8")
    for rule in alerts:
        section = rule["annotations"]["runbook"].partition(", ")[2]
        assert f"\n## {section}\n" in text, section
    keys = [(rule["alert"], rule["labels"].get("window")) for rule in alerts]
    assert len(keys) == len(set(keys)) and all(re.fullmatch(r"[A-Z]\w+", name) for name, _ in keys)


@pytest.mark.parametrize(("seconds", "end"), [(0.1, "0.1"), (1, "1.0"), (2.5, "2.5"), (10, "10.0"), (60, "60.0")])
def test_slow_requests_are_counted_by_an_end_of_the_histogram(seconds: float, end: str) -> None:
    rules = groups(slo={"latency": {"seconds": seconds}})["slo-records"]
    found = {end for rule in rules for end in re.findall(r'le="([^"]+)"', rule["expr"])}
    assert found == {end} and end in ENDS


def test_burn_rates_follow_the_objectives() -> None:
    slo = {"availability": 0.99, "latency": {"share": 0.9}, "minRequests": 7}
    rules = groups(slo=slo)["slo-alerts"]
    limits = {(r["alert"], r["labels"]["window"]): set(re.findall(r"> ([\d.]+)", r["expr"])) for r in rules}
    assert limits == {
        ("LoraloopErrorsBurnRate", "1h"): {"0.144"},
        ("LoraloopErrorsBurnRate", "6h"): {"0.06"},
        ("LoraloopErrorsBurnRate", "1d"): {"0.03"},
        ("LoraloopErrorsBurnRate", "3d"): {"0.01"},
        ("LoraloopLatencyBurnRate", "1h"): {"1.44"},
        ("LoraloopLatencyBurnRate", "6h"): {"0.6"},
        ("LoraloopLatencyBurnRate", "1d"): {"0.3"},
        ("LoraloopLatencyBurnRate", "3d"): {"0.1"},
    }
    assert all(r["expr"].endswith(">= 7") for r in rules)


def test_what_is_recorded_in_an_alert_is_recorded_at_all() -> None:
    rules = groups()
    recorded = {rule["record"] for rule in rules["slo-records"]}
    used = {name for rule in rules["slo-alerts"] for name in re.findall(r"loraloop:[\w:]+", rule["expr"])}
    assert used <= recorded


@pytest.mark.parametrize(
    "slo", [{"availability": 1}, {"latency": {"seconds": 3}}, {"latency": {"share": 0}}, {"minRequests": -1}, {"x": 1}]
)
def test_an_objective_that_cannot_be_measured_is_refused(slo: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="prometheusRule"):
        groups(slo=slo)
