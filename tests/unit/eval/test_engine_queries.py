"""Facts about asking: nothing is asked twice, nothing that came is lost, and others go first."""

import logging
import math
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from core.db.store import Store
from core.errors import EngineDown, EngineError
from core.prompts import Chat, Text
from eval import engine_queries
from eval.engine_queries import ConcurrencyLimiter, Query, QueryRunner, ReplyCache, allowed
from serve.engines.fake import CONTEXT, FakeEngine
from serve.engines.vllm_client import VllmClient

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def questions(count: int, engine_name: str = "base") -> list[Query]:
    return [Query(engine_name, Chat((("user", f"text {n}"),)), (3, 7)) for n in range(count)]


def asker(engine: FakeEngine, store: Store | None = None, about: str = "weights") -> QueryRunner:
    client = VllmClient("http://engine", transport=engine.transport())
    return QueryRunner(client, concurrency=4, answers=ReplyCache(store, about, lambda: NOW) if store else None)


def test_answers_come_in_the_order_of_the_questions():
    engine = FakeEngine()
    asked = questions(20)
    one_by_one = [asker(engine).ask([question])[0] for question in asked]
    assert asker(engine).ask(asked) == one_by_one
    assert len({answer.scores for answer in one_by_one}) > 10


def test_the_same_question_is_asked_once(store: Store):
    engine = FakeEngine()
    asked = [*questions(5), *questions(5)]
    first = asker(engine, store).ask(asked)
    assert len(engine.requests) == 5
    assert asker(engine, store).ask(asked) == first
    assert len(engine.requests) == 5


def test_other_weights_parameters_and_prompts_are_other_questions(store: Store):
    engine = FakeEngine(adapters={"a": "/a"})
    (question,) = questions(1)
    asker(engine, store).ask([question])
    asker(engine, store, about="other weights").ask([question])
    others = [
        Query("a", question.prompt, (3, 7)),
        Query("base", question.prompt, (7, 3)),
        Query("base", question.prompt, (3, 7), "so"),
        Query("base", question.prompt, max_tokens=5),
        Query("base", question.prompt, max_tokens=5, stop=("}",)),
        Query("base", Text("text 0"), (3, 7)),
        Query("base", Chat((("system", "text 0"),)), (3, 7)),
    ]
    asker(engine, store).ask(others)
    assert len(engine.requests) == 2 + len(others)


def test_an_answer_in_words_is_kept_whole(store: Store):
    engine = FakeEngine()
    asked = [Query("base", Chat((("user", "two words"),)), max_tokens=9, stop=("\n",))]
    found = asker(engine, store).ask(asked)
    assert (found[0].text, found[0].tokens, found[0].prompt_tokens) == ("base heard two words", 4, 2)
    assert asker(engine, store).ask(asked) == found
    body = engine.requests[0][1]
    assert body["max_tokens"] == 9 and body["stop"] == ["\n"] and body["priority"] > 0


def test_what_came_before_a_crash_is_not_asked_again(store: Store):
    engine = FakeEngine()
    asked, seen = questions(40), threading.Event()

    def cut(done: int, total: int) -> None:
        if done == 25:
            seen.set()
            engine.fault = "down"

    with pytest.raises(EngineDown):
        asker(engine, store).ask(asked, cut)
    assert seen.is_set()
    engine.fault = ""
    engine.requests.clear()
    found = asker(engine, store).ask(asked)
    assert len(engine.requests) <= 15
    assert found == asker(FakeEngine()).ask(asked)


LONG = Query("base", Chat((("user", "word " * CONTEXT),)), (3, 7))


def test_a_refused_prompt_is_an_answer_that_is_none_and_is_not_kept(store: Store, caplog: pytest.LogCaptureFixture):
    engine = FakeEngine()
    caplog.set_level(logging.WARNING)
    words = Query("base", LONG.prompt, max_tokens=5)
    found = asker(engine, store).ask([*questions(40), LONG, words])
    assert [answer.refused for answer in found] == [False] * 40 + [True] * 2
    assert all(math.isnan(score) for score in found[40].scores) and len(found[40].scores) == 2
    assert (found[41].text, found[41].tokens) == ("", 0)
    assert "refused 2 of 42 prompts" in caplog.text and "word word" not in caplog.text
    assert ReplyCache(store, "weights").known([*questions(40), LONG]).keys() == set(questions(40))


def test_many_refused_prompts_are_a_fault_that_says_why():
    longer = [Query("base", Chat((("user", f"{n} " * CONTEXT),)), (3, 7)) for n in range(3)]
    one = asker(FakeEngine())
    one.ask([*questions(40), *longer[:2]])
    with pytest.raises(EngineError, match=r"more than 5% .* maximum context length") as raised:
        one.ask(longer[2:])
    assert "engine.max_model_len" in raised.value.hint


def test_progress_counts_what_was_known_too(store: Store):
    engine = FakeEngine()
    asker(engine, store).ask(questions(6))
    told: list[tuple[int, int]] = []
    asker(engine, store).ask(questions(10), lambda done, total: told.append((done, total)))
    assert told == [(done, 10) for done in range(7, 11)]


def test_old_answers_are_forgotten(store: Store):
    engine = FakeEngine()
    asker(engine, store).ask(questions(3))
    ReplyCache(store, "weights", lambda: NOW + timedelta(days=20)).prune()
    assert len(ReplyCache(store, "weights").known(questions(3))) == 3
    ReplyCache(store, "weights", lambda: NOW + timedelta(days=31)).prune()
    assert ReplyCache(store, "weights").known(questions(3)) == {}


@pytest.mark.parametrize(("others", "left"), [(0, 16), (1, 8), (3, 4), (15, 1), (1000, 1)])
def test_the_more_others_ask_the_less_is_under_way(others: int, left: int):
    assert allowed(16, others) == left


def test_a_valve_closes_once_others_were_seen_twice_and_opens_when_they_are_gone():
    others = [0]
    valve = ConcurrencyLimiter(16, lambda: others[0])
    others[0] = 3
    valve.look()
    assert valve.limit == 16
    valve.look()
    assert valve.limit == 4
    others[0] = 0
    valve.look()
    assert valve.limit == 16


def test_ones_own_requests_are_not_those_of_others():
    valve = ConcurrencyLimiter(16, lambda: 2)
    with valve.turn(), valve.turn():
        valve.look()
        valve.look()
        assert valve.limit == 16


def test_no_more_requests_are_under_way_than_the_valve_lets_through(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_queries, "LOOK_SECONDS", 0.001)
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
    assert len(QueryRunner(client, concurrency=4).ask(questions(30))) == 30
    assert 1 <= most[0] <= 4


def test_an_engine_that_tells_nothing_of_its_load_stops_no_evaluation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine_queries, "LOOK_SECONDS", 0.001)
    client = VllmClient("http://engine", transport=FakeEngine().transport())

    def in_flight() -> int:
        raise EngineError("no metrics here")

    monkeypatch.setattr(client, "in_flight", in_flight)
    assert len(QueryRunner(client, concurrency=2).ask(questions(20))) == 20


def test_the_load_of_an_engine_is_read_from_its_metrics():
    client = VllmClient("http://engine", transport=FakeEngine(busy={"running": 3, "waiting": 2}).transport())
    assert client.in_flight() == 5
