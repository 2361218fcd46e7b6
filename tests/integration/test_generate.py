"""Facts about a model that generates, with the real engine: corrections train it, and a run survives a kill."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from core.errors import Unreachable
from core.prompts import Chat
from eval.engine_queries import BATCH
from serve.engines.control_client import VllmClient
from tests.support.chart import CHART
from tools.live_stack import LiveStack, texts

pytestmark = pytest.mark.integration

USERS = 280
PROMPT = Chat((("user", "the phone is lovely"),))


@pytest.fixture(scope="module")
def decision(running: LiveStack) -> dict[str, Any]:
    """What the ledger says of a run whose control was killed in the middle of its evaluation."""
    with (
        httpx.Client(base_url=running.gateway, headers=running.bearer("app"), timeout=60) as http,
        ThreadPoolExecutor(12) as pool,
    ):
        list(pool.map(lambda said: teach(http, *said), texts(USERS, 7, users=USERS)))
    running.wait(lambda: heard(running, "preference") == USERS, "every vote")
    running.control.post("/api/models/replies/retrain", {"actor": "test"})
    run = running.wait(lambda: evaluating(running), "an evaluation")
    control, before = running.child("control"), answered(running)
    running.wait(lambda: answered(running) - before > 3 * BATCH, "the middle of it")
    os.kill(control.pid, signal.SIGKILL)
    running.wait(lambda: decided(running), "a decision")
    assert running.child("control").pid != control.pid
    (row,) = decided(running)
    steps = running.control.get(f"/api/runs/{run['id']}")["steps"]
    return {"run": run, "asked": answered(running) - before, "steps": steps} | running.control.get(
        f"/api/promotions/{row['id']}"
    )


def teach(http: httpx.Client, user: str, text: str, label: str) -> None:
    """One user asks the same twice, likes the first answer better, and says what it should have been."""
    asked = {
        "model": "replies",
        "messages": [{"role": "user", "content": text}],
        "user": user,
        "max_tokens": 1,
        "temperature": 1,
    }
    first, second = (http.post("/v1/chat/completions", json=asked).raise_for_status().json()["id"] for _ in "ab")
    said = [
        {"type": "correction", "interaction_id": first, "value": label, "user": user},
        {"type": "preference", "value": {"chosen": first, "rejected": second}, "user": user},
    ]
    http.post("/v1/feedback", json=said).raise_for_status()


def heard(running: LiveStack, kind: str) -> int:
    return sum(row["n"] for row in running.control.get("/api/feedback") if row["type"] == kind)


def evaluating(running: LiveStack) -> dict[str, Any] | None:
    found = running.control.get("/api/runs", model="replies")
    return next((row for row in found if row["state"] == "evaluating"), None)


def decided(running: LiveStack) -> list[dict[str, Any]]:
    """The rows of the run, once it is over; none while control is away."""
    try:
        found = [row for row in running.decisions("replies") if row["run_id"]]
    except Unreachable:
        return []
    return found


def answered(running: LiveStack) -> int:
    """How many requests the engine has answered since it began."""
    lines = httpx.get(f"{running.settings.engine_urls[0]}/metrics").text.splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("vllm:request_success_total"))


def test_corrections_promote_an_adapter_that_answers_as_users_would(decision: dict[str, Any], running: LiveStack):
    assert decision["verdict"] == "promoted", decision["reason"]
    arms = decision["evidence"]["arms"]
    assert arms["candidate"]["token_f1"]["value"] > arms["champion"]["token_f1"]["value"] + 0.3
    assert decision["lineage"]["by_signal"]["correction"]["rows"] > 200
    _, text, label = texts(1, 8)[0]
    assert running.model("replies")["champion"] == 1
    asked = {"model": "replies", "messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0}
    said = httpx.post(f"{running.gateway}/v1/chat/completions", json=asked, headers=running.bearer("app"), timeout=60)
    assert said.json()["choices"][0]["message"]["content"] in ("bad", "fine", "good"), (text, label)


def test_every_metric_of_the_engines_dashboard_is_on_a_running_engines_page(
    decision: dict[str, Any], running: LiveStack
):
    dashboard = (CHART / "dashboards" / "loraloop-engines.json").read_text(encoding="utf-8")
    page = httpx.get(f"{running.settings.engine_urls[0]}/metrics").text
    exported = {re.split(r"[{ ]", line)[0] for line in page.splitlines()}
    assert set(re.findall(r"vllm:\w+", dashboard)) <= exported


def test_preferences_thumbs_and_drift_are_measured_or_said_to_be_missing(decision: dict[str, Any]):
    suites = decision["evidence"]["suites"]
    assert suites["preference_accuracy"]["n"] >= 30 and not suites["preference_accuracy"]["missing"]
    assert set(suites["preference_accuracy"]["arms"]) == {"base", "champion", "candidate"}
    assert suites["thumbs_auc"]["missing"] == "the holdout has no thumbs"
    drift = suites["kl_to_base"]["arms"]["candidate"]
    assert 0.5 < drift["low"] < drift["value"] < drift["high"] < 50
    check = next(check for check in decision["evidence"]["gate"] if check["name"] == "guardrail kl_to_base")
    assert check["outcome"] == "pass" and check["value"] == pytest.approx(drift["value"])


def test_a_kill_in_the_middle_of_an_evaluation_is_one_decision_and_asks_little_twice(
    decision: dict[str, Any], running: LiveStack
):
    # The gateways' confirmation of the switch may follow at any time.
    rows = [row for row in running.decisions("replies") if row["run_id"] and row["verdict"] != "switched"]
    assert [(row["verdict"], row["run_id"]) for row in rows] == [("promoted", decision["run"]["id"])]
    assert decision["evidence"]["holdout_use"] == 1
    # Every batch of queries ends once; only queries outside a stored batch are sent again.
    batches = [
        step["total"] for step in decision["steps"] if step["phase"] == "evaluating" and step["done"] == step["total"]
    ]
    assert sum(batches) > 4 * BATCH
    assert decision["asked"] < sum(batches) + 2 * BATCH


def test_an_adapters_likelihoods_are_those_of_its_own_tokens(decision: dict[str, Any], running: LiveStack):
    client = VllmClient(running.settings.engine_urls[0])
    base = next(name for name in client.models() if "@" not in name)
    adapter = next(name for name in client.models() if name.startswith("replies@1"))
    good, phone = (client.first_token(base, word) for word in ("good", "phone"))
    for name in (base, adapter):
        with ThreadPoolExecutor(8) as pool:  # prompts of base and adapter in one batch, as in an evaluation
            others = [pool.submit(client.follow, other, PROMPT, (phone, good)) for other in (base, adapter) * 8]
            found = client.follow(name, PROMPT, (good, phone, good))
            assert len({one.result().logprobs for one in others}) >= 2
        assert found.logprobs[0] == pytest.approx(client.score(name, PROMPT, [good]).logprobs[0], abs=1e-3)
        after = client.score(name, PROMPT, [phone], "good").logprobs[0]
        assert found.logprobs[1] == pytest.approx(after, abs=1e-3)
    drawn = client.sample(adapter, PROMPT, max_tokens=30, seed=1)
    assert len(drawn.ids) == drawn.tokens and drawn.ids[-1] == 1  # the end is a token of the answer
    assert client.sample(adapter, PROMPT, max_tokens=30, seed=1).ids == drawn.ids
    assert len({client.sample(base, PROMPT, max_tokens=8, seed=seed).ids for seed in range(5)}) > 1
    client.close()
