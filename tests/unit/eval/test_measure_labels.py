"""Facts about scoring: what becomes of scores that are missing, and of labels of many words."""

import json
import math

import httpx
import numpy as np
import pytest

from core.errors import AmbiguousLabels
from core.prompts import Chat, Text
from eval.arm_definitions import Arm, Item
from eval.engine_queries import EngineContext, QueryRunner
from eval.measure.labels import Labels, score_labels
from serve.engines.control_client import VllmClient
from serve.engines.fake import CONTEXT, FakeEngine

ARMS = [Arm("base", "base"), Arm("candidate", "m-1")]


def items(count: int) -> list[Item]:
    return [Item(str(n), f"u{n % 3}", Chat((("user", f"text {n}"),)), n % 2) for n in range(count)]


def asker(engine: FakeEngine) -> EngineContext:
    client = VllmClient("http://engine", transport=engine.transport())
    return EngineContext(QueryRunner(client, concurrency=4), "base")


def test_all_arms_are_scored_on_the_same_items():
    engine = FakeEngine(adapters={"m-1": "/m"})
    asked = asker(engine)
    found = score_labels(asked, ARMS, items(6), Labels(asked, ["yes", "no"]), latency_items=2)
    assert found["base"].probabilities.shape == (6, 2)
    assert found["base"].probabilities.sum(1) == pytest.approx(1)
    assert not np.allclose(found["base"].probabilities, found["candidate"].probabilities)
    assert len(found["candidate"].latency_ms) == 2
    scored = [body for path, body in engine.requests if path == "/v1/chat/completions"]
    assert len(scored) == 6 * 2 + 2 * 2


def test_timed_requests_never_find_their_prompt_in_the_prefix_cache():
    engine = FakeEngine(adapters={"m-1": "/m"})
    asked = asker(engine)
    salts = []
    for _ in range(2):
        engine.requests.clear()
        score_labels(asked, ARMS, items(6), Labels(asked, ["yes", "no"]), latency_items=2)
        bodies = [body for path, body in engine.requests if path == "/v1/chat/completions"]
        assert [body["model"] for body in bodies if "cache_salt" in body] == ["base", "m-1"] * 2
        salts.append({body["cache_salt"] for body in bodies if "cache_salt" in body})
    assert len(salts[0]) == 1
    assert not salts[0] & salts[1]


def test_labels_that_begin_alike_take_a_second_look_after_their_beginning():
    engine = FakeEngine()
    asked = asker(engine)
    labels = Labels(asked, ["very good", "very bad", "fine"])
    for prompt, begun in ((Chat((("user", "so"),)), "very"), (Text("so"), " very")):
        engine.requests.clear()
        (found,) = score_labels(asked, ARMS[:1], [Item("1", "u", prompt, 0)], labels).values()
        assert found.probabilities.sum() == pytest.approx(1)
        bodies = [body for path, body in engine.requests if path == "/v1/chat/completions"]
        assert sorted(len(body["logprob_token_ids"]) for body in bodies) == [2, 2]
        last = max(bodies, key=lambda body: len(str(body["messages"])))
        assert last["messages"][-1]["content"].endswith(begun)
        assert bool(last.get("continue_final_message")) is isinstance(prompt, Chat)


def test_labels_that_the_engine_cannot_part_are_refused():
    asked = asker(FakeEngine())
    with pytest.raises(AmbiguousLabels, match="same tokens"):
        Labels(asked, ["very  good", "very good"]).queries("base", Text("x"))


def engine_that_scores(values: dict[int, float]) -> VllmClient:
    """Leaves tokens without a value out, as vLLM does with what it has no score of."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if request.url.path == "/tokenize":
            return httpx.Response(200, json={"tokens": [{"yes": 1, "no": 2}[body["prompt"].strip()]]})
        listed = [{"token": f"token_id:{token}", "logprob": value} for token, value in values.items()]
        content = {"logprobs": {"content": [{"top_logprobs": listed}]}}
        return httpx.Response(200, json={"choices": [content], "usage": {"prompt_tokens": 1}})

    return VllmClient("http://engine", transport=httpx.MockTransport(answer))


def test_a_label_without_a_score_is_never_the_answer():
    asked = EngineContext(QueryRunner(engine_that_scores({2: -5.0}), concurrency=1), "base")
    (found,) = score_labels(asked, ARMS[:1], items(2), Labels(asked, ["yes", "no"])).values()
    assert found.probabilities.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert found.mass == pytest.approx(math.exp(-5))


def test_an_item_without_any_score_is_answered_wrong_and_not_dropped():
    asked = EngineContext(QueryRunner(engine_that_scores({1: -9999.0, 2: -9999.0}), concurrency=1), "base")
    (found,) = score_labels(asked, ARMS[:1], items(4), Labels(asked, ["yes", "no"])).values()
    assert (found.probabilities.argmax(1) != [item.truth for item in items(4)]).all()
    assert found.probabilities.sum(1) == pytest.approx(1)
    assert found.mass.tolist() == [0.0] * 4


@pytest.mark.parametrize("labels", [["yes", "no"], ["very good", "very"]])
def test_an_item_whose_prompt_is_refused_is_answered_wrong_and_timed_for_no_arm(labels: list[str]):
    engine = FakeEngine(adapters={"m-1": "/m"})
    asked = asker(engine)
    some = items(10) + items(40)[20:]
    long = Chat((("user", "example " * CONTEXT),))
    longer = Arm("rag", "base", lambda prompt: long if prompt == some[1].prompt else prompt)
    found = score_labels(asked, [*ARMS, longer], some, Labels(asked, labels), latency_items=4)
    assert found["rag"].mass[1] == 0 and found["rag"].probabilities[1].argmax() != some[1].truth
    assert (found["base"].mass > 0).all() and (np.delete(found["rag"].mass, 1) > 0).all()
    assert [len(arm.latency_ms) for arm in found.values()] == [3, 3, 3]
