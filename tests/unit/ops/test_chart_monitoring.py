"""Facts about the chart's monitoring: what is scraped, and what Prometheus may reach."""

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


def test_what_is_kept_of_the_engines_metrics_can_be_limited() -> None:
    dropped = [{"sourceLabels": ["__name__"], "regex": "vllm:lora_requests_info", "action": "drop"}]
    values = MONITORED | {"serviceMonitor": {"enabled": True, "engineMetricRelabelings": dropped}}
    [endpoint] = monitors(values)["demo-loraloop-engines"]["endpoints"]
    assert endpoint["metricRelabelings"] == dropped
    assert all("metricRelabelings" not in each for each in monitors(values)["demo-loraloop"]["endpoints"])


@pytest.mark.parametrize("values", [MONITORED | EXTERNAL, WITHOUT_ENGINES], ids=["external", "off"])
def test_engines_elsewhere_or_switched_off_are_not_scraped(values: dict[str, Any]) -> None:
    assert monitors(values).keys() == {"demo-loraloop"}


def test_of_the_monitoring_namespace_only_prometheus_reaches_the_engines() -> None:
    [rule] = the(MONITORED, "NetworkPolicy", "engine")["spec"]["ingress"]
    own = [{"podSelector": {"matchLabels": pod_labels(who)}} for who in ("gateway", "control")]
    assert rule == {"from": [*own, PROMETHEUS], "ports": [{"port": 8090}]}
    [closed] = the(WITHOUT_ENGINES, "NetworkPolicy", "engine")["spec"]["ingress"]
    assert closed["from"] == own
    # A namespace that was named for other parts alone opens nothing.
    [closed] = the({"networkPolicy": MONITORED["networkPolicy"]}, "NetworkPolicy", "engine")["spec"]["ingress"]
    assert closed["from"] == own
    policy = {"monitoringPodLabels": {"app.kubernetes.io/name": None, "app": "collector"}}
    values = MONITORED | {"networkPolicy": MONITORED["networkPolicy"] | policy}
    [other] = the(values, "NetworkPolicy", "engine")["spec"]["ingress"]
    assert other["from"][-1] == PROMETHEUS | {"podSelector": {"matchLabels": {"app": "collector"}}}


def test_labels_that_would_open_the_engines_to_every_pod_are_refused() -> None:
    policy = {"monitoringPodLabels": {"app.kubernetes.io/name": None}}
    with pytest.raises(HelmValuesError, match="monitoringPodLabels"):
        render(SECRET | {"networkPolicy": MONITORED["networkPolicy"] | policy})
