"""Renders the Helm chart in-process and reads the Kubernetes objects that it makes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from core.settings import Settings, load

CHART = Path(__file__).parents[2] / "charts" / "loraloop"
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
GPU_CONFIG = {
    "dtype": "float16",
    "maxModelLen": 8192,
    "tensorParallelSize": 2,
    "gpuMemoryUtilization": 0.8,
    "extraArgs": ["--seed", "7"],
}
EVERYTHING: dict[str, Any] = {
    "imagePullSecrets": [{"name": "pull"}],
    "nodeSelector": {"kubernetes.io/hostname": "one"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "baseModelVolume": {"existingClaim": "weights"},
    "gateway": {"autoscaling": {"enabled": True}, "podDisruptionBudget": {"enabled": True}},
    "servingEngineSpec": {
        "modelSpec": [
            {"name": "a", "requestGPU": 2, "vllmConfig": GPU_CONFIG, **ENGINE},
            {"env": [{"name": "VLLM_LOGGING_LEVEL", "value": "DEBUG"}], **ENGINE, "name": "b", "replicaCount": 2},
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
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
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
