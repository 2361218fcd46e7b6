"""Facts about the Grafana dashboards: the chart ships each, and every query is about metrics and labels that exist."""

import json
import re
from typing import Any

import pytest

from tests.support.chart import CHART, objects, of_kind
from tests.support.exported_metrics import Labels, own_metrics, vllm_metrics

FILES = sorted((CHART / "dashboards").glob("*.json"))
# Labels that Prometheus adds to every series, for itself or from the ServiceMonitors.
SCRAPED = {"job", "instance", "namespace", "service", "pod"}
METRIC = re.compile(r"\b((?:loraloop_|vllm:)\w+)(?:\{([^}]*)\})?")


def dashboard(name: str) -> dict[str, Any]:
    return json.loads((CHART / "dashboards" / f"{name}.json").read_text(encoding="utf-8"))


def queries(found: dict[str, Any]) -> list[str]:
    """The queries of all panels and variables."""
    panels = [target["expr"] for panel in found["panels"] for target in panel["targets"]]
    variables = [each["query"]["query"] for each in found["templating"]["list"] if each["type"] == "query"]
    return [*panels, *variables]


def names(name: str) -> set[str]:
    return {metric for query in queries(dashboard(name)) for metric, _ in METRIC.findall(query)}


@pytest.fixture(scope="module")
def exported() -> Labels:
    return own_metrics() | vllm_metrics()


def test_each_dashboard_is_in_the_config_map_and_has_a_name_of_its_own() -> None:
    [shipped] = [
        each for each in of_kind(objects({}), "ConfigMap") if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    assert {name: json.loads(text) for name, text in shipped["data"].items()} == {
        f"{file.stem}.json": dashboard(file.stem) for file in FILES
    }
    for field in ("uid", "title"):
        assert len({dashboard(file.stem)[field] for file in FILES}) == len(FILES) >= 3


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_every_query_is_about_metrics_and_labels_that_are_exported(name: str, exported: Labels) -> None:
    for query in queries(dashboard(name)):
        used = METRIC.findall(query)
        assert used and query.count("(") == query.count(")"), query
        for metric, labels in used:
            assert metric in exported, metric
            assert set(re.findall(r"(\w+)(?:=~?|!=|!~)\"", labels)) <= exported[metric] | SCRAPED, query
        known = SCRAPED.union(*(exported[metric] for metric, _ in used))
        grouped = re.findall(r"\b(?:by|on|without|label_values) ?\(([^()]*)\)", query)
        assert {word.strip() for part in grouped for word in part.split(",")} - {metric for metric, _ in used} <= known


@pytest.mark.parametrize("name", [file.stem for file in FILES])
def test_panels_have_ids_places_and_variables_of_their_own(name: str) -> None:
    found = dashboard(name)
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24
    variables = {variable["name"] for variable in found["templating"]["list"]}
    used = {word for query in queries(found) for word in re.findall(r"\$(\w+)", query)}
    assert used - {"__rate_interval", "__interval"} <= variables and variables - {"datasource"} <= used
    assert all(panel["title"] and panel["description"] for panel in panels)


def test_the_engines_dashboard_has_what_operators_of_vllm_watch() -> None:
    assert names("loraloop-engines") >= {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:e2e_request_latency_seconds_bucket",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:prefix_cache_hits_total",
        "vllm:prefix_cache_queries_total",
        "vllm:num_preemptions_total",
        "vllm:lora_requests_info",
        "vllm:request_success_total",
    }


def test_the_canaries_dashboard_shows_every_number_of_a_canary(exported: Labels) -> None:
    assert names("loraloop-canaries") >= {metric for metric in exported if metric.startswith("loraloop_canary_")}


def test_the_price_of_a_token_is_entered_in_grafana() -> None:
    assert "price_per_million_tokens" in {each["name"] for each in dashboard("loraloop")["templating"]["list"]}
