"""Facts about the deletion of rows by age."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.db import feedback as votes_table
from core.db import retention as table
from core.db.store import Store
from core.records import Feedback, Interaction, Revocation, StoredCompletion
from core.settings import RetentionSettings
from feedback import retention
from feedback.ingest import add
from feedback.retention import delete_rows, find_rows, limit_of
from tests.support.ingest import NOW, asked, query

OLD = NOW - timedelta(days=100)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "s.duckdb")
    yield found
    found.close()


def chat(identity: str, time: datetime, **changes: Any) -> Interaction:
    request = {"messages": [{"role": "user", "content": f"text of {identity}"}]}
    return asked(identity, time=time, request=request, **({"user": f"user of {identity}"} | changes))


def vote(identity: str, about: str | None, time: datetime, kind: str = "comment", **changes: Any) -> Feedback:
    return Feedback(identity, time, about, None, kind, changes.pop("value", "said"), **changes)


def arrived(store: Store, time: datetime, *ids: str) -> None:
    """Date the arrival of feedback; without ids, of all."""
    with store.transaction() as transaction:
        sql = "UPDATE feedback SET arrived = ? WHERE len(?) = 0 OR list_contains(?, id)"
        transaction._connection.execute(sql, [time.replace(tzinfo=None), list(ids), list(ids)])


def texts(store: Store) -> list[str]:
    return [id for (id,) in query(store, "SELECT id FROM interactions WHERE request IS NOT NULL ORDER BY id")]


def delete(store: Store, kind: str, days: int = 30) -> int:
    return sum(delete_rows(store, kind, days, NOW))


def test_texts_go_by_age_and_their_counts_stay(store: Store) -> None:
    add(store, [chat("old", OLD), chat("new", NOW)])
    assert delete(store, "texts") == 1
    assert texts(store) == ["new"]
    assert query(store, "SELECT request, answer, prompt_tokens, user_id FROM interactions WHERE id = 'old'") == [
        (None, None, 1, "user of old")
    ]
    assert query(store, "SELECT sum(requests) FROM traffic_daily") == [(2,)]


def test_unrated_texts_go_with_their_users_and_rated_ones_stay(store: Store) -> None:
    rated = ["voted", "chosen", "rejected", "talked"]
    add(
        store,
        [
            *(chat(identity, OLD, conversation="talk" if identity == "talked" else None) for identity in rated),
            chat("unrated", OLD, conversation="other"),
            chat("new", NOW),
            vote("f1", "voted", OLD),
            vote("f2", None, OLD, "preference", value={"chosen": "chosen", "rejected": "rejected"}),
            Feedback("f3", OLD, None, "talk", "comment", "said"),
        ],
    )
    assert delete(store, "unrated_texts") == 1
    assert texts(store) == sorted([*rated, "new"])
    assert query(store, "SELECT user_id, conversation_id, bucket FROM interactions WHERE id = 'unrated'") == [
        (None, None, None)
    ]


def test_a_stored_completion_keeps_its_texts_until_its_own_time(store: Store) -> None:
    add(store, [chat("i", OLD), StoredCompletion("i", OLD, "k", {}, {"choices": ["said"]})])
    assert delete(store, "texts") == delete(store, "unrated_texts") == 0
    assert delete(store, "stored_completions") == 1
    assert texts(store) == []
    assert query(store, "SELECT completion, deleted IS NOT NULL FROM stored_completions") == [(None, True)]


def test_votes_go_by_their_arrival_and_their_counts_stay(store: Store) -> None:
    add(
        store,
        [
            chat("i", OLD),
            vote("old", "i", NOW, comment="old words"),
            vote("taken-back", "i", OLD),
            Revocation("taken-back", NOW),
            vote("waits", "never", OLD),
            vote("new", "i", OLD),
        ],
    )
    arrived(store, OLD)
    arrived(store, NOW, "new")
    before = votes_table.by_day(store, model="m", since=OLD)
    assert delete(store, "votes") == 3
    assert query(store, "SELECT id FROM feedback") == [("new",)]
    for name in ("feedback_waiting", "revocations"):
        assert query(store, f"SELECT count(*) FROM {name}") == [(0,)]
    assert sorted(map(str, votes_table.by_day(store, model="m", since=OLD))) == sorted(map(str, before))


def test_what_was_said_before_under_one_id_goes_with_the_vote(store: Store) -> None:
    add(store, [chat("i", OLD), vote("f", "i", OLD)])
    add(store, [vote("f", "i", NOW, value="said again")])
    assert query(store, "SELECT count(*) FROM feedback_history") == [(2,)]
    arrived(store, OLD)
    delete(store, "votes")
    assert query(store, "SELECT count(*) FROM feedback_history") == [(0,)]


def test_a_user_of_a_holdout_goes_when_nothing_of_the_user_is_left(store: Store) -> None:
    add(store, [chat("i", OLD, user="asker"), vote("f1", "i", OLD, user="gone"), vote("f2", "i", OLD, user="stays")])
    arrived(store, OLD, "f1")
    for user in ("gone", "user:gone", "stays", "user:asker"):
        query(store, f"INSERT INTO holdout_users VALUES ('m', 'h1', '{user}')")
    arrived(store, NOW, "f2")
    delete(store, "votes")
    assert query(store, 'SELECT "user" FROM holdout_users ORDER BY 1') == [("stays",), ("user:asker",)]


def test_what_waits_has_an_end_and_the_newest_position_of_a_spool_stays(store: Store) -> None:
    add(store, [vote("old", "never", OLD), vote("new", "never", NOW), Revocation("nothing", OLD)])
    arrived(store, OLD, "old")
    arrived(store, NOW, "new")
    day = int(OLD.timestamp() * 1e6)
    for spool, segment in (("g", day), ("g", day + 1), ("h", day)):
        query(store, f"INSERT INTO spool_offsets VALUES ('{spool}', {segment}, 9)")
    assert delete(store, "waiting") == 3
    assert query(store, "SELECT feedback_id FROM feedback_waiting") == [("new",)]
    assert query(store, "SELECT count(*) FROM feedback") == [(2,)]
    assert query(store, "SELECT spool, segment FROM spool_offsets ORDER BY 1") == [("g", day + 1), ("h", day)]


def run(store: Store, identity: str, finished: datetime | None) -> None:
    end = f"'{finished.replace(tzinfo=None)}'" if finished else "NULL"
    query(
        store,
        "INSERT INTO runs (id, model, trigger, state, started, finished, feedback_until, detail)"
        f" VALUES ('{identity}', 'm', 't', 's', '{OLD.replace(tzinfo=None)}', {end}, '2026-01-01', '{{}}')",
    )


def test_progress_of_old_runs_goes_but_the_newest_training_and_the_last_look(store: Store) -> None:
    for identity, finished, phase in (("old", OLD, "evaluating"), ("trained", OLD, "training"), ("open", None, "x")):
        run(store, identity, finished)
        query(store, f"INSERT INTO run_metrics VALUES ('{identity}', '2026-01-01', '{phase}', 1, 1, '{{}}')")
    for look in (1, 2, 3):
        query(store, f"INSERT INTO canary_looks VALUES ('old', {look}, '2026-01-01', 'v', 'r', '{{}}')")
    assert delete(store, "progress") == 3
    assert query(store, "SELECT run_id FROM run_metrics ORDER BY 1") == [("open",), ("trained",)]
    assert query(store, "SELECT look FROM canary_looks") == [(3,)]


def test_examples_answers_and_dead_letters_go_by_age(store: Store) -> None:
    for identity, finished in (("old", OLD), ("new", NOW)):
        run(store, identity, finished)
        time = finished.replace(tzinfo=None)
        query(store, f"INSERT INTO regressions VALUES ('{identity}', 0, 'i', 'k', NULL, 'a', 'b', 1.0)")
        query(store, f"INSERT INTO answers VALUES ('{identity}', '{time}', 'e', 'a')")
        query(store, f"INSERT INTO dead_letters VALUES ('{identity}', 1, 1, '{time}', 'r', 'p')")
    for kind, name, column in (
        ("regressions", "regressions", "run_id"),
        ("answers", "answers", "key"),
        ("dead_letters", "dead_letters", "spool"),
    ):
        assert delete(store, kind) == 1
        assert query(store, f"SELECT {column} FROM {name}") == [("new",)]


def test_an_open_canary_keeps_what_it_reads(store: Store) -> None:
    add(store, [chat("before", OLD - timedelta(days=2)), chat("during", OLD + timedelta(days=1))])
    query(
        store,
        "INSERT INTO canaries (run_id, model, control, candidate, share, started, score_sd, plan, decision) "
        f"VALUES ('r', 'm', 0, 1, 0.1, '{OLD.replace(tzinfo=None)}', 1.0, '{{}}', '{{}}')",
    )
    assert delete(store, "texts") == 1
    assert texts(store) == ["during"]
    query(store, "UPDATE canaries SET finished = now()::TIMESTAMP")
    assert delete(store, "texts") == 1


def test_a_kind_without_days_is_kept_for_ever(store: Store) -> None:
    add(store, [chat("i", OLD)])
    settings = RetentionSettings(unrated_texts=None)
    assert list(delete_rows(store, "texts", settings.texts, NOW)) == []
    assert find_rows(store, settings, NOW)["texts"].rows == 1
    assert find_rows(store, settings, NOW)["texts"].old_rows == 0


def test_what_is_found_is_what_is_deleted(store: Store) -> None:
    add(store, [chat(f"i{n}", OLD + timedelta(days=n)) for n in range(100)])
    add(store, [vote(f"f{n}", f"i{n}", OLD) for n in range(0, 100, 3)])
    settings = RetentionSettings(texts=30, unrated_texts=40, votes=None)
    found = find_rows(store, settings, NOW)
    assert found["texts"].old_rows == 70 and found["texts"].bytes > 100 * len("text of i1")
    assert found["unrated_texts"].old_rows == 40
    assert delete(store, "unrated_texts", 40) == 40
    assert delete(store, "texts", 30) == 30


def test_pieces_are_small_and_each_is_a_transaction_of_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small = retention.RowKind(table.find_texts, table.end_of_interactions, table.delete_texts, limit=10)
    monkeypatch.setitem(retention.KINDS, "texts", small)
    add(store, [chat(f"i{n}", OLD + timedelta(minutes=n)) for n in range(35)])
    counts = []
    for count in delete_rows(store, "texts", 30, NOW):
        counts.append(count)
        assert len(texts(store)) == 35 - sum(counts)  # committed, and nothing is locked
    assert counts == [10, 10, 10, 5, 0]


@given(days=st.integers(1, 36_500), live=st.integers(0, 60 * 24 * 400))
def test_nothing_newer_than_its_days_or_read_by_a_live_test_is_deleted(days: int, live: int) -> None:
    since = NOW - timedelta(minutes=live)
    before = limit_of("votes", days, NOW, since)
    assert before is not None and before <= NOW - timedelta(days=days) and before < since
    assert limit_of("answers", days, NOW, since) == NOW - timedelta(days=days)


# Columns of interactions whose values are no texts of users. A new column belongs here, or a deletion clears it.
COUNTS = {"id", "model", "arm", "endpoint", "finish_reason", "key_id", "cause"}


@pytest.mark.parametrize("kind", ["texts", "unrated_texts", "stored_completions"])
def test_every_column_of_interactions_with_texts_is_cleared(store: Store, kind: str) -> None:
    add(store, [chat("i", OLD), StoredCompletion("i", OLD, "k", {}, {"choices": ["said"]})])
    if kind != "stored_completions":
        query(store, "DELETE FROM stored_completions")
    named = (
        "SELECT column_name FROM duckdb_columns()"
        " WHERE table_name = 'interactions' AND data_type IN ('VARCHAR', 'JSON')"
    )
    columns = [name for (name,) in query(store, named) if name not in COUNTS]
    query(store, f"UPDATE interactions SET {', '.join(f'{name} = 42' for name in columns)}")
    delete(store, kind)
    names = {"user_id", "conversation_id"} if kind != "unrated_texts" else set()
    left = query(store, f"SELECT {', '.join(columns)} FROM interactions")[0]
    assert {name for name, value in zip(columns, left, strict=True) if value is not None} == names
