"""What the Helm chart promises, checked on what it renders.

It owns the facts about `charts/loraloop`; it must not know how a cluster would run the pods.
Nothing is skipped: helm-python-sdk renders in-process and needs neither a helm binary nor a network.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import kubernetes_validate
import pytest
import yaml
from helm_python.errors import HelmRenderError, HelmValuesError

import serve.engines.process
from core.settings import Settings, load

CHART = Path(__file__).parents[3] / "charts" / "loraloop"
LABEL = "app.kubernetes.io/component"
SECRET = {"existingSecret": "loraloop-keys"}
EXTERNAL = {"servingEngineSpec": {"enabled": False}, "externalEngines": ["http://vllm-0.vllm:8090"]}
KEYS = {"LORALOOP_APP_KEY", "LORALOOP_OPS_KEY", "LORALOOP_INTERNAL_KEY"}

ENGINE = {
    "repository": "vllm/vllm-openai",
    "tag": "v0.32.0",
    "replicaCount": 1,
    "requestCPU": "4",
    "requestMemory": "16Gi",
}
GPU_CONFIG = {"dtype": "float16", "maxModelLen": 8192, "extraArgs": ["--gpu-memory-utilization", "0.8"]}
EVERYTHING: dict[str, Any] = {
    "imagePullSecrets": [{"name": "pull"}],
    "nodeSelector": {"kubernetes.io/hostname": "one"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "baseModelVolume": {"existingClaim": "weights"},
    "gateway": {"autoscaling": {"enabled": True}, "podDisruptionBudget": {"enabled": True}},
    "servingEngineSpec": {
        "modelSpec": [
            {"name": "a", "requestGPU": 1, "vllmConfig": GPU_CONFIG, **ENGINE},
            {"name": "b", "env": [{"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}], **ENGINE},
        ]
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "host": "llm.example.org",
        "tlsSecret": "tls",
        "annotations": {"a/b": "c"},
    },
    "networkPolicy": {"ingressNamespace": "ingress-nginx", "monitoringNamespace": "monitoring"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
DURABLE = {
    "gateway": {"spool": {"persistence": True, "storageClassName": "fast"}},
    "adapters": {"existingClaim": "shared"},
}
WAYS = [
    pytest.param({}, id="default"),
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(EXTERNAL, id="external"),
    pytest.param(DURABLE, id="durable"),
]


def render(values: dict[str, Any]) -> dict[str, str]:
    with helm_python.Chart.load(CHART) as chart:
        return chart.render(values, name="demo", namespace="loops")


def objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The Kubernetes objects of a release that has its secret."""
    files = render(SECRET | values)
    texts = [text for name, text in files.items() if not name.endswith("NOTES.txt")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def of_kind(found: list[dict[str, Any]], kind: str, component: str | None = None) -> list[dict[str, Any]]:
    return [each for each in found if each["kind"] == kind and component in (None, each["metadata"]["labels"][LABEL])]


def the(values: dict[str, Any], kind: str, component: str) -> dict[str, Any]:
    """The one object of a kind and component."""
    [found] = of_kind(objects(values), kind, component)
    return found


def pods(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each workload's component and pod spec."""
    for each in objects(values):
        if "template" in each.get("spec", {}):
            template = each["spec"]["template"]
            yield template["metadata"]["labels"][LABEL], template["spec"]


def pod_labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "loraloop", "app.kubernetes.io/instance": "demo", LABEL: component}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def config_file(values: dict[str, Any]) -> dict[str, Any]:
    [config] = of_kind(objects(values), "ConfigMap", "config")
    return yaml.safe_load(config["data"]["loraloop.yaml"])


def loaded_settings(component: str, values: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a process of the chart reads from its file and environment, loaded by LoraLoop's own code."""
    file = folder / "loraloop.yaml"
    file.write_text(yaml.safe_dump(config_file(values)), encoding="utf-8")
    for name in [each for each in os.environ if each.startswith("LORALOOP_")]:
        monkeypatch.delenv(name)
    [pod] = [pod for each, pod in pods(values) if each == component]
    for each in pod["containers"][0]["env"]:
        # A reference's value is known in a cluster only; any will do.
        monkeypatch.setenv(each["name"], each.get("value", "demo-pod-1"))
    return load(file)


# Whole-chart facts


@pytest.mark.parametrize("values", [{}, SECRET, SECRET | EVERYTHING], ids=["bare", "secret", "everything"])
def test_lint_finds_nothing_but_the_missing_icon(values: dict[str, Any]) -> None:
    # An icon has to be a URL, and the house keeps hosts out of the chart; Helm calls it advice.
    report = helm_python.lint(CHART, values, strict=True)
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("values", WAYS)
def test_every_manifest_is_valid_kubernetes(values: dict[str, Any], version: str) -> None:
    # A ServiceMonitor is the Prometheus operator's own kind, for which Kubernetes publishes no schema.
    builtin = [each for each in objects(values) if each["kind"] != "ServiceMonitor"]
    assert builtin
    for each in builtin:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("values", WAYS)
def test_no_two_objects_share_a_name(values: dict[str, Any]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in objects(values)]
    assert len(names) == len(set(names))


def test_names_fit_a_dns_label_for_the_longest_release_name() -> None:
    engine = ENGINE | {"name": "e" * 14}
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(SECRET | {"servingEngineSpec": {"modelSpec": [engine]}}, name="r" * 53, namespace="loops")
    names = [
        each["metadata"]["name"]
        for text in files.values()
        if "kind:" in text
        for each in yaml.safe_load_all(text)
        if each
    ]
    assert max(len(name) for name in names) <= 63


@pytest.mark.parametrize("values", WAYS)
def test_every_service_finds_pods_by_a_named_port(values: dict[str, Any]) -> None:
    found = objects(values)
    templates = [each["spec"]["template"] for each in found if "template" in each.get("spec", {})]
    for service in of_kind(found, "Service"):
        selector = service["spec"]["selector"].items()
        [pod] = [each for each in templates if selector <= each["metadata"]["labels"].items()]
        [container] = pod["spec"]["containers"]
        [port] = service["spec"]["ports"]
        assert container["ports"] == [{"name": port["targetPort"], "containerPort": port["port"]}]


# Security


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
        "control": ("/health", "/ready"),
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
    engines = of_kind(found, "Deployment", "engine")
    assert len(engines) == 2
    assert all(wanted <= each["spec"]["template"]["metadata"]["labels"].items() for each in engines)


def test_engines_reach_nothing_but_dns() -> None:
    policy = the({}, "NetworkPolicy", "engine")["spec"]
    assert "Egress" in policy["policyTypes"]
    [rule] = policy["egress"]
    assert {each["port"] for each in rule["ports"]} == {53}
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]


def test_only_the_gateway_reaches_control_unless_a_namespace_is_named() -> None:
    gateway = {"podSelector": {"matchLabels": pod_labels("gateway")}}
    [closed] = the({}, "NetworkPolicy", "control")["spec"]["ingress"]
    [opened] = the(EVERYTHING, "NetworkPolicy", "control")["spec"]["ingress"]
    assert closed["from"] == [gateway]
    assert opened["from"] == [gateway] + [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in ("ingress-nginx", "monitoring")
    ]


def test_the_ingress_leads_to_the_gateways_api_alone() -> None:
    found = objects(EVERYTHING)
    [ingress] = of_kind(found, "Ingress")
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (path["path"], path["backend"]["service"]["name"]) == ("/v1", "demo-loraloop-gateway")


# Secrets and refusals


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
        "gateway": {"LORALOOP_APP_KEY", "LORALOOP_INTERNAL_KEY"},
        "control": {"LORALOOP_OPS_KEY", "LORALOOP_INTERNAL_KEY", "LORALOOP_NOTIFY_URLS", "LORALOOP_JUDGE_KEY"},
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
        (
            {"servingEngineSpec": {"modelSpec": [ENGINE | {"name": "a", "replicaCount": 2}]}},
            "add another modelSpec entry",
        ),
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


# Processes


def test_gateway_and_control_run_one_image_on_one_config() -> None:
    for component, pod in pods({"image": {"repository": "mine/loraloop", "tag": "9"}}):
        if component == "engine":
            continue
        [container] = pod["containers"]
        assert container["image"] == "mine/loraloop:9"
        assert container["command"] == ["loraloop", component, "--config", "/etc/loraloop/loraloop.yaml"]
        assert {"name": "config", "configMap": {"name": "demo-loraloop-config"}} in pod["volumes"]


def test_the_processes_find_each_other_by_service_name() -> None:
    found = {component: environment(pod["containers"][0]) for component, pod in pods({})}
    services = {each["metadata"]["name"] for each in of_kind(objects({}), "Service")}
    assert found["gateway"]["LORALOOP_GATEWAY__LISTEN"] == "0.0.0.0:8080"
    assert found["control"]["LORALOOP_CONTROL__LISTEN"] == "0.0.0.0:8081"
    for component in ("gateway", "control"):
        assert found[component]["LORALOOP_DATA"] == "/data"
        assert found[component]["LORALOOP_GATEWAY__CONTROL_URL"] == "http://demo-loraloop-control:8081"
        assert json.loads(found[component]["LORALOOP_ENGINE__URLS"]) == ["http://demo-loraloop-engine-base:8090"]
    assert services == {"demo-loraloop-gateway", "demo-loraloop-control", "demo-loraloop-engine-base"}


def test_the_config_reaches_its_file_unchanged() -> None:
    model = {
        "task": "classify",
        "labels": ["no", "yes"],
        "retrain": {"schedule": "0 3 * * *", "min_new_feedback": 1_000_000},
        "promotion": {"floors": {"accuracy": 0.6}, "mode": "auto"},
    }
    written = config_file({"config": {"models": {"reviews": model, "spam": {"labels": ["no", "yes"]}}}})
    assert written["models"]["reviews"] == model
    assert written["engine"] == yaml.safe_load((CHART / "values.yaml").read_text())["config"]["engine"]


def test_the_example_model_goes_when_it_is_set_to_null() -> None:
    written = config_file({"config": {"models": {"reviews": None, "spam": {"labels": ["no", "yes"]}}}})
    assert list(written["models"]) == ["spam"]


@pytest.mark.parametrize("component", ["gateway", "control"])
def test_loraloop_accepts_the_config_and_environment_of_each_process(
    component: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = loaded_settings(component, {}, tmp_path, monkeypatch)
    assert settings.data == Path("/data")
    assert settings.control_url == "http://demo-loraloop-control:8081"
    assert settings.engine_urls == ["http://demo-loraloop-engine-base:8090"]
    assert settings.gateway.listen == ("0.0.0.0:8080" if component == "gateway" else "127.0.0.1:8080")
    assert settings.control.listen == ("0.0.0.0:8081" if component == "control" else "127.0.0.1:8081")
    # Control hands vLLM paths of adapters: both sides have to see them under one path.
    assert str(settings.adapters) == "/data/adapters"


def test_a_gateways_name_lives_as_long_as_its_spool() -> None:
    def name(values: dict[str, Any]) -> dict[str, Any]:
        [container] = the(values, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"]
        return next(each for each in container["env"] if each["name"] == "LORALOOP_GATEWAY__NAME")

    # A new pod with the old name would start its segments at 1 again, which control has already counted.
    assert name({})["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert name(DURABLE)["value"] == "demo-loraloop-gateway"


def test_a_changed_config_restarts_gateway_and_control_but_no_engine() -> None:
    def annotations(values: dict[str, Any]) -> dict[str, Any]:
        workloads = [each for each in objects(values) if "template" in each.get("spec", {})]
        return {
            each["metadata"]["labels"][LABEL]: each["spec"]["template"]["metadata"].get("annotations")
            for each in workloads
        }

    before, after = annotations({}), annotations({"config": {"models": {"reviews": {"labels": ["no", "yes"]}}}})
    assert {component for component in before if before[component] != after[component]} == {
        "gateway",
        "control",
    }


def test_control_is_one_pod_with_a_volume_of_its_own() -> None:
    spec = the({}, "StatefulSet", "control")["spec"]
    assert spec["replicas"] == 1
    [claim] = spec["volumeClaimTemplates"]
    mounts = spec["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/data"} in mounts


@pytest.mark.parametrize(("values", "claim"), [({}, "demo-loraloop-adapters"), (DURABLE, "shared")])
def test_control_writes_the_adapters_that_engines_only_read(values: dict[str, Any], claim: str) -> None:
    read_only = {}
    for component, pod in pods(values):
        if component == "gateway":
            continue
        assert {"name": "adapters", "persistentVolumeClaim": {"claimName": claim}} in pod["volumes"]
        [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "adapters"]
        assert mount["mountPath"] == "/data/adapters"
        read_only[component] = mount["readOnly"]
    assert read_only == {"control": False, "engine": True}


def test_adapters_and_unshipped_feedback_outlive_an_uninstall() -> None:
    claims = of_kind(objects({}), "PersistentVolumeClaim") + of_kind(objects(DURABLE), "PersistentVolumeClaim")
    assert [each["metadata"]["name"] for each in claims] == ["demo-loraloop-adapters", "demo-loraloop-spool"]
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in claims)


def test_the_spool_is_an_unlimited_emptydir_or_a_claim_with_one_writer() -> None:
    def data_volume(values: dict[str, Any]) -> dict[str, Any]:
        volumes = the(values, "Deployment", "gateway")["spec"]["template"]["spec"]["volumes"]
        return next(each for each in volumes if each["name"] == "data")

    assert data_volume({}) == {"name": "data", "emptyDir": {}}
    assert data_volume(DURABLE) == {
        "name": "data",
        "persistentVolumeClaim": {"claimName": "demo-loraloop-spool"},
    }
    assert the(DURABLE, "Deployment", "gateway")["spec"]["strategy"] == {"type": "Recreate"}


def test_autoscaling_takes_the_replica_count_over() -> None:
    assert "replicas" not in the(EVERYTHING, "Deployment", "gateway")["spec"]
    scaler = the(EVERYTHING, "HorizontalPodAutoscaler", "gateway")["spec"]
    assert scaler["scaleTargetRef"]["name"] == the(EVERYTHING, "Deployment", "gateway")["metadata"]["name"]


# Engines


@pytest.mark.parametrize("engine", [{}, {"max_loras": 20, "max_lora_rank": 32, "extra_args": ["--seed", "7"]}])
def test_an_engine_starts_as_loraloop_up_starts_it(
    engine: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"config": {"base_model": "/models/other", "engine": engine}}
    settings = loaded_settings("control", values, tmp_path, monkeypatch)
    ours = settings.engine.model_copy(update={"listen": "0.0.0.0:8090"})
    _, *expected = serve.engines.process.command(ours, Path("/models/other"), "other")
    [container] = the(values, "Deployment", "engine")["spec"]["template"]["spec"]["containers"]
    assert container["command"][0] == "python"
    assert container["command"][1:] + container["args"] == expected
    # How cores are bound is the node's business; all else in its environment is the same.
    switches = {k: v for k, v in serve.engines.process.environment(ours).items() if k not in os.environ}
    switches.pop("VLLM_CPU_OMP_THREADS_BIND", None)
    assert switches.items() <= environment(container).items()


def test_each_model_spec_is_an_engine_with_a_url_of_its_own() -> None:
    [control] = [pod for component, pod in pods(EVERYTHING) if component == "control"]
    urls = json.loads(environment(control["containers"][0])["LORALOOP_ENGINE__URLS"])
    assert urls == ["http://demo-loraloop-engine-a:8090", "http://demo-loraloop-engine-b:8090"]
    first, second = (
        each["spec"]["template"]["spec"]["containers"][0]
        for each in of_kind(objects(EVERYTHING), "Deployment", "engine")
    )
    assert first["args"][first["args"].index("--dtype") + 1] == "float16"
    assert first["args"][first["args"].index("--max-model-len") + 1] == "8192"
    assert first["args"][-2:] == ["--gpu-memory-utilization", "0.8"]
    assert first["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in second["resources"]["limits"]
    assert environment(second)["VLLM_LOGGING_LEVEL"] == "DEBUG"


def test_external_engines_render_no_engine() -> None:
    found = objects(EXTERNAL)
    assert [each["kind"] for each in found if each["metadata"]["labels"][LABEL] == "engine"] == []
    for _, pod in pods(EXTERNAL):
        assert json.loads(environment(pod["containers"][0])["LORALOOP_ENGINE__URLS"]) == EXTERNAL["externalEngines"]


def test_the_base_model_volume_is_read_only_where_it_is_mounted() -> None:
    mount = {"name": "base-model", "mountPath": "/models", "readOnly": True}
    mounted = {component: mount in pod["containers"][0]["volumeMounts"] for component, pod in pods(EVERYTHING)}
    assert mounted == {"gateway": False, "control": True, "engine": True}


# Signals


def test_the_service_monitor_scrapes_gateway_and_control() -> None:
    [monitor] = of_kind(objects(EVERYTHING), "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    [chosen] = monitor["spec"]["selector"]["matchExpressions"]
    assert (chosen["key"], chosen["values"]) == (LABEL, ["gateway", "control"])
    [endpoint] = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("http", "/metrics")
    shown = endpoint["authorization"]["credentials"]
    for component in ("gateway", "control"):  # metrics want a key that both of them hold
        held = [each for name, pod in pods(EVERYTHING) if name == component for each in pod["containers"][0]["env"]]
        assert shown in [each.get("valueFrom", {}).get("secretKeyRef") for each in held]


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


def test_the_notes_give_three_commands() -> None:
    notes = render(SECRET)["loraloop/templates/NOTES.txt"]
    assert [line.split()[0] for line in notes.splitlines() if line.startswith("   ")] == [
        "kubectl",
        "kubectl",
        "curl",
    ]
    assert "WARNING" not in notes
    assert "WARNING" in render(SECRET | {"networkPolicy": {"enabled": False}})["loraloop/templates/NOTES.txt"]


# Documentation


def test_the_readme_lists_every_top_level_value_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (CHART / "README.md").read_text(), flags=re.MULTILINE)
    assert listed == list(yaml.safe_load((CHART / "values.yaml").read_text()))


def test_every_value_has_a_comment_above_it() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    # What stands below these names is Kubernetes' own vocabulary.
    foreign = re.compile(r"^\s*(requests|limits|value):")
    bare = [
        line
        for above, line in itertools.pairwise(lines)
        if re.match(r"^\s*(- )?\w+:", line) and not foreign.match(line) and not above.strip().startswith("#")
    ]
    assert bare == []


def test_the_schema_is_strict_about_all_that_is_the_charts_own() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)

    def lax(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "properties" in node and node.get("additionalProperties") is not False:
                yield path
            for key, below in node.items():
                yield from lax(below, f"{path}/{key}")

    # `config` is LoraLoop's own file: its keys are checked by LoraLoop, at start.
    assert list(lax(schema, "")) == ["/properties/config", "/properties/config/properties/engine"]


def test_the_schema_knows_exactly_the_values_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    # `global` is Helm's: it appears when the chart is a part of another.
    assert set(schema["properties"]) - {"global"} == set(yaml.safe_load((CHART / "values.yaml").read_text()))
