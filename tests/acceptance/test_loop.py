"""The whole loop with the real engine and the real trainer; the tests run in this order."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import NOISE, WAVE
from tools.live_stack import LiveStack, texts
from tools.tiny_model import LABELS

pytestmark = pytest.mark.integration


def test_feedback_alone_brings_a_better_adapter_into_service(running: LiveStack):
    before = running.simulate_users("notes", texts(WAVE, 1, users=400), labels=True)
    assert {answer.version for answer in before} == {0}

    def begun() -> bool:
        rows = running.decisions("notes")
        assert not rows or rows[0]["verdict"] == "canary_started", rows[0]["reason"]
        return running.model("notes")["canary"] is not None

    running.wait(begun, "a canary")

    def promoted() -> bool:
        return any(row["verdict"] == "promoted" for row in running.decisions("notes"))

    during = []
    for seed in range(2, 8):
        during += running.simulate_users("notes", texts(300, seed), labels=False, until=promoted)
        if promoted():
            break
    assert {answer.version for answer in during} == {0, 1}
    # Almost nobody asked during the holdback, so it compared nobody.
    running.wait(lambda: running.decisions("notes")[-1]["verdict"] == "inconclusive", "the end of the holdback")
    assert "users in the smaller arm; approval is compared from" in running.decisions("notes")[-1]["reason"]

    def alone() -> bool:  # the ledger has the entry a moment before gateways have the table
        return {answer.version for answer in running.simulate_users("notes", texts(20, 98), labels=False)} == {1}

    running.wait(alone, "the new champion for everyone")
    after = running.simulate_users("notes", texts(120, 99), labels=False)
    assert {answer.version for answer in after} == {1}
    assert share(after) > share(before) + 0.3
    verdicts = [row["verdict"] for row in running.decisions("notes")]
    assert verdicts == ["canary_started", "promoted", "switched", "inconclusive"]


def share(answers: list) -> float:
    return sum(answer.right for answer in answers) / len(answers)


def test_a_promotion_says_on_what_data_and_evidence(running: LiveStack):
    row = next(row for row in running.decisions("notes") if row["verdict"] == "promoted")
    found = running.control.get(f"/api/promotions/{row['id']}")
    arms = found["evidence"]["arms"]
    assert arms["candidate"]["macro_f1"]["value"] > arms["champion"]["macro_f1"]["value"]
    assert set(arms) == {"base", "rag", "champion", "candidate"}
    assert found["lineage"]["rows"]["train"] > 100
    assert len(found["lineage"]["adapter_sha256"]) == 64
    for name in ("base_sha256", "parent", "snapshot", "by_signal", "cost", "training"):
        assert found["lineage"][name]
    rows = {row["kpi"]: row for row in found["evidence"]["kpis"]}
    assert rows["macro_f1"]["difference"] > 0 and rows["macro_f1"]["checks"][0]["verdict"] == "pass"
    assert found["gate_code"] and found["live"]["latency"]["canary"]["p95_ms"] > 0
    assert found["looks"]
    assert running.control.get("/api/ledger")["ok"]


def test_the_promotions_page_has_it(running: LiveStack):
    page = httpx.get(f"{running.settings.control_url}/promotions.json", headers=running.bearer("ops")).text
    assert "notes" in page
    assert "promoted" in page


def test_control_counts_it_for_prometheus(running: LiveStack):
    page = httpx.get(f"{running.settings.control_url}/metrics", headers=running.bearer("ops")).text
    assert 'loraloop_decisions{model="notes",verdict="promoted"} 1.0' in page
    assert "loraloop_engine_ready" in page


def test_feedback_that_teaches_nothing_promotes_nothing(running: LiveStack):
    rng = random.Random(5)
    shuffled = [(user, text, rng.choice(LABELS)) for user, text, _ in texts(NOISE, 50, users=NOISE)]
    running.simulate_users("noise", shuffled, labels=True)

    def judged() -> list:
        return [row for row in running.decisions("noise") if row["run_id"]]

    row = running.wait(judged, "a decision")[0]
    assert row["verdict"] in ("kept", "inconclusive")
    assert row["reason"]
    assert running.model("noise")["champion"] == 0


def test_a_rollback_under_load_fails_no_request(running: LiveStack):
    asked = texts(400, 60)
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(running.simulate_users, "notes", asked, labels=False)
        time.sleep(1)
        switch = running.control.post("/api/models/notes/rollback", {"actor": "test", "comment": "drill"})
        answers = load.result()
    assert len(answers) == len(asked)
    assert {answer.version for answer in answers} == {0, 1}
    assert switch["complete"]
    last = running.decisions("notes")[-1]
    assert last["verdict"] == "switched"
    running.control.post("/api/models/notes/rollback", {"actor": "test", "comment": "undo", "to": 1})
    assert running.model("notes")["champion"] == 1
    assert switch["quarantine"]["id"] is None  # a drill holds no vote: none was a burst or contradicted by others
    assert "loraloop quarantine hold --model notes" in switch["quarantine"]["reason"]


@pytest.mark.parametrize("victim", ["control", "gateway"])
def test_no_acknowledged_vote_is_lost_when_a_process_is_killed(running: LiveStack, victim: str):
    known = count(running)
    acknowledged: list[str] = []
    stop = threading.Event()

    def keep_voting(seed: int) -> None:
        for user, text, label in texts(2000, seed):
            if stop.is_set():
                return
            try:
                acknowledged.extend(running.vote(running.ask("notes", user, text, label)))
            except Exception:
                time.sleep(0.2)  # not acknowledged: the gateway is being restarted

    with ThreadPoolExecutor(4) as pool:
        for seed in range(4):
            pool.submit(keep_voting, 1000 + seed)
        try:
            running.wait(lambda: len(acknowledged) > 20, "votes before the kill")
            running.child(victim).kill()
            before = len(acknowledged)
            running.wait(lambda: len(acknowledged) > before + 20, "votes after the kill")
            running.wait(lambda: healthy(running), "recovery")
        finally:
            stop.set()
    running.wait(lambda: count(running) >= known + len(acknowledged), "every acknowledged vote")
    time.sleep(1)
    # A vote whose acknowledgement was cut off may be in the store as well; no vote is there twice.
    assert known + len(acknowledged) <= count(running) <= known + len(acknowledged) + 4


def count(running: LiveStack) -> int:
    return sum(row["n"] for row in running.control.get("/api/feedback"))


def healthy(running: LiveStack) -> bool:
    try:
        urls = (f"{running.gateway}/ready", f"{running.settings.control_url}/ready")
        return all(httpx.get(url).status_code == 200 for url in urls)
    except httpx.HTTPError:
        return False


def test_adapters_come_back_after_the_engine_is_killed(running: LiveStack):
    running.child("vllm").kill()
    running.wait(lambda: not healthy(running), "the engine's end")
    running.wait(lambda: healthy(running), "recovery")
    answers = running.simulate_users("notes", texts(60, 70), labels=False)
    assert {answer.version for answer in answers} == {1}
    assert share(answers) > 0.6
