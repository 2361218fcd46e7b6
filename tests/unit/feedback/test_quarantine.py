"""Facts about which votes a quarantine holds."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import core
from core.db import quarantines
from core.db.quarantines import Predicate, Size
from core.db.store import Store
from core.errors import InputError
from core.records import Feedback, Interaction
from feedback import quarantine
from feedback.ingest import add
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def asked(identity: str, user: str | None = None, model: str = "m", conversation: str | None = None) -> Interaction:
    return interaction(identity, time=NOW, model=model, user=user, conversation=conversation, request=None)


def said(identity: str, about: str | None, user: str | None = None, key: str | None = "shop", **more: Any) -> Feedback:
    plain: dict[str, Any] = {"time": NOW, "conversation_id": None, "type": "thumbs", "value": False}
    return Feedback(identity, interaction_id=about, user=user, key_id=key, **(plain | more))


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    add(made, [asked("i-ann", "ann", conversation="talk"), asked("i-bob", "bob"), asked("i-other", "ann", "other")])
    yield made
    made.close()


def hold(store: Store, *predicates: Predicate, identity: str = "q", model: str = "m") -> None:
    with store.transaction() as transaction:
        request = quarantine.Hold(identity, predicates)
        quarantine.hold(transaction, model, request, decision_id="d", time=NOW)


def held(store: Store) -> set[str]:
    with store._cursor() as cursor:
        return {row[0] for row in cursor.execute("SELECT feedback_id FROM quarantined_feedback").fetchall()}


def test_a_key_is_held_with_what_it_sends_later_until_it_is_released(store: Store):
    add(store, [said("before", "i-ann"), said("other-key", "i-ann", key="app")])
    hold(store, Predicate(key="shop"))
    add(store, [said("after", "i-bob", time=NOW + timedelta(days=3)), said("other-model", "i-other")])
    assert held(store) == {"before", "after"}
    with store.transaction() as transaction:
        quarantine.decide(transaction, "q", "released", actor="ann", comment="", time=NOW + timedelta(days=1))
    add(store, [said("later", "i-bob", time=NOW)])
    assert held(store) == set()
    assert quarantines.size(store, id="q").votes == 2  # what it held when it was released


def test_a_rejected_quarantine_leaves_out_what_comes_later_too(store: Store):
    hold(store, Predicate(key="shop"))
    with store.transaction() as transaction:
        quarantine.decide(transaction, "q", "rejected", actor="ann", comment="", time=NOW)
    add(store, [said("after", "i-bob", time=NOW + timedelta(days=3))])
    assert held(store) == {"after"}


def test_a_user_is_held_by_every_key_or_by_one_and_by_votes_that_name_nobody(store: Store):
    add(
        store,
        [
            said("named", "i-bob", "ann"),
            said("another-key", "i-bob", "ann", key="app"),
            said("unnamed", "i-ann"),  # by the user of the answer
            said("of-bob", "i-bob", "bob"),
            said("on-ann", "i-ann", "bob"),
        ],
    )
    hold(store, Predicate(key="shop", user="ann"))
    assert held(store) == {"named", "unnamed"}
    hold(store, Predicate(user="ann"), identity="q2")
    assert held(store) == {"named", "unnamed", "another-key"}


def test_preferences_and_conversations_are_held_by_the_model_of_what_they_name(store: Store):
    pair = {"chosen": "i-ann", "rejected": "i-bob"}
    add(
        store,
        [
            said("pair", None, "eve", type="preference", value=pair),
            said("talk", None, "eve", conversation_id="talk"),
            said("elsewhere", None, "eve", type="preference", value={"chosen": "i-other", "rejected": "i-other"}),
            said("unnamed-pair", None, type="preference", value=pair),
            said("unnamed-talk", None, conversation_id="talk"),
            said("unknown", None, "eve", conversation_id="never seen"),
        ],
    )
    hold(store, Predicate(user="eve"))
    assert held(store) == {"pair", "talk"}
    hold(store, Predicate(user="ann"), identity="q2")
    assert held(store) == {"pair", "talk", "unnamed-pair", "unnamed-talk"}
    hold(store, Predicate(key="shop"), identity="q3", model="other")
    assert held(store) == {"pair", "talk", "unnamed-pair", "unnamed-talk", "elsewhere"}


def test_a_vote_whose_interaction_comes_later_is_held_from_then_on(store: Store):
    hold(store, Predicate(key="shop"))
    add(store, [said("early", "i-late")])
    assert held(store) == set()
    add(store, [asked("i-late", "eve")])
    assert held(store) == {"early"}


def test_votes_that_name_nobody_are_held_whether_they_or_their_answers_come_first(store: Store):
    hold(store, Predicate(user="eve"))
    pair = {"chosen": "i-eve", "rejected": "i-bob"}
    early = [
        said("early", "i-eve"),
        said("named", "i-eve", "bob"),
        said("early-pair", None, type="preference", value=pair),
        said("other-pair", None, type="preference", value={"chosen": "i-bob", "rejected": "i-eve"}),
        said("early-talk", None, conversation_id="later"),
    ]
    add(store, early)
    assert held(store) == set()
    add(store, [asked("i-eve", "eve", conversation="later")])
    assert held(store) == {"early", "early-pair", "early-talk"}
    add(store, [said("after", "i-eve"), said("after-pair", None, type="preference", value=pair)])
    assert held(store) == {"early", "early-pair", "early-talk", "after", "after-pair"}
    add(store, [said("after", "i-eve", value=True, time=NOW + timedelta(hours=1))])  # another word under the same id
    assert "after" in held(store)
    add(store, [said("early", "i-eve", "bob", time=NOW + timedelta(hours=1))])  # now it names a user
    assert "early" not in held(store)


def test_the_votes_of_thousands_of_answers_that_come_late_find_their_users(store: Store):
    many = range(2500)  # more than one statement takes
    add(store, [said(f"v{n}", f"late{n}") for n in many])
    hold(store, Predicate(user="u7"), Predicate(user="u2499"))
    add(store, [asked(f"late{n}", f"u{n}") for n in many])
    assert held(store) == {"v7", "v2499"}


def test_a_time_holds_everybodys_votes_from_its_start_until_its_end(store: Store):
    minutes = [said(f"m{n}", "i-ann", time=NOW + timedelta(minutes=n)) for n in range(5)]
    add(store, minutes)
    hold(store, Predicate(since=NOW + timedelta(minutes=1), until=NOW + timedelta(minutes=3)))
    assert held(store) == {"m1", "m2"}
    hold(store, Predicate(since=NOW + timedelta(minutes=4)), identity="q2")
    assert held(store) == {"m1", "m2", "m4"}


def test_a_preview_says_what_the_hold_will_hold_and_writes_nothing(store: Store):
    add(store, [said("a", "i-ann", "x"), said("b", "i-ann", "y"), said("c", "i-ann", "y"), said("d", "i-ann", key="k")])
    hold(store, Predicate(user="y"))
    assert quarantine.preview(store, "m", Predicate(key="shop"), now=NOW) == Size(votes=3, added=1, voters=2)
    assert held(store) == {"b", "c"} and len(quarantines.newest(store, model=None)) == 1


def test_a_predicate_must_say_whose_votes_and_a_time_must_not_end_before_it_begins():
    with pytest.raises(InputError, match="Say whose votes to hold"):
        quarantine.check(Predicate())
    with pytest.raises(InputError, match="until: must be later than from"):
        quarantine.check(Predicate(since=NOW, until=NOW))
    assert quarantine.describe(Predicate("shop", "ann", NOW, NOW + timedelta(hours=1))) == (
        "user ann by the key shop from 2026-05-01 12:00:00 until 2026-05-01 13:00:00"
    )


def test_what_an_older_release_held_stays_held(tmp_path: Path):
    path, folder = tmp_path / "loraloop.duckdb", Path(core.__file__).parent / "db" / "migrations"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version FROM range(1, 17)")
        for file in sorted(folder.glob("00*.sql")):
            if int(file.name[:4]) <= 16:
                connection.execute(file.read_text())
        for identity, key in (("f1", "shop"), ("f2", "app"), ("f3", "shop")):
            connection.execute(
                "INSERT INTO feedback (id, time, interaction_id, type, value, metadata, model, key_id) "
                "VALUES (?, '2026-03-01', 'i', 'thumbs', 'true', '{}', 'm', ?)",
                [identity, key],
            )
        for identity, version, key, state in (
            ("of-version", 3, None, "held"),
            ("of-key", None, "shop", "rejected"),
            ("done", 2, None, "released"),
        ):
            connection.execute(
                "INSERT INTO quarantines (id, model, version, decision_id, time, state, key_id, decided) "
                "VALUES (?, 'm', ?, 'd', '2026-03-02', ?, ?, '2026-03-03')",
                [identity, version, state, key],
            )
        connection.execute(
            "INSERT INTO interactions BY NAME SELECT 'ann' AS id, TIMESTAMP '2026-03-01' AS time, 'm' AS model, "
            "1 AS version, 'champion' AS arm, 0.0 AS share, 'chat' AS endpoint, 200 AS status, 1.0 AS latency_ms, "
            "FALSE AS streamed, 'ann' AS user_id, 'talk' AS conversation_id"
        )
        for identity, about, talk, kind, value in (
            ("on-ann", "ann", None, "thumbs", "true"),
            ("pair", None, None, "preference", '{"chosen": "ann", "rejected": "i"}'),
            ("talk", None, "talk", "thumbs", "true"),
        ):
            connection.execute(
                "INSERT INTO feedback (id, time, interaction_id, conversation_id, type, value, metadata) "
                "VALUES (?, '2026-03-01', ?, ?, ?, ?, '{}')",
                [identity, about, talk, kind, value],
            )
        connection.execute("INSERT INTO quarantine_rows VALUES ('of-version', 'f2'), ('of-key', 'f1'), ('done', 'f3')")
    store = Store(path)
    add(store, [asked("i"), said("new", "i", time=datetime(2026, 4, 1, tzinfo=UTC))])
    assert held(store) == {"f1", "f2", "f3"}  # f3 came from the key before its quarantine
    assert quarantine.find(store, "of-key")["whose"] == "the key shop until 2026-03-02 00:00:00"
    with store._cursor() as cursor:
        found = cursor.execute("SELECT id, asker FROM feedback WHERE asker IS NOT NULL ORDER BY id").fetchall()
    assert found == [("on-ann", "ann"), ("pair", "ann"), ("talk", "ann")]
    assert quarantine.find(store, "of-version")["whose"] == "what version 3 was the first to learn from"
    store.close()
