"""Queries to one engine: each distinct query is sent once, and its reply is cached as it arrives.

An evaluation that was interrupted continues from the cache. Other traffic on the engine comes first.
"""

import hashlib
import json
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, fields

from core.clock import Clock, utc_now
from core.db import evaluations
from core.db.store import Store
from core.errors import EngineError, PromptRefused
from core.prompts import Prompt, to_json
from serve.engines.control_client import VllmClient

Progress = Callable[[int, int], None]
"""Called with the number of finished queries and their total."""

# Replies that a crash may lose. One write to the store takes about as long as one answer of a small model.
BATCH = 64
LOAD_CHECK_SECONDS = 0.5
# Some prompts are too long for any context. A larger share of the runner's queries is an error in the settings.
MAX_REFUSED_SHARE = 0.05

log = logging.getLogger(__name__)


def ignore_progress(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class ScoreTokens:
    """Score `tokens` as the next token of an answer that starts with the text `prefix`."""

    engine_name: str
    prompt: Prompt
    tokens: tuple[int, ...]
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ScoreAnswer:
    """Score each token of a given answer."""

    engine_name: str
    prompt: Prompt
    answer: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Generate:
    """Generate the most likely answer of at most `max_tokens` tokens. Any text of `stop` ends it."""

    engine_name: str
    prompt: Prompt
    max_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample an answer of at most `max_tokens` tokens at temperature 1 with this seed."""

    engine_name: str
    prompt: Prompt
    max_tokens: int
    seed: int


Query = ScoreTokens | ScoreAnswer | Generate | Sample


def cache_key(query: Query, engine: str) -> str:
    """A hash of the query and the engine. Equal queries to the same weights have the same key."""
    parameters = [getattr(query, field.name) for field in fields(query) if field.name != "prompt"]
    kinds = [type(query).__name__, type(query.prompt).__name__]
    text = json.dumps([engine, kinds, to_json(query.prompt), parameters])
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """The engine's reply: scores in the order of the query's tokens, or a text with its length in tokens.

    `ids` are the tokens of a sampled answer. If the engine refused the prompt, `refused` is true, the scores are NaN,
    the text is empty and `prompt_tokens` is 0.
    """

    prompt_tokens: int
    scores: tuple[float, ...] = ()
    text: str = ""
    tokens: int = 0
    ids: tuple[int, ...] = ()
    refused: bool = False


class ReplyCache:
    """Replies in the store, by query and engine.

    `engine` identifies everything that may change a reply and is not in the query: the base model's weights, the
    engine's version and its arguments.
    """

    def __init__(self, store: Store, engine: str, clock: Clock = utc_now) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock

    def known(self, queries: Sequence[Query]) -> dict[Query, Reply]:
        """The cached replies to some queries."""
        by_key = {cache_key(query, self._engine): query for query in queries}
        rows = evaluations.known_answers(self._store, keys=list(by_key))
        return {by_key[row.key]: _decode(row.answer) for row in rows}

    def add(self, pairs: Sequence[tuple[Query, Reply]]) -> None:
        """Store replies."""
        evaluations.add_answers(
            self._store,
            keys=[cache_key(query, self._engine) for query, _ in pairs],
            answers=[_encode(reply) for _, reply in pairs],
            names=[query.engine_name for query, _ in pairs],
            time=self._clock(),
        )


def _encode(reply: Reply) -> str:
    return json.dumps([reply.prompt_tokens, reply.scores, reply.text, reply.tokens, reply.ids])


def _decode(text: str) -> Reply:
    prompt_tokens, scores, answer, tokens, ids = json.loads(text)
    return Reply(prompt_tokens, tuple(scores), answer, tokens, tuple(ids))


def fair_limit(maximum: int, others: int) -> int:
    """The number of requests to run next to `others`: an equal share of the maximum, at least 1."""
    return max(1, maximum // (1 + others))


class ConcurrencyLimiter:
    """Limits concurrent requests, and lowers the limit while the engine has requests from other clients."""

    def __init__(self, maximum: int, in_flight: Callable[[], int]) -> None:
        self.limit = maximum
        self._maximum = maximum
        self._in_flight = in_flight
        self._running = 0
        self._others_before = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a free slot and hold it for one request."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self.limit)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def update(self) -> None:
        """Count the requests of others. Two counts in a row must show them, because the engine's figures lag."""
        others = max(0, self._in_flight() - self._running)
        with self._changed:
            self.limit = fair_limit(self._maximum, min(others, self._others_before))
            self._others_before = others
            self._changed.notify_all()

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Update the limit in a thread during a with block."""
        thread = threading.Thread(target=self._update_until_closed, name="concurrency-limiter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closing.set()
            thread.join()

    def _update_until_closed(self) -> None:
        while not self._closing.wait(LOAD_CHECK_SECONDS):
            try:
                self.update()
            except EngineError:
                continue  # the requests to the engine report the error too


class QueryRunner:
    """Runs queries on one engine at low priority. Without a cache, replies are not stored."""

    def __init__(self, client: VllmClient, *, concurrency: int, cache: ReplyCache | None = None) -> None:
        self.client = client
        self._concurrency = concurrency
        self._cache = cache
        self._tokens: dict[str, tuple[int, ...]] = {}
        self._query_count = 0
        self._refused_count = 0
        self._lock = threading.Lock()

    def tokens(self, base_name: str, text: str) -> tuple[int, ...]:
        """A text's tokens. Adapters share the base model's tokenizer."""
        if text not in self._tokens:
            self._tokens[text] = self.client.tokens(base_name, text)
        return self._tokens[text]

    def run(self, queries: Sequence[Query], progress: Progress = ignore_progress) -> list[Reply]:
        """The reply to each query. A query that is cached, or occurs twice, is not sent again.

        A prompt that the engine refuses gets a `refused` reply. Raises EngineError, also if more than
        `MAX_REFUSED_SHARE` of all queries so far were refused. Replies until then stay in the cache.
        """
        distinct = list(dict.fromkeys(queries))
        self._query_count += len(distinct)
        refused_before = self._refused_count
        replies = self._cache.known(distinct) if self._cache else {}
        unknown = [query for query in distinct if query not in replies]
        done = len(distinct) - len(unknown)
        for query, reply in self._send_all(unknown):
            replies[query] = reply
            done += 1
            progress(done, len(distinct))
        if self._refused_count > refused_before:
            log.warning(
                "the engine refused %d of %d prompts of an evaluation; each counts as no answer",
                self._refused_count - refused_before,
                len(distinct),
            )
        return [replies[query] for query in queries]

    def _send_all(self, queries: Sequence[Query]) -> Iterator[tuple[Query, Reply]]:
        """Yield pairs in the order of arrival. Each batch is stored before further queries are sent."""
        if not queries:
            return
        limiter = ConcurrencyLimiter(self._concurrency, self.client.in_flight)
        batch: list[tuple[Query, Reply]] = []

        def send(query: Query) -> Reply:
            with limiter.slot():
                try:
                    return send_query(self.client, query)
                except PromptRefused as error:
                    return self._refused(query, error)

        waiting = iter(queries)
        with limiter.updating(), ThreadPoolExecutor(self._concurrency) as pool:
            sent: dict[Future[Reply], Query] = {}
            try:
                while True:
                    for query in waiting:
                        sent[pool.submit(send, query)] = query
                        if len(sent) >= 2 * self._concurrency:
                            break
                    if not sent:
                        break
                    for future in wait(sent, return_when=FIRST_COMPLETED).done:
                        pair = (sent.pop(future), future.result())
                        if not pair[1].refused:
                            batch.append(pair)
                        yield pair
                    if len(batch) >= BATCH:
                        self._store(batch)
            finally:
                for future in sent:
                    future.cancel()
                self._store(batch)

    def _refused(self, query: Query, error: PromptRefused) -> Reply:
        with self._lock:
            self._refused_count += 1
            if self._refused_count > MAX_REFUSED_SHARE * self._query_count:
                raise EngineError(
                    f"An engine refused more than {MAX_REFUSED_SHARE:.0%} of an evaluation's prompts. Last: {error}",
                    hint="If they are too long, raise engine.max_model_len.",
                ) from error
        scores = (math.nan,) * len(query.tokens) if isinstance(query, ScoreTokens) else ()
        return Reply(0, scores, refused=True)

    def _store(self, batch: list[tuple[Query, Reply]]) -> None:
        if self._cache and batch:
            self._cache.add(batch)
        batch.clear()


@dataclass(frozen=True, slots=True)
class EngineContext:
    """One engine during an evaluation: the query runner, the base model's name in it, and the progress report."""

    runner: QueryRunner
    base_name: str
    progress: Progress = ignore_progress

    def run(self, queries: Sequence[Query]) -> list[Reply]:
        """The reply to each query. Raises EngineError."""
        return self.runner.run(queries, self.progress)

    def tokens(self, text: str) -> tuple[int, ...]:
        """A text's tokens."""
        return self.runner.tokens(self.base_name, text)


def send_query(client: VllmClient, query: Query, salt: str | None = None) -> Reply:
    """Send a query without the cache. A salt separates its prompt from others in the engine's prefix cache."""
    match query:
        case ScoreTokens(name, prompt, tokens, prefix):
            scores = client.score(name, prompt, tokens, prefix, salt=salt)
            return Reply(scores.prompt_tokens, scores.logprobs)
        case ScoreAnswer(name, prompt, answer):
            scores = client.follow(name, prompt, answer)
            return Reply(scores.prompt_tokens, scores.logprobs)
        case Generate(name, prompt, max_tokens, stop):
            written = client.write(name, prompt, max_tokens=max_tokens, stop=stop, salt=salt)
        case Sample(name, prompt, max_tokens, seed):
            written = client.sample(name, prompt, max_tokens=max_tokens, seed=seed)
    return Reply(written.prompt_tokens, text=written.text, tokens=written.tokens, ids=written.ids)
