"""Facts about likelihoods: a mean over an answer's tokens, and a divergence that agrees with the exact one."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.db.store import Store
from core.errors import EngineError
from core.prompts import Chat, Text
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, QueryRunner, ReplyCache
from eval.kpis.bootstrap import BootstrapPlan
from eval.measure.likelihood import KL_ITEMS, drift, kl_to_base, likelihoods
from serve.engines.control_client import VllmClient
from serve.engines.fake import CONTEXT, FakeEngine

ARMS = (Arm("base", "base"), Arm("candidate", "m@2.y"))
PROMPT = Chat((("system", "be kind"), ("user", "how are you")))


def fake(likes: Callable[[str, str], float]) -> FakeEngine:
    return FakeEngine(adapters={"m@2.y": "/2"}, likes=likes)


def asker(engine: FakeEngine, store: Store | None = None) -> EngineContext:
    client = VllmClient("http://engine", transport=engine.transport())
    cache = ReplyCache(store, "weights") if store else None
    return EngineContext(QueryRunner(client, concurrency=4, cache=cache), "base")


def test_a_likelihood_is_the_mean_over_the_answers_tokens_and_not_the_prompts() -> None:
    engine = fake(lambda model, word: {"fine": -1.0, "thanks": -2.0}.get(word, -50.0) * (1 + (model == "base")))
    answered = [(PROMPT, "fine thanks"), (PROMPT, "fine"), (Text("how are you"), "thanks"), (PROMPT, "")]
    found = likelihoods(asker(engine), ARMS, answered)
    assert found["candidate"].tolist()[:3] == [-1.5, -1.0, -2.0]
    assert found["base"].tolist()[:3] == [-3.0, -2.0, -4.0]
    assert np.isnan(found["base"][3]) and np.isnan(found["candidate"][3])


def test_an_arm_reads_the_answer_after_its_own_prompt() -> None:
    engine = fake(lambda model, word: -1.0)
    longer = Arm("rag", "base", lambda _: Chat((("user", "an example first"), ("user", "how are you"))))
    likelihoods(asker(engine), [longer], [(PROMPT, "fine")])
    asked = [
        [message["content"] for message in body["messages"]]
        for path, body in engine.requests
        if path == "/tokenize" and "messages" in body
    ]
    assert asked == [["an example first", "how are you"]]


def test_an_answered_query_is_not_sent_again() -> None:
    engine, store = fake(lambda model, word: -1.0), Store(":memory:")
    first = likelihoods(asker(engine, store), ARMS, [(PROMPT, "fine thanks")])
    _, tokens = drift(asker(engine, store), ARMS[1], [PROMPT], max_tokens=5, seed=0)
    asked = len([path for path, _ in engine.requests if path.startswith("/v1")])
    again = likelihoods(asker(engine, store), ARMS, [(PROMPT, "fine thanks")])
    assert again["base"].tolist() == first["base"].tolist()
    assert drift(asker(engine, store), ARMS[1], [PROMPT], max_tokens=5, seed=0)[1].tolist() == tokens.tolist()
    assert len([path for path, _ in engine.requests if path.startswith("/v1")]) == asked == 2 + 3
    store.close()


def test_an_answer_that_does_not_fit_is_read_as_far_as_it_does() -> None:
    engine = fake(lambda model, word: -1.0 if word == "a" else -9.0)
    client = VllmClient("http://engine", transport=engine.transport())
    long = Text(" ".join(["x"] * (CONTEXT - 3)))
    answer = client.tokens("base", "a a b b")
    assert client.follow("base", long, answer).logprobs == (-1.0, -1.0)
    assert client.follow("base", Text(long.text + " x x x"), answer).logprobs == ()


def test_a_token_without_a_chance_is_minus_infinity_and_not_a_small_number() -> None:
    engine = fake(lambda model, word: -9999.0)
    client = VllmClient("http://engine", transport=engine.transport())
    assert client.follow("base", PROMPT, client.tokens("base", "fine")).logprobs == (-math.inf,)


@pytest.mark.parametrize(
    ("lacking", "ask"),
    [
        ("prompt_logprobs", lambda client: client.follow("base", PROMPT, client.tokens("base", "so it is"))),
        ("token_ids", lambda client: client.sample("base", PROMPT, max_tokens=3, seed=0)),
    ],
)
def test_an_engine_that_leaves_scores_or_tokens_out_is_named(
    lacking: str, ask: Callable[[VllmClient], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = fake(lambda model, word: -1.0)
    complete = engine._complete

    def without(*asked: Any) -> tuple[int, Any]:
        status, body = complete(*asked)
        return status, body.replace(lacking.encode(), b"something_else")

    monkeypatch.setattr(engine, "_complete", without)
    client = VllmClient("http://engine", transport=engine.transport())
    with pytest.raises(EngineError, match="left out") as raised:
        ask(client)
    assert raised.value.hint


def test_a_candidate_draws_and_both_read_what_it_drew() -> None:
    engine = fake(lambda model, word: -0.5 if model == "m@2.y" else -2.0)
    engine.answer = lambda model, prompt: "so it is"
    sums, tokens = drift(asker(engine), ARMS[1], [PROMPT, Text("and you")], max_tokens=7, seed=3)
    assert sums.tolist() == [4.5, 4.5] and tokens.tolist() == [3, 3]
    drawn = [body for path, body in engine.requests if path == "/v1/chat/completions"]
    assert {body["model"] for body in drawn} == {"m@2.y"}
    for body in drawn:
        assert (body["temperature"], body["top_p"], body["top_k"], body["repetition_penalty"]) == (1, 1, 0, 1)
        assert body["seed"] == 3 and body["max_tokens"] == 7


def test_the_estimate_agrees_with_the_exact_divergence_of_two_token_distributions() -> None:
    rng = np.random.default_rng(1)
    ours, base = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(30))
    exact = float((ours * np.log(ours / base)).sum())
    answers = [rng.choice(30, size=rng.integers(1, 60), p=ours) for _ in range(KL_ITEMS)]
    sums = np.array([np.log(ours[answer] / base[answer]).sum() for answer in answers])
    tokens = np.array([len(answer) for answer in answers])
    found = kl_to_base(sums, tokens, np.arange(KL_ITEMS) // 2, BootstrapPlan(0.05, 2000))
    measure = found.arms["candidate"]
    assert exact > 0.3
    assert measure.value == pytest.approx(exact, rel=0.1)
    assert measure.low < exact < measure.high
    assert (found.n, found.users) == (KL_ITEMS, KL_ITEMS // 2)


def test_the_same_model_is_at_no_distance() -> None:
    engine = fake(lambda model, word: -1.0)
    sums, tokens = drift(asker(engine), ARMS[0], [PROMPT] * 5, max_tokens=5, seed=0)
    found = kl_to_base(sums, tokens, np.arange(5), BootstrapPlan(0.05, 200))
    assert found.arms["candidate"].value == 0.0


def test_answers_of_nothing_and_tokens_that_the_base_never_says_are_no_measurement() -> None:
    nothing = kl_to_base(np.zeros(3), np.zeros(3, dtype=np.int64), np.arange(3), BootstrapPlan(0.05, 200))
    assert nothing.missing == "the candidate's answers are empty"
    never = kl_to_base(np.array([1.0, np.inf]), np.array([3, 3]), np.arange(2), BootstrapPlan(0.05, 200))
    assert never.missing == "some answers have no likelihood"


def test_a_refused_prompt_has_no_drift_and_its_answer_no_likelihood() -> None:
    engine, longest = fake(lambda model, word: -1.0), Chat((("user", "word " * CONTEXT),))
    prompts = [Chat((("user", f"how are {n}"),)) for n in range(30)]
    _, tokens = drift(asker(engine), ARMS[1], [longest, *prompts], max_tokens=5, seed=0)
    assert tokens[0] == 0 and (tokens[1:] > 0).all()
    found = likelihoods(asker(engine), ARMS, [(longest, "fine"), *((one, "fine") for one in prompts)])
    assert [np.isnan(values).tolist() for values in found.values()] == [[True] + [False] * 30] * 2
