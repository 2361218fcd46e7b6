"""Facts about erasures: after one, no byte under the data folder has the user's name or texts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from core.clock import utc_now
from core.db import erasures as table
from core.db import runs, spools
from core.db.store import Store
from core.ledger import verify_store
from core.prompts import Text
from core.record_codec import Record, encode, encode_all
from core.records import Feedback, Interaction, Revocation, StoredCompletion, Verdict
from core.settings import ModelSettings, TrustSettings
from core.spool import frame
from eval.retrieval_corpus import without_prompts
from feedback import dead_letters, erasure
from feedback.erasure import Request, without_user
from feedback.ingest import add, ingest
from feedback.snapshot import create_snapshot, load_snapshot
from feedback.tombstones import hash_of
from ops.erasures import Erasures
from retrain.artifacts import from_retrieval, register_folder
from rollout.change_writer import DecisionContext
from serve.engines.fake import running
from serve.retrieval.retriever import Entry, Retrieval, read_retrieval
from tests.support.alone import at_once
from tests.support.ingest import NOW, asked, query
from tests.support.running_control import RunningControl

ZOE = "Zoë Marvellous"
# One word per place where a text of hers can be.
WORDS = ("zebra", "quagga", "okapi", "axolotl", "platypus", "wombat", "narwhal", "pangolin", "tapir", "gazelle")
NEWER = '"kind":"newer"'


def chat(identity: str, user: str | None, text: str, **changes: Any) -> Interaction:
    request = {"messages": [{"role": "user", "content": text}], "user": user}
    return asked(identity, model="reviews", user=user, request=request, **changes)


def vote(identity: str, about: str, kind: str, value: Any, user: str | None = None, **changes: Any) -> Feedback:
    return Feedback(identity, NOW, about, None, kind, value, user=user, **changes)


def records() -> list[Record]:
    """What apps sent: ten users, and Zoë with one word in each of her texts."""
    found: list[Record] = []
    for n in range(10):
        found += [chat(f"i{n}", f"u{n}", f"an ordinary question {n}"), vote(f"f{n}", f"i{n}", "label", "a", f"u{n}")]
    found += [
        chat("z1", ZOE, "the zebra hinge", answer="quagga", conversation=f"talk of {ZOE}"),
        chat("z2", ZOE, "the zebra lid", answer="quagga"),
        StoredCompletion("z1", NOW, "k", {"who": ZOE}, {"choices": ["okapi"]}),
        vote(f"{ZOE}:1", "z1", "label", "b", ZOE, comment="axolotl"),
        vote("unnamed", "z2", "comment", "platypus"),
        vote("of-another", "z2", "correction", "wombat", "u1", comment="wombat"),
        replace(vote(f"{ZOE}:1", "z1", "label", "a", ZOE, comment="gazelle"), time=NOW - timedelta(days=1)),
        replace(vote("of-another", "z2", "correction", "gazelle", "u1"), time=NOW - timedelta(days=1)),
        Revocation(f"{ZOE}:1", NOW - timedelta(days=2)),
        Revocation("", NOW - timedelta(days=2), None, "k", "z1", ZOE),
        vote(f"{ZOE}:waits", "never", "comment", "narwhal", ZOE),
        Feedback(f"{ZOE}:talk", NOW, None, f"talk of {ZOE}", "comment", "narwhal"),
    ]
    return found


class Place:
    """A control with everything that a user's texts can be in."""

    def __init__(self, folder: Path) -> None:
        self.control = RunningControl(folder)
        self.store, self.data = self.control.store, folder / "data"
        add(self.store, records())
        # Two letters: one of a newer gateway with her record next to another's, one that is not JSON.
        pair = f'[{{{NEWER},"user":"{ZOE}","value":"pangolin"}},{{{NEWER},"user":"u1"}}]'
        ingest(self.store, "g", 1, 0, frame(pair.encode()) + frame(b"\xff pangolin " + ZOE.encode()))
        self.settings = ModelSettings(labels=["a", "b"], trust=TrustSettings(duplicate_similarity=0.8))
        self.promotion = self.control.app.state.control.promotion
        self.promotion.sync_models(["reviews"])
        self.run()
        self.erasures = Erasures(
            store=self.store,
            promotion=self.promotion,
            settings=self.control.app.state.control.settings,
            clock=utc_now,
            run_alone=at_once,
        )

    def run(self) -> None:
        """A run with its snapshot, its retrieval, its examples, its cached answers and its folder."""
        runs.add(
            self.store, id="run", model="reviews", trigger="t", state="evaluating", started=NOW, feedback_until=NOW
        )
        folder = self.data / "snapshots"
        snapshot = create_snapshot(self.store, "reviews", self.settings, run_id="run", folder=folder, clock=lambda: NOW)
        self.snapshot = snapshot.hash
        runs.set_snapshot(self.store, id="run", snapshot=snapshot.hash)
        entries = (Entry("chat", "the zebra hinge", "b", 9), Entry("chat", "an ordinary question 1", "a", 9))
        made = from_retrieval(Retrieval(entries, 1, 100))
        with self.store.transaction() as transaction:
            execute = transaction._connection.execute
            with register_folder(
                transaction, made, model="reviews", run_id="run", adapters=self.data / "adapters"
            ) as version:
                self.control.app.state.control.promotion.add_version(transaction, version)
            execute("INSERT INTO regressions VALUES ('run', 0, 'z1', 'f1', NULL, 'tapir', 'tapir', 1.0)")
            execute("INSERT INTO answers VALUES ('key', now()::TIMESTAMP, 'e', 'tapir')")
            execute("INSERT INTO holdout_uses VALUES ('reviews', 'h1', 'run', 1)")
            execute("INSERT INTO holdout_users VALUES ('reviews', 'h1', 'user:' || ?)", [ZOE])
            execute("INSERT INTO quarantine_predicates (quarantine_id, user_id) VALUES ('q', ?)", [ZOE])
            execute("UPDATE runs SET state = 'finished', finished = now()::TIMESTAMP")
        for path in (self.data / "runs" / "run" / "log.txt", self.data / "before-restore-1" / "loraloop.duckdb"):
            path.parent.mkdir(parents=True)
            path.write_text(f"tapir {ZOE}")
        self.store._connection.execute("CHECKPOINT")

    def found(self) -> set[str]:
        """The name and words that are in any byte under the data folder, or in what is compressed there."""
        files = [path for path in self.data.rglob("*") if path.is_file()]
        content = b"".join(path.read_bytes() for path in files)
        for file in files:
            if file.suffix == ".parquet":
                content += repr(pq.read_table(file).to_pylist()).encode()
        for (name,) in query(self.store, "SELECT table_name FROM duckdb_tables()"):
            content += repr(query(self.store, f'SELECT CAST(COLUMNS(*) AS VARCHAR) FROM "{name}"')).encode()
        return {
            word for word in (ZOE, *WORDS) if word.encode() in content or json.dumps(word)[1:-1].encode() in content
        }


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    found.store.close()


def erase(place: Place, **more: Any) -> dict[str, Any]:
    begun = place.erasures.begin(Request(ZOE, actor="me", **more))
    place.erasures.carry_out()
    place.erasures.finish()
    return place.erasures.show(begun["id"])


def test_no_byte_under_the_data_folder_has_the_name_or_a_text_after_an_erasure(place: Place) -> None:
    assert place.found() >= {ZOE, "zebra", "tapir"}  # or the next line would prove nothing
    receipt = erase(place)
    assert place.found() == set()
    assert receipt["state"] == "done" and ZOE not in json.dumps(receipt, ensure_ascii=False, default=str)


def test_the_receipt_says_what_went_and_what_learnt_from_it(place: Place) -> None:
    receipt = erase(place)
    assert receipt["counts"] == {
        "interactions": 2,
        "feedback": 4,
        "texts_of_others": 1,
        "stored_completions": 1,
        "dead_letters": 2,
        "regressions": 1,
        "answers": 1,
        "snapshot_rows": receipt["counts"]["snapshot_rows"],
    }
    assert receipt["counts"]["snapshot_rows"] >= 1
    assert list(receipt["snapshots"]) == [place.snapshot]
    assert receipt["runs"] == ["run"]


def test_counts_of_others_and_of_traffic_stay(place: Place) -> None:
    before = query(place.store, "SELECT * FROM traffic_daily")
    erase(place)
    assert query(place.store, "SELECT * FROM traffic_daily") == before
    assert query(place.store, "SELECT count(*), count(user_id), count(request) FROM interactions") == [(12, 10, 10)]
    assert query(place.store, "SELECT count(*) FROM feedback") == [(11,)]
    assert query(place.store, "SELECT type, value, comment FROM feedback WHERE id = 'of-another'") == [
        ("correction", '""', None)
    ]
    assert spools.count_dead_letters(place.store) == 1
    assert "u1" in dead_letters.show(place.store, "g.1.0")["content"]


def test_a_snapshot_is_rewritten_under_a_new_hash_and_the_ledger_has_both(place: Place) -> None:
    receipt = erase(place)
    new = receipt["snapshots"][place.snapshot]
    assert new != place.snapshot
    assert runs.find(place.store, id="run")["snapshot"] == new  # pyright: ignore[reportOptionalSubscript]
    snapshot = load_snapshot(place.store, new)
    assert len(snapshot.rows) == 10 and snapshot.report.left_out["of an erased user"] == 1
    assert sum(snapshot.report.rows.values()) == 10
    assert query(place.store, f"SELECT count(*) FROM snapshot_rows WHERE snapshot = '{new}'") == [(10,)]
    assert [path.name for path in (place.data / "snapshots").iterdir()] == [new]
    (row,) = query(place.store, "SELECT body FROM decisions WHERE verdict = 'erased'")
    live = json.loads(row[0])["live"]
    assert live["snapshots"] == {place.snapshot: new} and live["user_sha256"] == hash_of(ZOE)
    assert verify_store(place.store).ok


def test_a_retrieval_loses_the_users_examples_and_has_a_new_hash(place: Place) -> None:
    erase(place)
    (row,) = query(place.store, "SELECT version FROM versions WHERE kind = 'retrieval'")
    version = place.promotion.version("reviews", row[0])
    assert [entry.text for entry in read_retrieval(version).entries] == ["an ordinary question 1"]


def test_an_example_of_an_erased_prompt_goes_in_either_form_of_its_text() -> None:
    kept = Entry("text", "other", "a", 1)
    found = Retrieval((Entry("text", "one\ntwo", "a", 1), kept), 1, 100)
    assert without_prompts(found, [Text("one\n\ntwo")]).entries == (kept,)


def test_a_preview_changes_nothing(place: Place) -> None:
    tables = "SELECT (SELECT count(*) FROM erasures), (SELECT count(*) FROM erased_interactions)"
    found = place.erasures.preview(Request(ZOE))
    assert found["counts"]["interactions"] == 2
    assert query(place.store, tables) == [(0, 0)]
    assert len(query(place.store, "SELECT 1 FROM feedback")) == 15


@pytest.mark.parametrize("step", ["erase_rows", "rewrite_snapshots", "_rewrite", "finish", "rewrite"])
def test_an_erasure_that_a_crash_interrupted_is_finished_at_the_next_start(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    owner = next(one for one in (erasure, table, Store) if hasattr(one, step))
    real = getattr(owner, step)

    def crash(*words: Any, **more: Any) -> None:
        if step != "rewrite":
            real(*words, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, crash)
        with pytest.raises(KeyboardInterrupt):
            erase(place)
    if step != "finish":
        assert [row["state"] for row in table.newest(place.store, limit=9)] != ["done"]
    place.erasures.carry_out()
    place.erasures.finish()
    assert [row["state"] for row in table.newest(place.store, limit=9)] == ["done"]
    assert place.found() == set()
    assert len(query(place.store, "SELECT 1 FROM decisions WHERE verdict = 'erased'")) == 1


def test_records_of_the_user_from_before_the_erasure_are_dropped_and_later_ones_kept(place: Place) -> None:
    erase(place)
    later = utc_now() + timedelta(minutes=1)
    late = [
        chat("z3", ZOE, "late zebra"),
        StoredCompletion("z3", NOW, "k", {}, {"choices": ["late okapi"]}),
        vote("v1", "z3", "comment", "late"),  # nobody's, on her answer
        vote("v2", "i1", "comment", "late", ZOE),
        vote("v3", "z1", "comment", "late"),
        vote("v4", "i1", "thumbs", True, "u1"),
        chat("z4", ZOE, "she is back", time=later),
    ]
    ingest(place.store, "g2", 1, 0, frame(encode_all(late[:2])) + b"".join(frame(encode(one)) for one in late[2:]))
    assert query(place.store, "SELECT id FROM interactions WHERE id LIKE 'z%' ORDER BY id") == [
        ("z1",),
        ("z2",),
        ("z4",),
    ]
    assert query(place.store, "SELECT id FROM feedback WHERE id LIKE 'v%'") == [("v4",)]
    assert query(place.store, "SELECT id FROM stored_completions WHERE completion IS NOT NULL") == []


def test_an_erasure_of_one_key_leaves_the_same_name_of_another(place: Place) -> None:
    add(place.store, [chat("k1", ZOE, "of k1", key_id="k1"), chat("k2", ZOE, "of k2", key_id="k2")])
    assert erase(place, key="k1")["counts"]["interactions"] == 1
    assert query(place.store, "SELECT id FROM interactions WHERE user_id IS NOT NULL AND id LIKE 'k%'") == [("k2",)]


def test_backups_from_before_are_named(place: Place) -> None:
    table.add_backup(place.store, time=NOW, ledger_head="h", size=1)
    assert erase(place)["backups"] == [NOW.isoformat()]


def test_a_ledger_row_that_names_the_user_is_named_because_it_cannot_change(place: Place) -> None:
    context = DecisionContext(f"me put the votes of user {ZOE} in quarantine.", "review", "me")
    place.promotion.record_decision("reviews", None, Verdict.QUARANTINED, context)
    place.promotion.record_decision("reviews", None, Verdict.QUARANTINED, replace(context, reason="of another"))
    (row,) = query(place.store, "SELECT seq FROM decisions WHERE reason LIKE 'me put%'")
    assert place.erasures.preview(Request(ZOE))["ledger_rows"] == [row[0]]


def test_every_column_that_names_a_user_is_one_that_an_erasure_clears(place: Place) -> None:
    named = query(
        place.store,
        "SELECT table_name || '.' || column_name FROM duckdb_columns() WHERE NOT internal"
        " AND regexp_matches(column_name, 'user|voter|asker|conversation') AND data_type = 'VARCHAR'"
        " AND table_name IN (SELECT table_name FROM duckdb_tables()) ORDER BY 1",
    )
    assert {name for (name,) in named} == {
        "erasures.user_hash",
        "erasures.user_id",
        "feedback.asker",
        "feedback.conversation_id",
        "feedback.user_id",
        "feedback_history.user_id",
        "holdout_users.user",
        "interactions.conversation_id",
        "interactions.user_id",
        "quarantine_predicates.user_id",
        "quarantine_rows.voter",
        "subject_revocations.user_id",
        "voted_answers.asker",
    }


@pytest.mark.parametrize(
    ("payload", "remains"),
    [
        (b'{"kind":"x","user":"u"}', None),
        (b'{"kind":"x","user":"v","interaction_id":"i"}', b'{"kind":"x","user":"v","interaction_id":"i"}'),
        (b'{"kind":"x","interaction_id":"i"}', None),
        (b'[{"user":"u"},{"user":"v"}]', b'[{"user":"v"}]'),
        (b'[{"user":"u"}, 7]', b"[7]"),
        (b"broken u", None),
        (b"broken", b"broken"),
        (b'{"user":"uu"}', b'{"user":"uu"}'),
        (b'{"user":["u"]}', b'{"user":["u"]}'),
    ],
)
def test_a_dead_letter_loses_the_records_of_the_user_only(payload: bytes, remains: bytes | None) -> None:
    assert without_user(payload, "u", {"i"}) == remains


def test_the_command_erases_and_prints_the_receipt(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with running(place.control.app, place.control.port):
        seen = place.control.run("data", "erase", "--user", ZOE, "--dry-run", "--json")
        assert json.loads(seen.stdout)["counts"]["interactions"] == 2
        done = place.control.run("data", "erase", "--user", ZOE, "--yes", "--json")
        assert json.loads(done.stdout)["state"] == "done"
        assert place.found() == set()
        assert place.control.run("models").exit_code == 0  # the store is in use after its file was exchanged
