"""How the Helm chart runs gateway, control and engines."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

import serve.engines.process
from tests.support.chart import (
    CHART,
    DURABLE,
    EVERYTHING,
    EXTERNAL,
    LABEL,
    SECRET,
    config_file,
    environment,
    loaded_settings,
    objects,
    of_kind,
    pods,
    render,
    the,
)

ENGINE_URL = "http://demo-loraloop-engine-base-0.demo-loraloop-engine-base:8090"


def test_control_runs_the_image_that_can_train_and_the_gateway_the_slim_one() -> None:
    assert {component: pod["containers"][0]["image"] for component, pod in pods({})} == {
        "gateway": "loraloop/loraloop:0.1.0",
        "control": "loraloop/loraloop-trainer:0.1.0",
        "engine": "loraloop/loraloop-engine:0.1.0",
    }


def test_an_image_has_a_registry_a_tag_or_a_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    values = {
        "imageRegistry": "registry.example.org/mirror/",
        "image": {"repository": "mine/loraloop", "tag": "9"},
        "control": {"image": {"digest": digest}},
    }
    found = {component: pod["containers"][0]["image"] for component, pod in pods(values)}
    assert found["gateway"] == "registry.example.org/mirror/mine/loraloop:9"
    assert found["control"] == f"registry.example.org/mirror/loraloop/loraloop-trainer@{digest}"


def test_gateway_and_control_run_on_one_config() -> None:
    for component, pod in pods({}):
        if component == "engine":
            continue
        [container] = pod["containers"]
        assert container["command"] == ["loraloop", component, "--config", "/etc/loraloop/loraloop.yaml", "--watch"]
        assert {"name": "config", "configMap": {"name": "demo-loraloop-config"}} in pod["volumes"]


def test_the_processes_find_each_other_by_service_name() -> None:
    found = {component: environment(pod["containers"][0]) for component, pod in pods({})}
    services = {each["metadata"]["name"] for each in of_kind(objects({}), "Service")}
    assert found["gateway"]["LORALOOP_GATEWAY__LISTEN"] == "0.0.0.0:8080"
    assert found["control"]["LORALOOP_CONTROL__LISTEN"] == "0.0.0.0:8081"
    for component in ("gateway", "control"):
        assert found[component]["LORALOOP_DATA"] == "/data"
        assert found[component]["LORALOOP_GATEWAY__CONTROL_URL"] == "http://demo-loraloop-control:8081"
        assert json.loads(found[component]["LORALOOP_ENGINE__URLS"]) == [ENGINE_URL]
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
    assert settings.engine_urls == [ENGINE_URL]
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


def test_a_change_of_models_restarts_nothing_and_any_other_gateway_and_control() -> None:
    def annotations(values: dict[str, Any]) -> dict[str, Any]:
        workloads = [each for each in objects(values) if "template" in each.get("spec", {})]
        return {
            each["metadata"]["labels"][LABEL]: each["spec"]["template"]["metadata"].get("annotations")
            for each in workloads
        }

    before = annotations({})
    assert annotations({"config": {"models": {"reviews": {"labels": ["no", "yes"]}}}}) == before
    after = annotations({"config": {"gateway": {"workers": 2}}})
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


@pytest.mark.parametrize("engine", [{}, {"max_loras": 20, "max_lora_rank": 32, "extra_args": ["--seed", "7"]}])
def test_an_engine_starts_as_loraloop_up_starts_it(
    engine: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"config": {"base_model": "/models/other", "engine": engine}}
    settings = loaded_settings("control", values, tmp_path, monkeypatch)
    ours = settings.engine.model_copy(update={"listen": "0.0.0.0:8090"})
    _, *expected = serve.engines.process.command(ours, Path("/models/other"), "other")
    [container] = the(values, "StatefulSet", "engine")["spec"]["template"]["spec"]["containers"]
    assert container["command"][0] == "python3"
    assert container["command"][1:] + container["args"] == expected
    # How cores are bound is the node's business; all else in its environment is the same.
    switches = {k: v for k, v in serve.engines.process.environment(ours).items() if k not in os.environ}
    switches.pop("VLLM_CPU_OMP_THREADS_BIND", None)
    assert switches.items() <= environment(container).items()


def test_each_model_spec_is_an_engine_with_a_url_of_its_own() -> None:
    [control] = [pod for component, pod in pods(EVERYTHING) if component == "control"]
    urls = json.loads(environment(control["containers"][0])["LORALOOP_ENGINE__URLS"])
    assert urls == [
        f"http://demo-loraloop-engine-{pod}.demo-loraloop-engine-{pod[0]}:8090" for pod in ("a-0", "b-0", "b-1")
    ]
    first, second = (
        each["spec"]["template"]["spec"]["containers"][0]
        for each in of_kind(objects(EVERYTHING), "StatefulSet", "engine")
    )
    assert first["args"][first["args"].index("--dtype") + 1] == "float16"
    assert first["args"][first["args"].index("--max-model-len") + 1] == "8192"
    assert first["args"][first["args"].index("--gpu-memory-utilization") + 1] == "0.8"
    assert first["args"][first["args"].index("--tensor-parallel-size") + 1] == "2"
    assert first["args"][-2:] == ["--seed", "7"]
    assert first["resources"]["limits"]["nvidia.com/gpu"] == "2"
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


def test_the_notes_give_three_commands() -> None:
    claim = {"baseModelVolume": {"existingClaim": "weights"}}
    notes = render(SECRET | claim)["loraloop/templates/NOTES.txt"]
    assert [line.split()[0] for line in notes.splitlines() if line.startswith("   ")] == [
        "kubectl",
        "kubectl",
        "curl",
        "kubectl",
        "helm",
    ]
    assert "WARNING" not in notes and "STOPPED" not in notes
    opened = render(SECRET | claim | {"networkPolicy": {"enabled": False}})["loraloop/templates/NOTES.txt"]
    assert "WARNING: networkPolicy" not in notes and "networkPolicy.enabled is false" in opened
    assert "no claim has the base model" in render(SECRET)["loraloop/templates/NOTES.txt"]
    stopped = render(SECRET | {"backup": {"enabled": True, "restore": "a.tar"}})["loraloop/templates/NOTES.txt"]
    assert "CONTROL IS STOPPED" in stopped
