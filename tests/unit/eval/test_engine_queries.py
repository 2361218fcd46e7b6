"""Facts about queries to engines: each is sent once, every answer is kept, and users' requests go first."""

import logging
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from core.db.store import Store
from core.errors import EngineDown, EngineError
from core.prompts import Chat, Text
from eval import engine_queries
from eval.engine_queries import ConcurrencyLimiter, Generate, Query, QueryRunner, ReplyCache, ScoreTokens, fair_limit
from serve.engines.control_client import VllmClient
from serve.engines.fake import CONTEXT, FakeEngine

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def queries(count: int, engine_name: str = "base") -> list[Query]:
    return [ScoreTokens(engine_name, Chat((("user", f"text {n}"),)), (3, 7)) for n in range(count)]


def runner(engine: FakeEngine, store: Store | None = None, about: str = "weights") -> QueryRunner:
    client = VllmClient("http://engine", transport=engine.transport())
    return QueryRunner(client, concurrency=4, cache=ReplyCache(store, about, lambda: NOW) if store else None)


def test_answers_come_in_the_order_of_the_queries():
    engine = FakeEngine()
    asked = queries(20)
    one_by_one = [runner(engine).run([question])[0] for question in asked]
    assert runner(engine).run(asked) == one_by_one
    assert len({answer.scores for answer in one_by_one}) > 10


def test_the_same_question_is_sent_once(store: Store):
    engine = FakeEngine()
    asked = [*queries(5), *queries(5)]
    first = runner(engine, store).run(asked)
    assert len(engine.requests) == 5
    assert runner(engine, store).run(asked) == first
    assert len(engine.requests) == 5


def test_other_weights_parameters_and_prompts_are_other_queries(store: Store):
    engine = FakeEngine(adapters={"a": "/a"})
    (question,) = queries(1)
    runner(engine, store).run([question])
    runner(engine, store, about="other weights").run([question])
    others = [
        ScoreTokens("a", question.prompt, (3, 7)),
        ScoreTokens("base", question.prompt, (7, 3)),
        ScoreTokens("base", question.prompt, (3, 7), "so"),
        Generate("base", question.prompt, max_tokens=5),
        Generate("base", question.prompt, max_tokens=5, stop=("}",)),
        ScoreTokens("base", Text("text 0"), (3, 7)),
        ScoreTokens("base", Chat((("system", "text 0"),)), (3, 7)),
    ]
    runner(engine, store).run(others)
    assert len(engine.requests) == 2 + len(others)


def test_an_answer_in_words_is_kept_whole(store: Store):
    engine = FakeEngine()
    asked = [Generate("base", Chat((("user", "two words"),)), max_tokens=9, stop=("\n",))]
    found = runner(engine, store).run(asked)
    assert (found[0].text, found[0].tokens, found[0].prompt_tokens) == ("base heard two words", 4, 2)
    assert runner(engine, store).run(asked) == found
    body = engine.requests[0][1]
    assert body["max_tokens"] == 9 and body["stop"] == ["\n"] and body["priority"] > 0


def test_a_query_answered_before_a_crash_is_not_sent_again(store: Store):
    engine = FakeEngine()
    asked, seen = queries(40), threading.Event()

    def cut(done: int, total: int) -> None:
        if done == 25:
            seen.set()
            engine.fault = "down"

    with pytest.raises(EngineDown):
        runner(engine, store).run(asked, cut)
    assert seen.is_set()
    engine.fault = ""
    engine.requests.clear()
    found = runner(engine, store).run(asked)
    assert len(engine.requests) <= 15
    assert found == runner(FakeEngine()).run(asked)


LONG = ScoreTokens("base", Chat((("user", "word " * CONTEXT),)), (3, 7))


def test_a_refused_prompt_is_an_answer_that_is_none_and_is_not_kept(store: Store, caplog: pytest.LogCaptureFixture):
    engine = FakeEngine()
    caplog.set_level(logging.WARNING)
    words = Generate("base", LONG.prompt, max_tokens=5)
    found = runner(engine, store).run([*queries(40), LONG, words])
    assert [answer.refused for answer in found] == [False] * 40 + [True] * 2
    assert all(math.isnan(score) for score in found[40].scores) and len(found[40].scores) == 2
    assert (found[41].text, found[41].tokens) == ("", 0)
    assert "refused 2 of 42 prompts" in caplog.text and "word word" not in caplog.text
    assert ReplyCache(store, "weights").known([*queries(40), LONG]).keys() == set(queries(40))


def test_many_refused_prompts_are_a_fault_that_says_why():
    longer = [ScoreTokens("base", Chat((("user", f"{n} " * CONTEXT),)), (3, 7)) for n in range(3)]
    one = runner(FakeEngine())
    one.run([*queries(40), *longer[:2]])
    with pytest.raises(EngineError, match=r"more than 5% .* maximum context length") as raised:
        one.run(longer[2:])
    assert "engine.max_model_len" in raised.value.hint


def test_progress_counts_what_was_known_too(store: Store):
    engine = FakeEngine()
    runner(engine, store).run(queries(6))
    seen_progress: list[tuple[int, int]] = []
    runner(engine, store).run(queries(10), lambda done, total: seen_progress.append((done, total)))
    assert seen_progress == [(done, 10) for done in range(7, 11)]


@pytest.mark.parametrize(("others", "left"), [(0, 16), (1, 8), (3, 4), (15, 1), (1000, 1)])
def test_the_more_others_ask_the_less_is_under_way(others: int, left: int):
    assert fair_limit(16, others) == left


def test_a_limiter_closes_once_others_were_seen_twice_and_opens_when_they_are_gone():
    others = [0]
    limiter = ConcurrencyLimiter(16, lambda: others[0])
    others[0] = 3
    limiter.update()
    assert limiter.limit == 16
    limiter.update()
    assert limiter.limit == 4
    others[0] = 0
    limiter.update()
    assert limiter.limit == 16


def test_ones_own_requests_are_not_those_of_others():
    limiter = ConcurrencyLimiter(16, lambda: 2)
    with limiter.slot(), limiter.slot():
        limiter.update()
        limiter.update()
        assert limiter.limit == 16


def test_no_more_requests_are_under_way_than_the_limiter_lets_through(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_queries, "LOAD_CHECK_SECONDS", 0.001)
    under_way, most, lock = [0], [0], threading.Lock()
    closed = threading.Event()
    client = VllmClient("http://engine", transport=FakeEngine(busy={"running": 50, "waiting": 7}).transport())
    looked = client.in_flight
    ask = client.score

    def in_flight() -> int:
        closed.set()
        return looked()

    def score(*arguments: object, **named: object) -> object:
        closed.wait(5)
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        try:
            return ask(*arguments, **named)  # type: ignore[arg-type]
        finally:
            with lock:
                under_way[0] -= 1

    monkeypatch.setattr(client, "in_flight", in_flight)
    monkeypatch.setattr(client, "score", score)
    assert len(QueryRunner(client, concurrency=4).run(queries(30))) == 30
    assert 1 <= most[0] <= 4


def test_an_engine_that_tells_nothing_of_its_load_stops_no_evaluation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_queries, "LOAD_CHECK_SECONDS", 0.001)
    client = VllmClient("http://engine", transport=FakeEngine().transport())

    def in_flight() -> int:
        raise EngineError("no metrics here")

    monkeypatch.setattr(client, "in_flight", in_flight)
    assert len(QueryRunner(client, concurrency=2).run(queries(20))) == 20


def test_the_load_of_an_engine_is_read_from_its_metrics():
    client = VllmClient("http://engine", transport=FakeEngine(busy={"running": 3, "waiting": 2}).transport())
    assert client.in_flight() == 5
