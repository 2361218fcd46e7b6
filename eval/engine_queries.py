"""Asking: questions to one engine, each asked once, its answers kept as they come.

It owns what is asked again and what is not, how much of an evaluation is under way at once, and what a run that
was cut short finds when it goes on; it must not know arms, labels or why something is asked.
"""

import hashlib
import json
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from core.clock import Clock, utc_now
from core.db import evaluations
from core.db.store import Store
from core.errors import EngineError, PromptRefused
from core.prompts import Prompt, to_json
from serve.engines.vllm_client import VllmClient

Progress = Callable[[int, int], None]

# Answers that a crash may cost: one write to the store is worth about as much time as one answer of a small model.
BATCH = 64
LOOK_SECONDS = 0.5
KEEP = timedelta(days=30)
# Of the questions of one asker. Some prompts are too long for any context; more of them is a fault of the settings.
MOST_REFUSED = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """One request: what the engine calls the model, the prompt, and what is wanted of it.

    With `tokens`, their scores at the first place of the answer that begins with `begun`; with `said`, the scores of
    the answer that has these tokens; with neither, an answer in words of at most `max_tokens`, ended by any text of
    `stop`, or with `seed` one that is drawn by chance.
    """

    engine_name: str
    prompt: Prompt
    tokens: tuple[int, ...] = ()
    begun: str = ""
    max_tokens: int = 1
    stop: tuple[str, ...] = ()
    said: tuple[int, ...] = ()
    seed: int | None = None

    def key(self, engine: str) -> str:
        """Its name by content: the same question to the same weights and engine has the same one."""
        parameters = [self.tokens, self.begun, self.max_tokens, self.stop, self.said, self.seed]
        said = json.dumps([engine, self.engine_name, to_json(self.prompt), type(self.prompt).__name__, parameters])
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came: scores in the order of the tokens asked for, or a text with its length in tokens.

    `ids` are the tokens of an answer that was drawn. One that was `refused` is none: its scores are NaN, its text is
    empty, and what its prompt cost is not known.
    """

    prompt_tokens: int
    scores: tuple[float, ...] = ()
    text: str = ""
    tokens: int = 0
    ids: tuple[int, ...] = ()
    refused: bool = False


class ReplyCache:
    """The answers that the store keeps, by question and engine.

    `engine` stands for everything that may change an answer and is not in the question: the base model's weights
    and the engine's version.
    """

    def __init__(self, store: Store, engine: str, clock: Clock = utc_now) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock

    def known(self, questions: Sequence[Query]) -> dict[Query, Reply]:
        """What was answered before."""
        by_key = {question.key(self._engine): question for question in questions}
        rows = evaluations.known_answers(self._store, keys=list(by_key))
        return {by_key[row.key]: _read(row.answer) for row in rows}

    def keep(self, found: Sequence[tuple[Query, Reply]]) -> None:
        """Writes some answers down."""
        keys = [question.key(self._engine) for question, _ in found]
        evaluations.add_answers(
            self._store,
            keys=keys,
            answers=[_written(answer) for _, answer in found],
            names=[question.engine_name for question, _ in found],
            time=self._clock(),
        )

    def prune(self) -> None:
        """Forgets what is so old that nobody goes on from it."""
        evaluations.delete_old_answers(self._store, before=self._clock() - KEEP)


def _written(answer: Reply) -> str:
    return json.dumps([answer.prompt_tokens, answer.scores, answer.text, answer.tokens, answer.ids])


def _read(text: str) -> Reply:
    prompt_tokens, scores, written, tokens, ids = json.loads(text)
    return Reply(prompt_tokens, tuple(scores), written, tokens, tuple(ids))


def allowed(most: int, others: int) -> int:
    """How many requests may be under way beside those of others: the same share for each, but never none."""
    return max(1, most // (1 + others))


class ConcurrencyLimiter:
    """Lets at most `allowed` requests through at once; it looks at the engine to see what others have there."""

    def __init__(self, most: int, in_flight: Callable[[], int]) -> None:
        self.limit = most
        self._most = most
        self._in_flight = in_flight
        self._mine = 0
        self._seen = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One request's time, once there is room for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._mine < self.limit)
            self._mine += 1
        try:
            yield
        finally:
            with self._changed:
                self._mine -= 1
                self._changed.notify()

    def look(self) -> None:
        """Counts the requests of others. Seen at two looks, for the engine's figures lag behind by a moment."""
        others = max(0, self._in_flight() - self._mine)
        with self._changed:
            self.limit = allowed(self._most, min(others, self._seen))
            self._seen = others
            self._changed.notify_all()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Looks again and again, for the length of a with block."""
        watcher = threading.Thread(target=self._watch, name="valve", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self._closing.set()
            watcher.join()

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            try:
                self.look()
            except EngineError:
                continue  # whoever asks it questions hears of it too


class QueryRunner:
    """Asks one engine, at low priority and beside others. Without `answers`, nothing is kept."""

    def __init__(self, client: VllmClient, *, concurrency: int, answers: ReplyCache | None = None) -> None:
        self.client = client
        self._concurrency = concurrency
        self._answers = answers
        self._tokens: dict[str, tuple[int, ...]] = {}
        self._asked = 0
        self._refused = 0
        self._lock = threading.Lock()

    def tokens(self, base_name: str, text: str) -> tuple[int, ...]:
        """A text's tokens; adapters share the base model's."""
        if text not in self._tokens:
            self._tokens[text] = self.client.tokens(base_name, text)
        return self._tokens[text]

    def ask(self, questions: Sequence[Query], progress: Progress = lambda done, total: None) -> list[Reply]:
        """An answer to each question. What the store knows, and what is asked twice here, is not asked again.

        A prompt that the engine refuses has an answer that is none. Raises EngineError, also where more than
        `MOST_REFUSED` of all that was asked so far is refused; what was answered until then is kept.
        """
        distinct = list(dict.fromkeys(questions))
        self._asked += len(distinct)
        before = self._refused
        found = self._answers.known(distinct) if self._answers else {}
        left = [question for question in distinct if question not in found]
        done = len(distinct) - len(left)
        for question, answer in self._fresh(left):
            found[question] = answer
            done += 1
            progress(done, len(distinct))
        if self._refused > before:
            log.warning(
                "the engine refused %d of %d prompts of an evaluation; each counts as no answer",
                self._refused - before,
                len(distinct),
            )
        return [found[question] for question in questions]

    def _fresh(self, questions: Sequence[Query]) -> Iterator[tuple[Query, Reply]]:
        """Pairs in the order in which they come, each batch written down before more is asked."""
        if not questions:
            return
        valve = ConcurrencyLimiter(self._concurrency, self.client.in_flight)
        batch: list[tuple[Query, Reply]] = []

        def one(question: Query) -> Reply:
            with valve.turn():
                try:
                    return send_query(self.client, question)
                except PromptRefused as error:
                    return self._none(question, error)

        waiting = iter(questions)
        with valve.watching(), ThreadPoolExecutor(self._concurrency) as pool:
            under_way: dict[Future[Reply], Query] = {}
            try:
                while True:
                    for question in waiting:
                        under_way[pool.submit(one, question)] = question
                        if len(under_way) >= 2 * self._concurrency:
                            break
                    if not under_way:
                        break
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        pair = (under_way.pop(future), future.result())
                        if not pair[1].refused:
                            batch.append(pair)
                        yield pair
                    if len(batch) >= BATCH:
                        self._keep(batch)
            finally:
                for future in under_way:
                    future.cancel()
                self._keep(batch)

    def _none(self, question: Query, error: PromptRefused) -> Reply:
        with self._lock:
            self._refused += 1
            if self._refused > MOST_REFUSED * self._asked:
                raise EngineError(
                    f"An engine refused more than {MOST_REFUSED:.0%} of an evaluation's prompts. The last: {error}",
                    hint="Where they are too long, raise engine.max_model_len.",
                ) from error
        return Reply(0, (math.nan,) * len(question.tokens), refused=True)

    def _keep(self, batch: list[tuple[Query, Reply]]) -> None:
        if self._answers and batch:
            self._answers.keep(batch)
        batch.clear()


def send_query(client: VllmClient, question: Query, salt: str | None = None) -> Reply:
    """Asks the engine, whatever was answered before; a salt keeps what was asked without it out of the prefix cache."""
    name, prompt = question.engine_name, question.prompt
    if question.tokens:
        scores = client.score(name, prompt, question.tokens, question.begun, salt=salt)
        return Reply(scores.prompt_tokens, scores.logprobs)
    if question.said:
        scores = client.follow(name, prompt, question.said)
        return Reply(scores.prompt_tokens, scores.logprobs)
    if question.seed is None:
        written = client.write(name, prompt, max_tokens=question.max_tokens, stop=question.stop, salt=salt)
    else:
        written = client.sample(name, prompt, max_tokens=question.max_tokens, seed=question.seed)
    return Reply(written.prompt_tokens, text=written.text, tokens=written.tokens, ids=written.ids)
