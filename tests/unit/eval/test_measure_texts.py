"""Facts about answers in words: what is timed of them, and what a refused prompt is worth."""

import numpy as np

from core.prompts import Chat
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, QueryRunner
from eval.kpis.bootstrap import BootstrapPlan
from eval.measure.texts import compare_texts, write_answers
from serve.engines.control_client import VllmClient
from serve.engines.fake import CONTEXT, FakeEngine

ARMS = [Arm("champion", "base"), Arm("candidate", "m-1")]


def asker(engine: FakeEngine) -> EngineContext:
    client = VllmClient("http://engine", transport=engine.transport())
    return EngineContext(QueryRunner(client, concurrency=4), "base")


def items(count: int) -> list[tuple[Chat, str]]:
    return [(Chat((("user", f"text {n}"),)), f"base heard text {n}") for n in range(count)]


def test_the_first_token_is_timed_apart_on_the_same_prompts_and_finds_none_of_them_in_the_prefix_cache():
    engine = FakeEngine(adapters={"m-1": "/m"})
    written = write_answers(asker(engine), ARMS, items(5), max_tokens=9, latency_items=3)
    timed = [body for _, body in engine.requests if "cache_salt" in body]
    whole, first = timed[:6], timed[6:]
    assert [body["max_tokens"] for body in whole] == [9] * 6 and [body["max_tokens"] for body in first] == [1] * 6
    assert [body["messages"] for body in whole] == [body["messages"] for body in first]
    assert [body["model"] for body in first] == ["base", "m-1"] * 3
    assert not {body["cache_salt"] for body in whole} & {body["cache_salt"] for body in first}
    users = np.arange(5)
    found = compare_texts(users, written, BootstrapPlan(0.05, 100))
    for arm, one in written.items():
        assert found.arms[arm]["p50_first_token_ms"].value == np.median(one.first_ms) > 0


def test_what_was_not_timed_has_no_time_to_the_first_token():
    written = write_answers(asker(FakeEngine(adapters={"m-1": "/m"})), ARMS, items(5), max_tokens=9)
    found = compare_texts(np.arange(5), written, BootstrapPlan(0.05, 100))
    assert "p50_first_token_ms" not in found.arms["candidate"]


def test_a_refused_prompt_is_answered_with_nothing():
    long = (Chat((("user", "word " * CONTEXT),)), "fine")
    written = write_answers(asker(FakeEngine(adapters={"m-1": "/m"})), ARMS, [*items(30), long], max_tokens=9)
    assert written["champion"].texts[-1] == "" and written["champion"].scores["token_f1"].tolist() == [1.0] * 30 + [0.0]
