"""The Helm chart's security contexts, network policies, secrets and refused values."""

from typing import Any

import pytest
from helm_python.errors import HelmRenderError, HelmValuesError

from tests.support.chart import ENGINE, EVERYTHING, KEYS, SECRET, WAYS, objects, of_kind, pod_labels, pods, render, the


@pytest.mark.parametrize("values", WAYS)
def test_no_container_runs_as_root_or_writes_its_root_filesystem(values: dict[str, Any]) -> None:
    for _, pod in pods(values):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_user_0_is_refused() -> None:
    with pytest.raises(HelmValuesError, match="runAsUser"):
        render(SECRET | {"runAsUser": 0})


@pytest.mark.parametrize("values", WAYS)
def test_no_pod_gets_a_token_or_service_links(values: dict[str, Any]) -> None:
    # A Service link would set LORALOOP_…_PORT, which the settings would read as a key of theirs.
    for account in of_kind(objects(values), "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for _, pod in pods(values):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False


@pytest.mark.parametrize("values", WAYS)
def test_every_container_has_probes_resources_and_a_tmp(values: dict[str, Any]) -> None:
    paths = {
        "gateway": ("/health", "/ready"),
        "control": ("/health", "/health"),
        "engine": ("/health", "/health"),
    }
    for component, pod in pods(values):
        [container] = pod["containers"]
        probes = (
            container["livenessProbe"]["httpGet"]["path"],
            container["readinessProbe"]["httpGet"]["path"],
        )
        assert probes == paths[component]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert {"name": "tmp", "emptyDir": {}} in pod["volumes"]


def test_only_gateway_and_control_reach_the_engines() -> None:
    policy = the({}, "NetworkPolicy", "engine")["spec"]
    assert policy["podSelector"] == {"matchLabels": pod_labels("engine")}
    [rule] = policy["ingress"]
    assert rule == {
        "from": [{"podSelector": {"matchLabels": pod_labels(who)}} for who in ("gateway", "control")],
        "ports": [{"port": 8090}],
    }


def test_the_engine_policy_covers_every_engine_pod() -> None:
    found = objects(EVERYTHING)
    [policy] = of_kind(found, "NetworkPolicy", "engine")
    wanted = policy["spec"]["podSelector"]["matchLabels"].items()
    engines = of_kind(found, "StatefulSet", "engine")
    assert len(engines) == 2
    assert all(wanted <= each["spec"]["template"]["metadata"]["labels"].items() for each in engines)


def test_engines_reach_nothing_but_dns() -> None:
    policy = the({}, "NetworkPolicy", "engine")["spec"]
    assert "Egress" in policy["policyTypes"]
    [rule] = policy["egress"]
    assert {each["port"] for each in rule["ports"]} == {53}
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]


def test_only_the_gateway_reaches_control_unless_a_namespace_is_named() -> None:
    gateway = [{"podSelector": {"matchLabels": pod_labels(who)}} for who in ("gateway", "test")]
    [closed] = the({}, "NetworkPolicy", "control")["spec"]["ingress"]
    [opened] = the(EVERYTHING, "NetworkPolicy", "control")["spec"]["ingress"]
    assert closed["from"] == gateway
    assert opened["from"] == gateway + [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in ("ingress-nginx", "monitoring")
    ]


def test_the_ingress_leads_to_the_gateways_api_alone() -> None:
    found = objects(EVERYTHING)
    [ingress] = of_kind(found, "Ingress")
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (path["path"], path["backend"]["service"]["name"]) == ("/v1", "demo-loraloop-gateway")


def test_a_missing_secret_says_how_to_make_one() -> None:
    with pytest.raises(HelmRenderError) as caught:
        render({})
    said = str(caught.value)
    assert "existingSecret is not set" in said
    assert "kubectl -n loops create secret generic loraloop-keys" in said
    assert all(f"--from-literal={key}=" in said for key in KEYS)


def test_the_chart_makes_no_secret_and_each_process_holds_only_its_keys() -> None:
    assert of_kind(objects(EVERYTHING), "Secret") == []
    held = {}
    for component, pod in pods({}):
        sources = [each.get("valueFrom", {}).get("secretKeyRef") for each in pod["containers"][0].get("env", [])]
        assert {each["name"] for each in sources if each} <= {"loraloop-keys"}
        held[component] = {each["key"] for each in sources if each}
    assert held == {
        "gateway": {"LORALOOP_APP_KEY", "LORALOOP_INTERNAL_KEY", "LORALOOP_METRICS_KEY"},
        "control": {"LORALOOP_OPS_KEY", "LORALOOP_INTERNAL_KEY", "LORALOOP_NOTIFY_URLS", "LORALOOP_JUDGE_KEY"}
        | {"LORALOOP_WEBHOOK_SECRET", "LORALOOP_OIDC_CLIENT_SECRET", "LORALOOP_METRICS_KEY"},
        "engine": set(),
    }


@pytest.mark.parametrize(
    "values",
    [
        {"gatway": {}},
        {"gateway": {"replicas": 2}},
        {"servingEngineSpec": {"modelSpec": [ENGINE | {"name": "a", "image": "x"}]}},
    ],
    ids=["top", "nested", "in a list"],
)
def test_an_unknown_value_is_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(HelmValuesError, match=r"'(gatway|replicas|image)' not allowed"):
        render(SECRET | values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"externalEngines": ["http://a:8090"]}, "either bundled or external"),
        ({"servingEngineSpec": {"enabled": False}}, "There is no engine"),
        ({"servingEngineSpec": {"modelSpec": [ENGINE | {"name": "a"}] * 2}}, "the same name"),
        (
            {"gateway": {"replicaCount": 2, "spool": {"persistence": True}}},
            "A spool on a claim has one writer",
        ),
        (
            {"gateway": {"autoscaling": {"enabled": True}, "spool": {"persistence": True}}},
            "A spool on a claim has one writer",
        ),
        ({"serviceMonitor": {"enabled": True}}, "networkPolicy.monitoringNamespace"),
        ({"ingress": {"enabled": True}}, "set ingress.host"),
        ({"config": {"engine": {"urls": ["http://a:8090"]}}}, "use externalEngines"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_the_way_out(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HelmRenderError, match=sentence):
        render(SECRET | values)
