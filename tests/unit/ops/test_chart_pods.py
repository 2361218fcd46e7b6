"""Where the chart's pods run, and what a part's values add to them."""

from typing import Any

import pytest
from helm_python.errors import HelmValuesError

from tests.support.chart import ENGINE, SECRET, objects, of_kind, pods, render, the

WIDE = {"adapters": {"accessModes": ["ReadWriteMany"]}}
PART: dict[str, Any] = {
    "nodeSelector": {"pool": "own"},
    "tolerations": [{"key": "own", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    ],
    "priorityClassName": "own",
    "runtimeClassName": "nvidia",
    "podAnnotations": {"mesh/inject": "true"},
    "podLabels": {"team": "own"},
    "env": [{"name": "OTEL_SERVICE_NAME", "value": "own"}],
    "envFrom": [{"secretRef": {"name": "own"}}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    "initContainers": [{"name": "first", "image": "busybox", "command": ["true"]}],
    "startupProbe": {"periodSeconds": 7, "failureThreshold": 9},
}
OWN = {"gateway": PART, "control": PART, "servingEngineSpec": {"modelSpec": [ENGINE | PART | {"name": "base"}]}}
COMPONENTS = ("gateway", "control", "engine")


def together(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The terms that put a pod on the node of others."""
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return pod.get("affinity", {}).get("podAffinity", {}).get(key, [])


def templates(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = [each["spec"]["template"] for each in objects(values) if "template" in each.get("spec", {})]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in found}


def test_what_mounts_a_claim_of_one_node_is_kept_on_one_node() -> None:
    terms = {component: together(pod) for component, pod in pods({})}
    assert terms["gateway"] == []
    [term] = terms["control"]
    assert terms["engine"] == [term] and term["topologyKey"] == "kubernetes.io/hostname"
    # Each pod matches its own term, so that the first one can be scheduled at all.
    for component in ("control", "engine"):
        labels = templates({})[component]["metadata"]["labels"]
        assert term["labelSelector"]["matchLabels"].items() <= labels.items()


def test_a_claim_of_many_nodes_keeps_nothing_together() -> None:
    assert all(together(pod) == [] for _, pod in pods(WIDE))


def test_a_base_model_on_a_claim_of_one_node_keeps_its_readers_together() -> None:
    claim = {"existingClaim": "weights"}
    assert [component for component, pod in pods(WIDE | {"baseModelVolume": claim}) if together(pod)] == [
        "control",
        "engine",
    ]
    shared = claim | {"accessModes": ["ReadOnlyMany"]}
    assert all(together(pod) == [] for _, pod in pods(WIDE | {"baseModelVolume": shared}))


def test_affinity_of_ones_own_is_kept_with_the_charts() -> None:
    own = {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "zone"}
    node = {"preferredDuringSchedulingIgnoredDuringExecution": []}
    affinity = {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]},
        "nodeAffinity": node,
    }
    [pod] = [pod for component, pod in pods({"control": {"affinity": affinity}}) if component == "control"]
    assert own in together(pod) and len(together(pod)) == 2
    assert pod["affinity"]["nodeAffinity"] == node


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_parts_values_reach_its_pod(component: str) -> None:
    template = templates(OWN)[component]
    pod, [container] = template["spec"], template["spec"]["containers"]
    for key in ("nodeSelector", "tolerations", "topologySpreadConstraints", "priorityClassName", "runtimeClassName"):
        assert pod[key] == PART[key]
    assert pod["initContainers"] == PART["initContainers"]
    assert PART["extraVolumes"][0] in pod["volumes"]
    assert PART["podLabels"].items() <= template["metadata"]["labels"].items()
    assert PART["podAnnotations"].items() <= template["metadata"]["annotations"].items()
    assert PART["env"][0] in container["env"] and container["envFrom"] == PART["envFrom"]
    assert PART["extraVolumeMounts"][0] in container["volumeMounts"]
    assert PART["startupProbe"].items() <= container["startupProbe"].items()


@pytest.mark.parametrize("component", COMPONENTS)
def test_values_for_all_hold_for_a_part_without_its_own(component: str) -> None:
    values = {"nodeSelector": {"pool": "all"}, "tolerations": [{"key": "all"}], "priorityClassName": "all"}
    found = dict(pods(values))[component]
    assert (found["nodeSelector"], found["tolerations"]) == ({"pool": "all"}, [{"key": "all"}])
    assert found["priorityClassName"] == "all"
    assert dict(pods(values | OWN))[component]["nodeSelector"] == {"pool": "own"}


def test_no_selector_of_a_workload_has_a_label_that_values_can_change() -> None:
    for each in objects(OWN):
        if "template" in each.get("spec", {}):
            selector = each["spec"]["selector"]["matchLabels"]
            assert selector.keys() <= {
                "app.kubernetes.io/name",
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
                "loraloop/engine",
            }


def test_engines_are_replaced_one_after_another_and_each_has_a_name() -> None:
    values = {"servingEngineSpec": {"modelSpec": [ENGINE | {"name": "base", "replicaCount": 3}]}}
    spec = the(values, "StatefulSet", "engine")["spec"]
    assert spec["replicas"] == 3 and spec["updateStrategy"] == {"type": "RollingUpdate"}
    assert spec["podManagementPolicy"] == "Parallel" and spec["minReadySeconds"] > 0
    service = the(values, "Service", "engine")["spec"]
    assert service["clusterIP"] == "None" and service["publishNotReadyAddresses"] is True
    assert the(values, "Service", "engine")["metadata"]["name"] == spec["serviceName"]


def test_an_engine_asks_for_the_kind_of_gpu_that_is_named() -> None:
    engine = ENGINE | {"name": "base", "requestGPU": 2, "requestGPUType": "nvidia.com/mig-1g.10gb"}
    [container] = dict(pods({"servingEngineSpec": {"modelSpec": [engine]}}))["engine"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == "2"
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


@pytest.mark.parametrize("component", ["gateway", "control"])
def test_a_service_has_its_type_and_annotations(component: str) -> None:
    found = the({component: {"service": {"type": "LoadBalancer", "annotations": {"a/b": "c"}}}}, "Service", component)
    assert found["spec"]["type"] == "LoadBalancer" and found["metadata"]["annotations"] == {"a/b": "c"}
    assert the({}, "Service", component)["spec"]["type"] == "ClusterIP"


def test_a_service_account_of_ones_own_is_used_and_not_made() -> None:
    own = {"serviceAccount": {"create": False, "name": "mine"}}
    assert of_kind(objects(own), "ServiceAccount") == []
    assert {pod["serviceAccountName"] for _, pod in pods(own)} == {"mine"}
    [made] = of_kind(objects({"serviceAccount": {"annotations": {"role": "x"}}}), "ServiceAccount")
    assert made["metadata"]["annotations"] == {"role": "x"}


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"control": {"affinity": {"podAffinty": {}}}}, "podAffinty"),
        ({"gateway": {"startupProbe": {"httpGet": {}}}}, "httpGet"),
        ({"gateway": {"service": {"type": "ExternalName"}}}, "type"),
        ({"image": {"digest": "sha256:1"}}, "digest"),
        ({"servingEngineSpec": {"modelSpec": [ENGINE | {"name": "a", "requestGPUType": "gpu"}]}}, "requestGPUType"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(values: dict[str, Any], name: str) -> None:
    with pytest.raises(HelmValuesError, match=name):
        render(SECRET | values)
