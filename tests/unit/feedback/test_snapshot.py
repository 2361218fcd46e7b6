"""Facts about splits and snapshots: fixed buckets, equal names for equal rows, and nothing trained on that judges."""

import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.db import spools
from core.db.store import Store
from core.record_codec import Record, encode
from core.records import Feedback, Interaction, Revocation
from core.settings import ModelSettings
from core.spool import frame
from feedback.ingest import ingest
from feedback.snapshot import create_snapshot, curate, load_snapshot, read_rows
from feedback.split import HOLDOUTS, bucket_of, split_key

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
MODEL = ModelSettings(labels=["good", "Bad"])
SHARES = {"train": 0.6, "dev": 0.1}


def vote(number: int, text: str, label: str = "good", **changes: Any) -> dict[str, Any]:
    return {
        "id": f"f{number:04d}",
        "type": "label",
        "value": json.dumps(label),
        "answer": "",
        "voter": "v",
        "interaction_id": f"i{number}",
        "user_id": f"u{number}",
        "conversation_id": None,
        "endpoint": "chat",
        "request": json.dumps({"messages": [{"role": "user", "content": text}]}),
    } | changes


def user_in(bucket: str, n: int = 0) -> str:
    found = (f"user{k}" for k in range(10_000) if bucket_of(split_key(f"user{k}", None, ""), **SHARES) == bucket)
    return [next(found) for _ in range(n + 1)][-1]


def test_a_users_bucket_is_fixed_forever() -> None:
    # Written down once: a change of these would move users from training into judging.
    assert [bucket_of(f"user:{n}", **SHARES) for n in range(8)] == FIXED


FIXED = ["h2", "train", "dev", "train", "h3", "h1", "h4", "train"]


@pytest.mark.parametrize(("train", "dev"), [(0.6, 0.1), (0.5, 0.3), (0.9, 0.05)])
def test_the_shares_are_met(train: float, dev: float) -> None:
    n = 20_000
    found = [bucket_of(f"user:{k}", train=train, dev=dev) for k in range(n)]
    rest = (1 - train - dev) / 4
    for bucket, share in {"train": train, "dev": dev, **dict.fromkeys(HOLDOUTS, rest)}.items():
        assert abs(found.count(bucket) - n * share) < 5 * (n * share * (1 - share)) ** 0.5


def test_a_user_is_kept_together_before_a_conversation_before_one_interaction() -> None:
    assert split_key("u", "c", "i") == "user:u"
    assert split_key(None, "c", "i") == "conversation:c"
    assert split_key("", "", "i") == "interaction:i"
    assert split_key("x", None, "i") != split_key(None, "x", "i")


def test_a_later_label_of_the_same_voter_replaces_the_earlier() -> None:
    votes = [
        vote(1, "a"),
        vote(2, "a", "bad", interaction_id="i1", user_id="u1"),
        vote(3, "a", interaction_id="i1", user_id="u1", voter="other"),
    ]
    rows, left_out = curate(votes, MODEL)
    assert [(row.feedback_id, row.label) for row in rows] == [("f0002", "Bad"), ("f0003", "good")]
    assert left_out == {"replaced by the voter's later label": 1}


def test_what_cannot_be_used_is_counted_by_its_reason() -> None:
    votes = [
        vote(1, "a"),
        vote(2, "b", "ugly"),
        vote(3, "c", request=None),
        vote(4, "d", " GOOD "),
        vote(5, "e", request=json.dumps({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})),
        vote(6, "f", value="3"),
    ]
    rows, left_out = curate(votes, MODEL)
    assert [row.label for row in rows] == ["good", "good"]
    assert left_out == {"not one of the model's labels": 2, "the prompt is not kept, or not text alone": 2}


def test_a_text_that_is_kept_to_judge_by_never_trains() -> None:
    trainer, judge, chooser = user_in("train"), user_in("h2"), user_in("dev")
    votes = [
        vote(1, "Great  Film", user_id=trainer),
        vote(2, "great film ", user_id=judge),
        vote(3, "fine", user_id=trainer),
        vote(4, "FINE", user_id=chooser),
        vote(5, "only here", user_id=trainer),
    ]
    rows, left_out = curate(votes, MODEL)
    assert [row.feedback_id for row in rows if row.bucket == "train"] == ["f0005"]
    assert left_out == {"same text as one kept to judge by": 2}


texts = st.sampled_from(["a", "A ", "b", "c c", "c  C", "d"])
many = st.lists(st.tuples(st.integers(0, 30), texts, st.sampled_from(["good", "bad", "x"])), max_size=40)


@settings(deadline=None, max_examples=60)
@given(many)
def test_the_split_is_disjoint_by_user_and_text(entries: list[tuple[int, str, str]]) -> None:
    votes = [vote(n, text, label, user_id=f"u{user}") for n, (user, text, label) in enumerate(entries)]
    rows, left_out = curate(votes, MODEL)
    buckets: dict[str, set[str]] = {}
    for row in rows:
        buckets.setdefault(row.user, set()).add(row.bucket)
    assert all(len(found) == 1 for found in buckets.values())

    def said(train: bool) -> set[str]:
        messages = [row.prompt.messages for row in rows if (row.bucket == "train") is train]  # type: ignore[union-attr]
        return {" ".join(m[-1][1].lower().split()) for m in messages}

    assert not said(True) & said(False)
    assert len(rows) + sum(left_out.values()) == len(votes)


@pytest.fixture
def store() -> Any:
    store = Store(":memory:")
    yield store
    store.close()


def fill(store: Store, *records: Record) -> None:
    with store.transaction() as transaction:
        known = spools.offset(transaction, spool="g", segment=1)
    ingest(store, "g", 1, known, b"".join(frame(encode(record)) for record in records))


def asked(number: int, text: str, model: str = "m") -> Interaction:
    body = {"messages": [{"role": "user", "content": text}]}
    return Interaction(
        f"i{number}",
        NOW,
        model,
        0,
        "champion",
        0.0,
        0.5,
        f"u{number}",
        None,
        "chat",
        body,
        "a",
        "stop",
        200,
        1.0,
        None,
        1,
        1,
        False,
    )


def labelled(number: int, about: int, label: str = "good", voter: str | None = None, minute: int = 0) -> Feedback:
    return Feedback(f"f{number}", NOW + timedelta(minutes=minute), f"i{about}", None, "label", label, None, voter)


def snap(store: Store, folder: Path, run: str = "r1", model: str = "m") -> Any:
    return create_snapshot(store, model, MODEL, run_id=run, folder=folder, clock=lambda: NOW)


def test_the_same_rows_have_the_same_name_and_are_written_once(store: Store, tmp_path: Path) -> None:
    fill(store, *(asked(n, f"text {n}") for n in range(20)), *(labelled(n, n) for n in range(20)))
    first = snap(store, tmp_path)
    stamp = first.path.stat().st_mtime_ns
    second = snap(store, tmp_path, "r2")
    assert (first.hash, first.rows) == (second.hash, second.rows)
    assert first.path == tmp_path / first.hash and first.path.stat().st_mtime_ns == stamp
    assert read_rows(first.path) == list(first.rows)
    assert sum(len(first.of(bucket)) for bucket in ("train", "dev", *HOLDOUTS)) == 20
    with store.transaction() as transaction:
        sql = "SELECT (SELECT count(*) FROM snapshot_rows), (SELECT count(*) FROM snapshots)"
        assert transaction._connection.execute(sql).fetchone() == (20, 1)


def test_requests_are_never_all_in_memory_at_once(store: Store, tmp_path: Path) -> None:
    count, size = 2000, 20_000
    for first in range(0, count, 200):
        part = range(first, first + 200)
        fill(store, *(asked(n, "x" * size) for n in part), *(labelled(n, n, "no label of ours") for n in part))
    tracemalloc.start()
    try:
        found = snap(store, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.report.left_out == {"not one of the model's labels": count}
    assert peak < count * size / 2


def test_one_more_label_is_another_snapshot_and_the_old_one_stays(store: Store, tmp_path: Path) -> None:
    fill(store, *(asked(n, f"text {n}") for n in range(3)), labelled(0, 0), labelled(1, 1))
    first = snap(store, tmp_path)
    fill(store, labelled(2, 2))
    second = snap(store, tmp_path)
    assert first.hash != second.hash
    assert len(read_rows(first.path)) == 2 and len(read_rows(second.path)) == 3


def test_what_was_revoked_is_left_out(store: Store, tmp_path: Path) -> None:
    fill(store, asked(1, "a"), asked(2, "b"), labelled(1, 1), labelled(2, 2), Revocation("f1", NOW))
    found = snap(store, tmp_path)
    assert [row.feedback_id for row in found.rows] == ["f2"]
    assert found.report.signals == {"label": 1}


def test_the_newest_label_by_time_counts_in_any_order_of_arrival(store: Store, tmp_path: Path) -> None:
    fill(store, labelled(1, 1, "bad", "ada", minute=5), asked(1, "a"), labelled(2, 1, "good", "ada", minute=1))
    assert [(row.feedback_id, row.label) for row in snap(store, tmp_path).rows] == [("f1", "Bad")]


def test_a_snapshot_holds_one_models_rows_only(store: Store, tmp_path: Path) -> None:
    fill(store, asked(1, "a"), asked(2, "b", model="other"), labelled(1, 1), labelled(2, 2))
    assert [row.interaction_id for row in snap(store, tmp_path).rows] == ["i1"]


def test_a_snapshot_of_nothing_is_one_too(store: Store, tmp_path: Path) -> None:
    found = snap(store, tmp_path)
    assert found.rows == () and read_rows(found.path) == []


def test_a_snapshot_that_was_cut_short_is_made_again(store: Store, tmp_path: Path) -> None:
    fill(store, asked(1, "a"), labelled(1, 1))
    name = snap(store, tmp_path / "elsewhere").hash
    (tmp_path / f"{name}.part").mkdir()
    (tmp_path / f"{name}.part" / "rows.parquet").write_bytes(b"half")
    found = snap(store, tmp_path)
    assert read_rows(found.path) == list(found.rows) and not (tmp_path / f"{name}.part").exists()


GENERATE = ModelSettings(task="generate")


def test_corrections_are_the_right_answers_of_a_model_that_generates() -> None:
    votes = [
        vote(1, "a", type="correction", value=json.dumps(" Better so. "), user_id=user_in("train")),
        vote(2, "b", user_id=user_in("train", 1)),
        vote(3, "c", type="correction", value=json.dumps("Or so."), user_id=user_in("h1")),
        vote(4, "d", type="thumbs", value="true", answer="As it was.", user_id=user_in("train", 2)),
        vote(5, "e", type="thumbs", value="true", answer="As it was.", user_id=user_in("h1")),
        vote(6, "f", type="correction", value=json.dumps("  "), user_id=user_in("train")),
    ]
    rows, left_out = curate(votes, GENERATE)
    found = [(row.label, row.signal, row.bucket) for row in rows]
    assert found == [
        ("Better so.", "correction", "train"),
        ("Or so.", "correction", "h1"),
        ("As it was.", "confirmation", "train"),
    ]
    assert left_out == {"an empty text": 1}


def test_corrections_say_nothing_to_a_classifier() -> None:
    assert curate([vote(1, "a", type="correction", value=json.dumps("good"))], MODEL) == ([], {})


def test_a_snapshot_that_was_taken_can_be_opened_again(tmp_path: Path) -> None:
    store = Store(":memory:")
    taken = create_snapshot(store, "m", MODEL, run_id="r", folder=tmp_path, clock=lambda: NOW)
    assert load_snapshot(store, taken.hash) == taken
    store.close()
