"""Facts about prepared prompts and voted answers: read once, gone with their texts, and no snapshot depends on them."""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.db import curation, interactions, voted_answers
from core.db.quarantines import Predicate
from core.db.statements import statements
from core.db.store import Store
from core.records import Feedback, Revocation
from core.settings import ModelSettings, PrivacySettings
from core.settings.privacy import SCRUB_RULES
from feedback import prepared_prompts as module
from feedback import quarantine
from feedback.erasure import Request, begin, erase_rows
from feedback.ingest import add
from feedback.prepared_prompts import CODE, StoredPrompts, name_of
from feedback.retention import delete_rows
from feedback.snapshot import Snapshot, create_snapshot
from tests.support.curation import user_in
from tests.support.ingest import NOW, asked, query
from tools.layout import dotted, read_module, tracked

GENERATE, CLASSIFY = ModelSettings(task="generate"), ModelSettings(labels=["a", "b"])
USERS = [user_in(bucket, n) for bucket in ("train", "dev", "h1") for n in range(2)]
TEXTS = [
    "It broke in a week.",
    "it broke  in a week.",
    "Write to ada@example.com or bob@example.com",
    "Call +49 30 1234567",
]
READ = "SELECT interaction_id FROM prepared_prompts ORDER BY ALL"
VOTED = "SELECT interaction_id FROM voted_answers ORDER BY ALL"
# What the store keeps so that a snapshot need not read and compute all again.
KEPT = ("prepared_prompts", "voted_answers", "fingerprints", "common_parts")


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The interactions whose requests were read, call by call."""
    calls: list[list[str]] = []
    real = curation.requests

    def requests(store: Store, *, interactions: pa.Array) -> Iterator[pa.RecordBatch]:
        calls.append(sorted(interactions.to_pylist()))
        return real(store, interactions=interactions)

    monkeypatch.setattr(module.curation, "requests", requests)
    return calls


def chat(identity: str, text: str, user: str = USERS[0]) -> Any:
    return asked(identity, request={"messages": [{"role": "user", "content": text}]}, user=user, answer="a")


def voted(number: int, about: str, value: Any, kind: str, user: str = USERS[0], minute: int = 0) -> Feedback:
    return Feedback(f"f{number}", NOW + timedelta(minutes=minute), about, None, kind, value, user=user, key_id="shop")


def snap(store: Store, how: ModelSettings = GENERATE, run: str = "r") -> Snapshot:
    with tempfile.TemporaryDirectory() as folder:
        return create_snapshot(store, "m", how, run_id=run, folder=Path(folder), clock=lambda: NOW)


def corrected(store: Store, *names: str, first: int = 0) -> None:
    """Adds an answer of each name, with a correction."""
    add(store, [chat(name, f"mail {name}@example.com") for name in names])
    add(store, [voted(first + n, name, f"better {name}", "correction") for n, name in enumerate(names)])


def test_a_prompt_is_read_once(store: Store, read: list[list[str]]) -> None:
    corrected(store, "i1", "i2")
    assert snap(store).report.scrubbed == {"email": 2}
    corrected(store, "i3", first=2)
    assert snap(store).report.scrubbed == {"email": 3}
    assert snap(store).report.scrubbed == {"email": 3}
    assert read == [["i1", "i2"], ["i3"]]


def test_a_prompt_that_cannot_be_read_is_known_to_be_so(store: Store, read: list[list[str]]) -> None:
    add(store, [asked("i1", request={"messages": "?"}, user=USERS[0]), voted(1, "i1", "better", "correction")])
    reasons = [snap(store).report.left_out for _ in range(2)]
    assert read == [["i1"]] and reasons[0] == reasons[1] and len(reasons[0]) == 1


def test_other_rules_or_other_code_read_all_prompts_again(
    store: Store, read: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    corrected(store, "i1", "i2")
    off = ModelSettings(task="generate", privacy=PrivacySettings(scrub="off"))
    assert [snap(store, how).report.scrubbed for how in (GENERATE, off)] == [{"email": 2}, {}]
    assert read == [["i1", "i2"]] * 2
    monkeypatch.setattr(module, "_code", lambda: b"another release")
    assert snap(store).report.scrubbed == {"email": 2}
    assert read == [["i1", "i2"]] * 3 and len(query(store, READ)) == 2


def test_the_code_that_prepares_prompts_is_part_of_their_name() -> None:
    files = {dotted(path): path for path in tracked("core", "feedback")}
    imported = {files[name] for path in CODE for name in read_module(path, frozenset(files)).imports}
    stores = {"core/db/curation.py", "core/db/prepared_prompts.py", "core/db/store.py", "core/db/__init__.py"}
    assert imported - set(CODE) - stores == {"core/records.py", "core/settings/privacy.py"}
    assert len({name_of(SCRUB_RULES), name_of(SCRUB_RULES[:1]), name_of(())}) == 3


def erase(store: Store, user: str) -> None:
    identity = begin(store, Request(user), NOW)
    erase_rows(store, identity, user, None, NOW)


def delete_by_age(store: Store) -> None:
    for kind in ("texts", "unrated_texts"):
        list(delete_rows(store, kind, 1, NOW + timedelta(days=30)))


def delete_one(store: Store) -> None:
    with store.transaction() as transaction:
        interactions.delete_text(transaction, id="i1")


DELETIONS: list[Callable[[Store], None]] = [lambda store: erase(store, USERS[0]), delete_by_age, delete_one]


@pytest.mark.parametrize("delete", DELETIONS, ids=["erasure", "retention", "one text"])
def test_no_prepared_prompt_and_no_voted_answer_outlives_its_text(
    store: Store, delete: Callable[[Store], None]
) -> None:
    corrected(store, "i1")
    snap(store)
    assert query(store, READ) == query(store, VOTED) == [("i1",)]
    delete(store)
    assert query(store, READ) == query(store, VOTED) == []
    assert "i1@example" not in str(query(store, "SELECT * FROM prepared_prompts"))


@pytest.mark.parametrize("delete", DELETIONS, ids=["erasure", "retention", "one text"])
def test_a_text_that_is_deleted_while_a_snapshot_reads_it_is_not_kept(
    store: Store, delete: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    corrected(store, "i1")
    real = module.prepare

    def prepare(*given: Any) -> pa.Table:
        found = real(*given)
        delete(store)
        return found

    monkeypatch.setattr(module, "prepare", prepare)
    found = StoredPrompts(store, "m", SCRUB_RULES)(pa.array(["i1"]))
    assert len(found) == 1 and query(store, READ) == []


@pytest.mark.parametrize("delete", DELETIONS, ids=["erasure", "retention", "one text"])
@pytest.mark.parametrize("how", [GENERATE, CLASSIFY], ids=["generate", "classify"])
@pytest.mark.parametrize("count", [1, 4])
def test_an_answer_that_is_deleted_while_a_snapshot_reads_it_is_not_kept(
    store: Store,
    delete: Callable[[Store], None],
    how: ModelSettings,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    corrected(store, *(f"i{number}" for number in range(1, count + 1)))
    real, written = voted_answers.read, threading.Event()

    def read(*given: Any, **more: Any) -> pa.Table:
        found = real(*given, **more)
        # In another thread, which a transaction of this one would hold up.
        writing = threading.Thread(target=lambda: (delete(store), written.set()))
        writing.start()
        writing.join(60)
        assert written.is_set()
        return found

    monkeypatch.setattr(voted_answers, "read", read)
    snap(store, how)
    assert ("i1",) not in query(store, VOTED)


def test_an_answer_is_read_with_its_first_vote(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    real = voted_answers.read

    def read_answers(store: Store, wanted: pa.Table, **given: Any) -> pa.Table:
        calls.append(sorted(wanted["interaction_id"].to_pylist()))
        return real(store, wanted, **given)

    monkeypatch.setattr(voted_answers, "read", read_answers)
    corrected(store, "i1", "i2")
    snap(store)
    corrected(store, "i3", first=2)
    add(store, [voted(9, "i1", "even better", "correction", minute=1)])
    assert len(snap(store).rows) == 3
    snap(store)
    assert calls == [["i1", "i2"], ["i3"]]


def test_other_rows_of_voted_answers_need_a_migration() -> None:
    text = " ".join(statements()["voted_answers.read"].split())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "83f7a01cab2df95b", (
        "The query voted_answers.read has changed. If its rows have other values, add a migration with "
        "DELETE FROM voted_answers, so that a store has no rows of both queries. Then set the hash here."
    )


def test_an_answer_is_read_again_for_a_task_that_needs_its_text(store: Store) -> None:
    corrected(store, "i1")
    add(store, [voted(1, "i1", True, "thumbs")])
    rows = [[(row.signal, row.label) for row in snap(store, how).rows] for how in (GENERATE, CLASSIFY, GENERATE)]
    assert rows == [[("correction", "better i1")], [("confirmation", "a")], [("correction", "better i1")]]
    assert query(store, "SELECT interaction_id, has_text, answer FROM voted_answers") == [("i1", False, None)]


ABOUT = st.integers(0, 9).map("i{}".format)
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 9), st.sampled_from(TEXTS), st.sampled_from(USERS)),
    st.tuples(
        st.just("say"),
        st.integers(0, 15),
        ABOUT,
        st.sampled_from(["a", "b", "bob@example.com"]),
        st.sampled_from(USERS),
    ),
    st.tuples(st.just("thumb"), st.integers(16, 25), ABOUT, st.booleans(), st.sampled_from(USERS)),
    st.tuples(st.just("flag"), st.integers(26, 29), ABOUT, st.sampled_from(USERS)),
    st.tuples(st.just("take back"), st.integers(0, 29)),
    st.tuples(st.just("hold"), st.sampled_from(USERS)),
    st.tuples(st.just("erase"), st.sampled_from(USERS)),
    st.tuples(st.just("delete"), ABOUT),
    st.tuples(st.just("age")),
    st.tuples(st.just("snapshot"), st.sampled_from([GENERATE, CLASSIFY])),
)


def act(store: Store, how: ModelSettings, minute: int, step: Sequence[Any]) -> None:
    """Carry out one step of a history."""
    time = NOW + timedelta(minutes=minute)
    match step:
        case "ask", number, text, user:
            add(store, [chat(f"i{number}", text, user)])
        case "say", number, about, value, user:
            kind = "label" if how.task == "classify" else "correction"
            add(store, [voted(number, about, value, kind, user, minute)])
        case "thumb", number, about, up, user:
            add(store, [voted(number, about, up, "thumbs", user, minute)])
        case "flag", number, about, user:
            add(store, [voted(number, about, "unsafe", "flag", user, minute)])
        case "take back", number:
            add(store, [Revocation(f"f{number}", time)])
        case "hold", user:
            with store.transaction() as transaction:
                request = quarantine.Hold(f"q{minute}", (Predicate(user=user),))
                quarantine.hold(transaction, "m", request, decision_id=f"d{minute}", time=time)
        case "erase", user:
            erase(store, user)
        case "delete", about:
            with store.transaction() as transaction:
                interactions.delete_text(transaction, id=about)
        case ("age",):
            delete_by_age(store)
        case _, task:
            snap(store, task, f"r{minute}")


@settings(deadline=None, max_examples=12)
@given(st.sampled_from([GENERATE, CLASSIFY]), st.lists(STEPS, min_size=8, max_size=30))
def test_a_snapshot_after_others_equals_one_made_of_nothing(how: ModelSettings, history: list[tuple[Any, ...]]) -> None:
    store = Store(":memory:")
    for minute, step in enumerate(history):
        act(store, how, minute, step)
    next_one = snap(store, how, "next")
    for table in KEPT:
        query(store, f"DELETE FROM {table}")
    alone = snap(store, how, "alone")
    store.close()
    assert next_one.hash == alone.hash
    assert next_one.report == alone.report
