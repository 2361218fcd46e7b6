"""Facts about data on its way out and in, and about backups, through the real control and the real command line."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

from core.db import exports
from core.db.store import Store
from core.errors import InputError, LoraLoopError, NotReady
from core.hash_chain import hash_row
from core.ledger import append
from core.records import Decision, Interaction, Verdict
from feedback import importer
from feedback.ingest import insert
from feedback.schema import parse
from ops import data_files
from ops.cli import terminal
from ops.cli.app import app
from ops.local.preparation import lock_data
from tests.support.running_control import RunningControl, new, served_control, written

NOW = datetime(2026, 3, 1, 3, 0, 0, 123456, tzinfo=UTC)
ROWS = 1100
VOTES = [
    {"id": "f1", "type": "thumbs", "value": True, "interaction_id": "i1", "user": "ada"},
    {"id": "f2", "type": "label", "value": "naïve \n ☃", "interaction_id": "i2", "metadata": {"a": "b"}},
    {"id": "f3", "type": "preference", "value": {"chosen": "i1", "rejected": "i2"}, "comment": "clearer"},
    {"id": "f4", "type": "rating", "value": 4.5, "conversation_id": "c1"},
]


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


def interaction(number: int) -> Interaction:
    return Interaction(
        f"i{number}",
        NOW,
        "reviews",
        1,
        "champion",
        0.0,
        0.5,
        "ada",
        None,
        "chat",
        {"messages": [{"role": "user", "content": "so good ☃"}]},
        "positive",
        "stop",
        200,
        12.5,
        None,
        10,
        2,
        False,
    )


def fill(store: Store) -> None:
    decision = Decision("dec-1", NOW, "reviews", 0, 1, Verdict.PROMOTED, "It won.", "t", "a")
    with store.transaction() as transaction:
        insert(transaction, [interaction(number) for number in range(1, 4)])
        insert(transaction, [*parse(VOTES[:3], lambda: NOW), *parse(VOTES[3:], lambda: NOW, "shop")])
        append(transaction, decision)


def test_an_import_has_a_bar_on_a_terminal(control: RunningControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=shown, force_terminal=True, width=120))
    rows = [{"id": f"f{n}", "interaction_id": "i", "type": "thumbs", "value": True} for n in range(3)]
    done = control.run("data", "import", str(written(tmp_path / "f.jsonl", rows)), "--yes", "--json")
    assert new(done) == (0, 3, 0)
    assert "Importing" in shown.getvalue() and "3/3" in shown.getvalue() and "rows/s" in shown.getvalue()


def exported(store: Store) -> list[dict[str, Any]]:
    """What a file has of each row; a model is known only where its interaction is."""
    rows = [row for batch in exports.feedback(store, 100, model=None, key=None) for row in batch]
    return [{name: value for name, value in row.items() if name != "model"} for row in rows]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_exported_feedback_is_imported_the_same(control: RunningControl, tmp_path: Path, ending: str):
    fill(control.store)
    path = tmp_path / f"f.{ending}"
    assert control.run("data", "export", "feedback", str(path)).exit_code == 0
    before = exported(control.store)
    done = control.run("data", "import", str(path), "--yes", "--json")
    assert new(done) == (0, 0, 4)
    shop = control.run("data", "export", "feedback", str(tmp_path / f"shop.{ending}"), "--key", "shop")
    assert "Wrote 1 feedback" in shop.stderr
    other = Store(":memory:")
    importer.import_records(other, [row for _, row in data_files.read(path)], lambda: NOW)
    assert exported(other) == before
    other.close()


@pytest.mark.parametrize("kind", list(data_files.Kind))
def test_every_kind_is_the_same_in_both_formats(control: RunningControl, tmp_path: Path, kind: data_files.Kind):
    fill(control.store)
    for ending in ("jsonl", "parquet"):
        assert control.run("data", "export", kind, str(tmp_path / f"x.{ending}")).exit_code == 0
    lines, parquet = (list(data_files.read(tmp_path / f"x.{ending}")) for ending in ("jsonl", "parquet"))
    assert lines == parquet and lines
    assert pq.read_schema(tmp_path / "x.parquet").names == list(data_files.COLUMNS[kind])


def test_decisions_are_listed_by_verdict_and_day(control: RunningControl):
    fill(control.store)
    for words, rows in (
        ((), 1),
        (("--verdict", "promoted"), 1),
        (("--verdict", "kept"), 0),
        (("--since", "2026-03-01"), 1),
        (("--since", "2026-03-01T03:00:01"), 0),
        (("--until", "2026-03-01"), 0),
        (("--until", "2026-03-02"), 1),
    ):
        done = control.run("promotions", *words, "--json")
        assert done.exit_code == 0 and len(json.loads(done.stdout)) == rows, words


def test_a_row_is_shown_with_the_configuration_named_behind_the_verb(control: RunningControl):
    fill(control.store)
    assert json.loads(control.run("promotions", "show", "1", "--json").stdout)["id"] == "dec-1"


def test_what_a_key_gave_is_counted_held_and_shown_by_the_number_of_its_row(control: RunningControl):
    fill(control.store)
    with control.store.transaction() as transaction:
        insert(transaction, parse([VOTES[0]], lambda: NOW, "shop"))
    counted = json.loads(control.run("feedback", "--by-key", "--json").stdout)
    assert sorted((row["key"] or "", row["n"]) for row in counted) == [("", 1)] * 3 + [("shop", 1)] * 2
    control.app.state.control.promotion.sync_models(["reviews"])
    done = control.run("quarantine", "hold", "--model", "reviews", "--key", "shop", "--yes", "-m", "one script")
    assert done.exit_code == 0 and "1 votes" in done.stderr, done.stderr
    (held,) = json.loads(control.run("quarantine", "--json").stdout)
    shown = json.loads(control.run("quarantine", "show", str(held["decision_seq"]), "--json").stdout)
    assert [vote["id"] for vote in shown["votes"]] == ["shop:f1"] and shown["key"] == "shop"


def test_votes_are_counted_by_user_and_a_dry_run_holds_none(control: RunningControl):
    fill(control.store)
    control.app.state.control.promotion.sync_models(["reviews"])
    counted = json.loads(control.run("feedback", "--by-user", "--json").stdout)
    assert sum(row["n"] for row in counted) == len(VOTES) and {"key", "user"} <= counted[0].keys()
    wanted = ("quarantine", "hold", "--user", "ada", "--from", "2020-01-01")
    shown = control.run(*wanted, "--dry-run")
    assert shown.exit_code == 0 and "of 1 voters, 0 of them already held" in shown.stderr, shown.stderr
    assert json.loads(control.run("quarantine", "--json").stdout) == []
    assert control.run(*wanted, "--yes").exit_code == 0
    (held,) = json.loads(control.run("quarantine", "--json").stdout)
    assert (held["whose"], held["key"]) == ("user ada from 2020-01-01 00:00:00", None)
    for how in ("--yes", "--dry-run"):
        nobody = control.run("quarantine", "hold", "--user", "nobody", how)
        assert isinstance(nobody.exception, LoraLoopError) and "There are no such votes." in str(nobody.exception)


def test_a_backup_of_a_broken_ledger_is_kept_under_a_name_that_says_so(control: RunningControl, tmp_path: Path):
    fill(control.store)
    good = tmp_path / "b.tar"
    assert control.run("backup", "create", str(good), "--yes").exit_code == 0
    kept = good.read_bytes()
    with control.store.transaction() as transaction:
        transaction._connection.execute("UPDATE decisions SET reason = 'It lost.'")
    done = control.run("backup", "create", str(good), "--yes")
    assert done.exit_code == 1 and "The ledger is broken. Row 1 (dec-1)" in str(done.exception)
    broken = tmp_path / "b.tar.broken-ledger"
    assert good.read_bytes() == kept and broken.is_file() and not list(tmp_path.glob("*.part"))
    refused = control.run("backup", "restore", str(broken), "--dry-run")
    assert refused.exit_code == 1 and "--broken-ledger" in getattr(refused.exception, "hint", "")
    accepted = control.run("backup", "restore", str(broken), "--dry-run", "--broken-ledger")
    assert accepted.exit_code == 0 and "Its ledger is broken. Row 1" in accepted.stderr
    assert control.run("backup", "restore", str(good), "--dry-run").exit_code == 0


def test_exported_decisions_prove_themselves(control: RunningControl, tmp_path: Path):
    fill(control.store)
    control.run("data", "export", "decisions", str(tmp_path / "d.jsonl"))
    ((_, row),) = data_files.read(tmp_path / "d.jsonl")
    assert hash_row(row["previous_hash"], row["body"]) == row["hash"]
    head = control.run("promotions", "verify", "--head", row["hash"], "--json")
    assert head.exit_code == 0 and json.loads(head.stdout)["head_at"] == 1
    lost = control.run("promotions", "verify", "--head", "f" * 64)
    assert lost.exit_code == 1 and "BROKEN: No row has the head" in lost.stdout


def test_a_large_file_comes_in_once_however_often_it_is_imported(control: RunningControl, tmp_path: Path):
    path = written(
        tmp_path / "f.jsonl",
        [
            {
                "id": f"f{n}",
                "type": "thumbs",
                "value": n % 2 == 0,
                "interaction_id": f"i{n}",
                "time": NOW.isoformat(),
                "revoked_at": NOW.isoformat() if n == 7 else None,
            }
            for n in range(ROWS)
        ],
    )
    for added in (ROWS, 0):
        done = control.run("data", "import", str(path), "--yes", "--json")
        assert new(done) == (0, added, ROWS - added)
    assert len(control.ids()) == ROWS
    (row,) = [
        row
        for batch in exports.feedback(control.store, 100, model=None, key=None)
        for row in batch
        if row["id"] == "f7"
    ]
    assert row["time"] == NOW and row["revoked_at"] == NOW


BAD = [
    ("{not json", "It is not JSON"),
    ("[]", "A row is one JSON object"),
    ({"type": "thumbs", "value": True, "interaction_id": "i"}, "id: is required"),
    (VOTES[0] | {"value": "yes"}, "thumbs takes true or false"),
    (VOTES[0] | {"modell": "x"}, "modell: no such field"),
    (VOTES[0] | {"time": "yesterday"}, "time: is no time"),
    (VOTES[0] | {"time": "2026-01-01T00:00:00"}, "time: has no time zone"),
    (VOTES[0] | {"time": "2999-01-01T00:00:00+00:00"}, "time: is in the future"),
    (VOTES[0] | {"time": "0001-01-01T00:00:00+05:00"}, "time: is before the year 1 or after the year 9999"),
    (VOTES[0] | {"time": "9999-12-31T23:59:59-05:00"}, "time: is before the year 1 or after the year 9999"),
    (VOTES[1] | {"value": True}, "write the label in quotes"),
    (VOTES[0] | {"revoked_at": 5}, "revoked_at: is no time"),
]


def test_every_bad_line_is_named_and_costs_no_other(control: RunningControl, tmp_path: Path):
    rows = [VOTES[0], *(row for row, _ in BAD), "", VOTES[1]]
    done = control.run("data", "import", str(written(tmp_path / "f.jsonl", rows)), "--yes")
    for number, (_, sentence) in enumerate(BAD, 2):
        assert f"line {number}: " in done.stderr and sentence in done.stderr
    assert isinstance(done.exception, InputError) and f"{len(BAD)} of {len(BAD) + 2} rows" in str(done.exception)
    assert sorted(control.ids()) == ["f1", "f2"]


def test_a_file_with_only_bad_lines_is_refused_and_nothing_is_sent(control: RunningControl, tmp_path: Path):
    done = control.run("data", "import", str(written(tmp_path / "f.jsonl", [VOTES[0] | {"value": "yes"}])), "--yes")
    assert isinstance(done.exception, InputError) and "1 of 1 rows have errors, the first in line 1" in str(
        done.exception
    )
    assert control.ids() == []


def test_interactions_go_out_and_come_back_the_same(control: RunningControl, tmp_path: Path):
    fill(control.store)
    path = tmp_path / "i.jsonl"
    assert control.run("data", "export", "interactions", str(path)).exit_code == 0
    before = path.read_text()
    with control.store.transaction() as transaction:
        transaction._connection.execute("DELETE FROM interactions")
    assert new(control.run("data", "import", str(path), "--yes", "--json")) == (3, 0, 0)
    assert control.run("data", "export", "interactions", str(path), "--yes").exit_code == 0
    assert path.read_text() == before


@pytest.mark.parametrize("name", ["f.csv", "none.jsonl", "empty.jsonl", "bad.parquet"])
def test_a_file_that_is_none_is_refused(control: RunningControl, tmp_path: Path, name: str):
    if not name.startswith("none"):
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"PAR1junk")
    assert isinstance(control.run("data", "import", str(tmp_path / name), "--yes").exception, InputError)


def test_an_import_asks_first_and_a_dry_run_sends_nothing(control: RunningControl, tmp_path: Path):
    path = str(written(tmp_path / "f.jsonl", VOTES))
    assert "--yes" in str(control.run("data", "import", path).exception)
    assert control.run("data", "import", path, "--dry-run").exit_code == 0
    assert control.ids() == []


def test_a_file_that_is_there_is_not_replaced_unasked(control: RunningControl, tmp_path: Path):
    (tmp_path / "f.jsonl").write_text("mine")
    assert "--yes" in str(control.run("data", "export", "feedback", str(tmp_path / "f.jsonl")).exception)
    assert (tmp_path / "f.jsonl").read_text() == "mine"
    assert control.run("data", "export", "feedback", str(tmp_path / "f.jsonl"), "--yes").exit_code == 0
    assert (tmp_path / "f.jsonl").stat().st_mode & 0o077 == 0


def test_a_backup_is_made_while_control_runs_and_can_be_restored(control: RunningControl, tmp_path: Path):
    fill(control.store)
    path = tmp_path / "b.tar"
    done = control.run("backup", "create", str(path), "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["ledger_rows"] == 1 and path.stat().st_mode & 0o077 == 0
    assert [p.name for p in tmp_path.glob("*.part")] == []
    new = tmp_path / "new.yaml"
    new.write_text(control.config.read_text().replace(str(tmp_path / "data"), str(tmp_path / "new")))
    assert CliRunner().invoke(app, ["backup", "restore", str(path), "--dry-run", "--config", str(new)]).exit_code == 0
    assert not (tmp_path / "new").exists()
    done = CliRunner().invoke(app, ["backup", "restore", str(path), "--config", str(new), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["aside"] is None
    again = CliRunner().invoke(app, ["backup", "restore", str(path), "--config", str(new)])
    assert "--yes" in str(again.exception)


def test_a_restore_under_a_running_up_is_refused(control: RunningControl, tmp_path: Path):
    control.run("backup", "create", str(tmp_path / "b.tar"))
    lock = lock_data(tmp_path / "data")
    done = control.run("backup", "restore", str(tmp_path / "b.tar"), "--yes")
    lock.release()
    assert isinstance(done.exception, NotReady) and "Stop it first" in str(done.exception)
    assert not list((tmp_path / "data").glob("before-restore-*"))


def test_a_backup_that_cannot_be_made_leaves_no_half_file(
    control: RunningControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ops.backup.archive.SPACE_FACTOR", 1e12)
    done = control.run("backup", "create", str(tmp_path / "b.tar"))
    assert isinstance(done.exception, LoraLoopError) and "Free space" in str(done.exception)
    assert list(tmp_path.glob("b.tar*")) == []
