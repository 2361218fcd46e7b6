"""Facts about the chart's monitoring: what is scraped, what Prometheus reaches, which metrics dashboards use."""

import json
import re
from typing import Any

import pytest
from helm_python.errors import HelmValuesError

from tests.support.chart import (
    EVERYTHING,
    EXTERNAL,
    SECRET,
    WAYS,
    objects,
    of_kind,
    pod_labels,
    pods,
    render,
    the,
)

MONITORED = {"serviceMonitor": {"enabled": True}, "networkPolicy": {"monitoringNamespace": "monitoring"}}
WITHOUT_ENGINES = MONITORED | {"serviceMonitor": {"enabled": True, "engines": False}}
PROMETHEUS = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
}


def monitors(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each ServiceMonitor's specification by its name."""
    return {each["metadata"]["name"]: each["spec"] for each in of_kind(objects(values), "ServiceMonitor")}


def chosen(spec: dict[str, Any], values: dict[str, Any]) -> set[str]:
    """The Services that a ServiceMonitor's selector matches, which must have the port that it names."""
    selector = spec["selector"]
    found = set()
    for service in of_kind(objects(values), "Service"):
        labels = service["metadata"]["labels"]
        listed = all(labels[each["key"]] in each["values"] for each in selector.get("matchExpressions", ()))
        if listed and selector["matchLabels"].items() <= labels.items():
            assert [each["port"] for each in spec["endpoints"]] == [each["name"] for each in service["spec"]["ports"]]
            found.add(service["metadata"]["name"])
    return found


def test_nothing_is_scraped_by_default() -> None:
    assert monitors({}) == {}


@pytest.mark.parametrize("values", WAYS)
def test_every_service_is_scraped_once(values: dict[str, Any]) -> None:
    values = values | MONITORED
    scraped = [name for spec in monitors(values).values() for name in chosen(spec, values)]
    services = [each["metadata"]["name"] for each in of_kind(objects(values), "Service")]
    assert sorted(scraped) == sorted(services)


def test_gateway_and_control_are_scraped_with_a_key_that_both_hold() -> None:
    found = of_kind(objects(EVERYTHING), "ServiceMonitor")
    assert all(each["metadata"]["labels"]["release"] == "prometheus" for each in found) and len(found) == 2
    spec = monitors(EVERYTHING)["demo-loraloop"]
    assert chosen(spec, EVERYTHING) == {"demo-loraloop-gateway", "demo-loraloop-control"}
    [endpoint] = spec["endpoints"]
    assert endpoint["path"] == "/metrics"
    shown = endpoint["authorization"]["credentials"]
    for component in ("gateway", "control"):
        held = [each for name, pod in pods(EVERYTHING) if name == component for each in pod["containers"][0]["env"]]
        assert shown | {"optional": True} in [each.get("valueFrom", {}).get("secretKeyRef") for each in held]


def test_engines_are_scraped_by_name_without_a_key() -> None:
    spec = monitors(EVERYTHING)["demo-loraloop-engines"]
    assert chosen(spec, EVERYTHING) == {"demo-loraloop-engine-a", "demo-loraloop-engine-b"}
    assert spec["endpoints"] == [
        {
            "port": "http",
            "path": "/metrics",
            "interval": "30s",
            "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"}],
        }
    ]


@pytest.mark.parametrize(
    "values", [MONITORED | EXTERNAL, MONITORED | {"serviceMonitor": {"enabled": True, "engines": False}}]
)
def test_engines_elsewhere_or_switched_off_are_not_scraped(values: dict[str, Any]) -> None:
    assert monitors(values).keys() == {"demo-loraloop"}


def test_of_the_monitoring_namespace_only_prometheus_reaches_the_engines() -> None:
    [rule] = the(MONITORED, "NetworkPolicy", "engine")["spec"]["ingress"]
    own = [{"podSelector": {"matchLabels": pod_labels(who)}} for who in ("gateway", "control")]
    assert rule == {"from": [*own, PROMETHEUS], "ports": [{"port": 8090}]}
    [closed] = the(WITHOUT_ENGINES, "NetworkPolicy", "engine")["spec"]["ingress"]
    assert closed["from"] == own
    policy = {"monitoringPodLabels": {"app.kubernetes.io/name": None, "app": "collector"}}
    [other] = the({"networkPolicy": MONITORED["networkPolicy"] | policy}, "NetworkPolicy", "engine")["spec"]["ingress"]
    assert other["from"][-1] == PROMETHEUS | {"podSelector": {"matchLabels": {"app": "collector"}}}


def test_labels_that_would_open_the_engines_to_every_pod_are_refused() -> None:
    policy = {"monitoringPodLabels": {"app.kubernetes.io/name": None}}
    with pytest.raises(HelmValuesError, match="monitoringPodLabels"):
        render(SECRET | {"networkPolicy": MONITORED["networkPolicy"] | policy})


def test_the_dashboard_is_valid_json_about_the_published_metrics() -> None:
    [found] = [
        each for each in of_kind(objects({}), "ConfigMap") if each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    dashboard = json.loads(found["data"]["loraloop.json"])
    queries = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"loraloop_\w+", queries)) == {
        "loraloop_requests_total",
        "loraloop_request_seconds_bucket",
        "loraloop_tokens_total",
        "loraloop_feedback_total",
        "loraloop_spool_unshipped_bytes",
        "loraloop_in_flight",
        "loraloop_first_token_seconds_bucket",
        "loraloop_refused_total",
        "loraloop_feedback_taken_in",
        "loraloop_canary_share",
        "loraloop_holdback_share",
        "loraloop_training_seconds",
        "loraloop_engine_ready",
    }
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    named = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", queries)) - {"__rate_interval", "__interval"} <= named
    assert "price_per_million_tokens" in named
