"""Facts about a retrieval version with a real engine: made from votes, served, rolled back, no request lost."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tools.live_stack import LiveStack, texts

pytestmark = pytest.mark.integration

MODEL, VOTES = "helped", 300


def ask(running: LiveStack, text: str) -> tuple[dict[str, Any], str]:
    """(the body of an answer, the version that gave it)."""
    body = {"model": MODEL, "user": "ada", "max_tokens": 1, "messages": [{"role": "user", "content": text}]}
    answer = httpx.post(f"{running.gateway}/v1/chat/completions", json=body, headers=running.bearer("app"), timeout=30)
    answer.raise_for_status()
    return answer.json(), answer.headers["x-loraloop-version"]


def test_a_retrieval_is_made_served_and_rolled_back_without_a_failed_request(running: LiveStack):
    own, version = ask(running, "the phone was lovely")
    assert version == f"{MODEL}@0"
    running.simulate_users(MODEL, texts(VOTES, 31, users=VOTES), labels=True)

    def voted() -> bool:
        rows = running.control.get("/api/feedback", model=MODEL)
        return any(row["type"] == "label" and row["n"] == VOTES for row in rows)

    running.wait(voted, "every vote")
    running.control.post(f"/api/models/{MODEL}/retrain", {"actor": "test", "comment": ""})
    row = running.wait(lambda: [row for row in running.decisions(MODEL) if row["run_id"]], "a decision")[0]
    found = running.control.get(f"/api/promotions/{row['id']}")
    assert set(found["evidence"]["arms"]) == {"base", "champion", "candidate"}, row["reason"]
    tokens = {arm: kpis["prompt_tokens"]["value"] for arm, kpis in found["evidence"]["arms"].items()}
    assert tokens["candidate"] > tokens["base"] + 10
    assert found["lineage"]["retrieval"]["entries"]["chat"] > 20
    kinds = [row["kind"] for row in running.control.get(f"/api/models/{MODEL}/versions")]
    assert kinds == ["base", "retrieval"]

    if running.model(MODEL)["champion"] != 1:  # a tiny model need not be helped
        running.control.post(f"/api/models/{MODEL}/promote", {"actor": "test", "comment": "drill", "version": 1})
    running.wait(lambda: ask(running, "the phone was lovely")[1] == f"{MODEL}@1", "the switch")
    helped, version = ask(running, "the phone was lovely")
    assert helped["usage"]["prompt_tokens"] > own["usage"]["prompt_tokens"] + 10
    page = f"{running.settings.control_url}/feedback/{helped['id']}.json"

    def stored() -> Any:
        answer = httpx.get(page, headers=running.bearer("ops"))
        return answer.json() if answer.status_code == 200 else None

    kept = running.wait(stored, "the interaction")["interaction"]
    assert kept["version"] == 1
    assert kept["prompt"] == [["user", "the phone was lovely"]]

    asked = texts(300, 32)
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(running.simulate_users, MODEL, asked, labels=False)
        time.sleep(1)
        switch = running.control.post(f"/api/models/{MODEL}/rollback", {"actor": "test", "comment": "drill"})
        answers = load.result()
    assert len(answers) == len(asked) and switch["complete"]
    assert {answer.version for answer in answers} == {0, 1}
    assert running.decisions(MODEL)[-1]["verdict"] == "switched"
    assert ask(running, "the phone was lovely")[0]["usage"] == own["usage"]
