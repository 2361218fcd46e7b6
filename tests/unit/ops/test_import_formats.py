"""Facts about `loraloop data import` of files of other tools: interactions come with their feedback, once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.db import feedback
from core.errors import InputError, NotFound
from core.records import Revocation
from core.settings import ModelSettings
from feedback.ingest import add
from feedback.snapshot import curate_store
from ops.apps.control_metrics import scrape
from ops.cli import importing
from tests.support.ingest import NOW, query
from tests.support.running_control import RunningControl, new, served_control, written


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


def example(text: str, label: str, **more: Any) -> dict[str, Any]:
    asked, said = {"role": "user", "content": text}, {"role": "assistant", "content": label}
    return {"messages": [asked, said]} | more


def test_examples_become_labels_that_a_snapshot_can_read(control: RunningControl, tmp_path: Path) -> None:
    rows = [example(f"text {number}", "ab"[number % 2], user=f"u{number}") for number in range(50)]
    path = str(written(tmp_path / "examples.jsonl", rows))
    done = control.run("data", "import", path, "--model", "reviews", "--yes", "--json")
    assert done.exit_code == 0 and new(done) == (50, 50, 0)
    assert "Format: openai, by the fields of line 1." in done.stderr
    assert "50 rows for reviews: 50 interactions, 50 label." in done.stderr and "rows/s" in done.stderr
    found = curate_store(control.store, "reviews", ModelSettings(labels=["a", "b"]))
    assert len(found.rows) == 50 and json.loads(found.rows["prompt"][0].as_py())[0]["role"] == "user"
    assert new(control.run("data", "import", path, "--model", "reviews", "--yes", "--json")) == (0, 0, 100)


def test_preference_sets_come_in_as_parquet(control: RunningControl, tmp_path: Path) -> None:
    sides = {
        name: [
            [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"{name} {n}"}] for n in range(3)
        ]
        for name in ("chosen", "rejected")
    }
    pq.write_table(pa.table(sides), tmp_path / "pairs.parquet")
    done = control.run("data", "import", str(tmp_path / "pairs.parquet"), "--model", "reviews", "--yes", "--json")
    assert new(done) == (6, 3, 0)
    assert [row["n"] for row in feedback.counts(control.store, model=None, key=None)] == [3]


def test_a_bad_line_is_named_left_out_and_gives_exit_code_1(control: RunningControl, tmp_path: Path) -> None:
    rows = [example("one", "a"), "{broken", example("two", "c"), example("three", "b")]
    path = str(written(tmp_path / "examples.jsonl", rows))
    dry = control.run("data", "import", path, "--model", "reviews", "--dry-run")
    assert dry.exit_code == 0 and "Errors: 2 rows, which are left out." in dry.stderr
    assert "line 2: It is not JSON" in dry.stderr and "line 3: messages: 'c' is not a label of reviews" in dry.stderr
    assert query(control.store, "SELECT count(*) FROM interactions") == [(0,)]
    done = control.run("data", "import", path, "--model", "reviews", "--yes")
    assert isinstance(done.exception, InputError) and "2 of 4 rows were left out" in str(done.exception)
    assert query(control.store, "SELECT count(*) FROM interactions") == [(2,)]


def test_a_row_that_control_refuses_is_named_by_its_line(control: RunningControl, tmp_path: Path) -> None:
    row = {"id": "i1", "time": "2026-02-01T00:00:00Z", "model": "reviews", "endpoint": "chat", "arm": "champion"}
    rows = [row | {"id": f"i{n}", "status": 2**40 if n == 1 else 200} for n in range(4)]
    done = control.run("data", "import", str(written(tmp_path / "i.jsonl", rows)), "--yes", "--json")
    assert json.loads(done.stdout)["interactions"] == 3
    assert "line 2: " in str(done.exception) and "1 of 4 rows were left out" in str(done.exception)


def test_a_long_file_is_sent_in_pieces(
    control: RunningControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "RECORDS_AT_ONCE", 7)
    rows = [example(f"text {number}", "a") for number in range(30)]
    done = control.run("data", "import", str(written(tmp_path / "e.jsonl", rows)), "-m", "reviews", "--yes", "--json")
    assert new(done) == (30, 30, 0)


def test_what_is_left_out_is_counted_by_reason(control: RunningControl, tmp_path: Path) -> None:
    score = {"id": "s", "traceId": "t", "name": "quality", "value": 1, "dataType": "BOOLEAN"}
    rows = [score, score | {"id": "s2", "source": "EVAL"}]
    done = control.run("data", "import", str(written(tmp_path / "s.json", rows)), "-m", "reviews", "--yes", "--json")
    assert "Left out: 1 × a score of an evaluator, not of a person." in done.stderr and new(done) == (0, 1, 0)
    only = written(tmp_path / "only.jsonl", rows[1:])
    refused = control.run("data", "import", str(only), "-m", "reviews", "--yes").exception
    assert isinstance(refused, InputError) and "has no row to import" in str(refused)


def test_the_model_must_be_named_and_known(control: RunningControl, tmp_path: Path) -> None:
    path = str(written(tmp_path / "e.jsonl", [example("one", "a")]))
    assert "--model: is needed" in str(control.run("data", "import", path, "--yes").exception)
    assert isinstance(control.run("data", "import", path, "--model", "none", "--yes").exception, NotFound)


def test_the_format_can_be_named(control: RunningControl, tmp_path: Path) -> None:
    path = str(written(tmp_path / "e.jsonl", [example("one", "a")]))
    done = control.run("data", "import", path, "-m", "reviews", "--format", "langfuse", "--yes")
    assert "does not have the fields of langfuse" in str(done.exception)


def test_what_waits_is_shown(control: RunningControl, tmp_path: Path) -> None:
    empty = control.run("feedback", "--waiting").stderr
    assert "No feedback waits for its answer." in empty and "Every DELETE has met its feedback." in empty
    vote = {"id": "f", "type": "thumbs", "value": True, "interaction_id": "nowhere", "key_id": "k1"}
    control.run("data", "import", str(written(tmp_path / "f.jsonl", [vote])), "--yes")
    add(control.store, [Revocation("typo", NOW, "k1", "k1")])
    found = json.loads(control.run("feedback", "--waiting", "--json").stdout)
    assert [(row["key"], row["type"], row["n"]) for row in found["feedback"]] == [("k1", "thumbs", 1)]
    assert [row["asked"] for row in found["revocations"]] == ["k1 typo"]
    shown = control.run("feedback", "--waiting").stdout
    assert "k1 typo" in shown and "thumbs" in shown
    assert b"loraloop_revocations_unmet 1.0" in scrape(control.app.state.control, control.app.state.alarms)
