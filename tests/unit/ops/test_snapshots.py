"""Facts about `loraloop snapshots`: what a snapshot has, and its rows for other tools."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.settings import ModelSettings
from feedback.snapshot import Snapshot, create_snapshot
from ops.snapshot_report import as_html, sections
from tests.support import formats, pairs
from tests.support.pipeline import NOW, vote
from tests.support.running_control import RunningControl, served_control


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


@pytest.fixture
def snapshot(control: RunningControl, tmp_path: Path) -> Snapshot:
    vote(control.store, 40)
    settings = ModelSettings(labels=["a", "b"])
    folder = tmp_path / "data" / "snapshots"
    return create_snapshot(control.store, "reviews", settings, run_id="run-1", folder=folder, clock=lambda: NOW)


def test_a_snapshot_is_shown_by_its_run_or_by_the_beginning_of_its_hash(
    control: RunningControl, snapshot: Snapshot
) -> None:
    for identity in ("run-1", snapshot.hash, snapshot.hash[:8]):
        report = json.loads(control.run("snapshots", "show", identity, "--json").stdout)
        assert (report["hash"], report["model"], report["run_id"]) == (snapshot.hash, "reviews", "run-1")
        assert report["rows"] == snapshot.report.rows and report["by_class"]["a"]["rows"] == 20
    shown = control.run("snapshots", "show", "run-1").stdout
    assert "Buckets" in shown and "train" in shown and "label" in shown
    assert "There is no snapshot 'unknown'" in str(control.run("snapshots", "show", "unknown").exception)


def test_the_report_as_one_html_file_escapes_what_it_shows(
    control: RunningControl, snapshot: Snapshot, tmp_path: Path
) -> None:
    assert control.run("snapshots", "show", "run-1", "--html", str(tmp_path / "report.html")).exit_code == 0
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>") and snapshot.hash in page and "http" not in page
    report = {"rows": {}, "users": {}, "signals": {}, "by_signal": {}, "left_out": {}, "hash": "h", "run_id": "r"}
    label = {"<script>": {"rows": 1, "users": 1}}
    assert "<script>" not in as_html(report | {"model": "<b>", "time": "now", "by_class": label})
    assert [section.title for section in sections(report | {"warnings": ["much is left out"]})] == ["Warnings"]


def test_rows_are_exported_as_parquet_and_as_a_fine_tuning_file(
    control: RunningControl, snapshot: Snapshot, tmp_path: Path
) -> None:
    parquet, lines = tmp_path / "rows.parquet", tmp_path / "train.jsonl"
    assert control.run("snapshots", "export", snapshot.hash[:12], str(parquet)).exit_code == 0
    assert pq.read_table(parquet).num_rows == 40 and parquet.stat().st_mode & 0o077 == 0
    assert control.run("snapshots", "export", "run-1", str(lines), "--format", "openai").exit_code == 0
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    train = snapshot.of("train")
    assert len(found) == len(train) > 0
    question = train[0].prompt.messages[0][1]  # type: ignore[union-attr]
    assert found[0] == {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": train[0].label}]
    }


def test_pairs_are_exported_as_parquet_and_as_lines_that_an_import_reads(
    control: RunningControl, tmp_path: Path
) -> None:
    how = pairs.settings()
    pairs.fill(control.store, *(pairs.answer(f"a{n}", user="u0") for n in range(3)))
    pairs.fill(
        control.store,
        pairs.prefer(0, "a0", "a1", "u0"),
        pairs.vote(1, "a2", "correction", "Better.", "u0"),
        pairs.vote(2, "a2", "thumbs", True, "u0"),
    )
    made = pairs.snap(control.store, tmp_path / "data" / "snapshots", how, "run-2")
    (bucket,) = {pair.bucket for pair in made.pairs}
    parquet, lines = tmp_path / "pairs.parquet", tmp_path / "pairs.jsonl"
    assert control.run("snapshots", "export", "run-2", str(parquet), "--format", "pairs").exit_code == 0
    assert pq.read_table(parquet).num_rows == len(made.pairs) == 3
    wanted = ("--format", "preferences", "--bucket", bucket)
    assert control.run("snapshots", "export", "run-2", str(lines), *wanted).exit_code == 0
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {(row["preferred_output"][0]["content"], row["non_preferred_output"][0]["content"]) for row in found} == {
        ("answer a0", "answer a1"),
        ("Better.", "answer a2"),
    }
    for row in found:
        answers, votes, _ = formats.read(row)
        assert len(answers) == 2 and [vote.type for vote in votes] == ["preference"]


@pytest.mark.parametrize("format", ["pairs", "preferences"])
def test_a_snapshot_without_pairs_says_so(
    control: RunningControl, snapshot: Snapshot, tmp_path: Path, format: str
) -> None:
    done = control.run("snapshots", "export", "run-1", str(tmp_path / "pairs"), "--format", format)
    assert "There is no pairs 'run-1' in the snapshot." in str(done.exception)
    assert "once its users compare or correct answers" in str(done.exception)
    assert not (tmp_path / "pairs").exists()


def test_a_snapshot_that_was_changed_is_not_exported(
    control: RunningControl, snapshot: Snapshot, tmp_path: Path
) -> None:
    (snapshot.path / "rows.parquet").write_bytes(b"changed")
    assert control.run("snapshots", "export", "run-1", str(tmp_path / "rows.parquet")).exit_code != 0
    assert not (tmp_path / "rows.parquet").exists()
