"""Facts about `-`: stdin and stdout instead of files, with nothing but data on stdout."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from core.errors import InputError, NoTerminal, NotFound
from core.ledger import append
from core.records import Decision, Verdict
from ops.cli.app import app
from tests.support.ingest import NOW
from tests.support.running_control import RunningControl, new, served_control

EXAMPLE = {"messages": [{"role": "user", "content": "text"}, {"role": "assistant", "content": "a"}], "user": "ada"}
LINES = "".join(json.dumps(EXAMPLE | {"user": f"u{n}"}) + "\n" for n in range(3)).encode()
VOTE = {"id": "f1", "interaction_id": "i1", "type": "thumbs", "value": True, "user": "ada"}


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


def test_an_import_reads_stdin_and_leaves_no_copy(
    control: RunningControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    done = control.run("data", "import", "-", "-m", "reviews", "--yes", "--json", stdin=LINES)
    assert done.exit_code == 0 and new(done) == (3, 3, 0)
    assert "stdin: 3 rows for reviews" in done.stderr and not list((tmp_path / "temporary").iterdir())


def test_an_import_reads_parquet_and_an_array_from_stdin(control: RunningControl) -> None:
    packed = BytesIO()
    pq.write_table(pa.Table.from_pylist([VOTE | {"value": "true"}]), packed)
    asked = ("data", "import", "-", "--yes", "--json")
    assert new(control.run(*asked, stdin=packed.getvalue())) == (0, 1, 0)
    assert new(control.run(*asked, stdin=json.dumps([VOTE, VOTE | {"id": "f2"}]).encode())) == (0, 1, 1)


def test_without_an_answer_to_its_question_an_import_does_not_read_stdin(control: RunningControl) -> None:
    done = control.run("data", "import", "-", "-m", "reviews", stdin=LINES)
    assert isinstance(done.exception, NoTerminal) and "rows for" not in done.stderr


def test_an_error_in_stdin_names_the_line_and_the_stream(control: RunningControl) -> None:
    done = control.run("data", "import", "-", "-m", "reviews", "--yes", stdin=LINES + b"{broken\n")
    assert "stdin: 1 of 4 rows were left out" in str(done.exception) and "line 4: It is not JSON" in done.stderr


def test_an_import_needs_no_configuration_where_control_is_named(
    control: RunningControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    url = f"http://127.0.0.1:{control.port}"
    asked = ["data", "import", "-", "--yes", "--json", "--url", url]
    done = CliRunner().invoke(app, [*asked, "-m", "reviews"], input=LINES)
    assert done.exit_code == 0 and new(done) == (3, 3, 0)
    unknown = CliRunner().invoke(app, [*asked, "-m", "none"], input=LINES).exception
    assert isinstance(unknown, NotFound) and "Models: reviews." in unknown.hint


def test_the_labels_of_control_say_what_is_a_label(control: RunningControl, tmp_path: Path) -> None:
    control.config.write_text(control.config.read_text().replace("- b", "- c"))  # not read again by control
    row = EXAMPLE | {"messages": [EXAMPLE["messages"][0], {"role": "assistant", "content": "c"}]}  # type: ignore[index]
    done = control.run("data", "import", "-", "-m", "reviews", "--yes", stdin=json.dumps(row).encode())
    assert isinstance(done.exception, InputError) and "'c' is not a label of reviews" in str(done.exception)


def test_an_export_to_stdout_is_only_data_and_is_imported_again(control: RunningControl) -> None:
    control.run("data", "import", "-", "-m", "reviews", "--yes", stdin=LINES)
    done = control.run("data", "export", "feedback", "-")
    assert done.exit_code == 0 and "Wrote 3 feedback to stdout." in done.stderr
    assert [json.loads(line)["type"] for line in done.stdout_bytes.splitlines()] == ["label"] * 3
    assert new(control.run("data", "import", "-", "--yes", "--json", stdin=done.stdout_bytes)) == (0, 0, 3)


def test_a_backup_on_stdout_is_the_backup_and_restores(control: RunningControl, tmp_path: Path) -> None:
    control.run("data", "import", "-", "-m", "reviews", "--yes", stdin=LINES)
    done = control.run("backup", "-")
    assert done.exit_code == 0 and "every SHA-256 proved" in done.stderr
    (tmp_path / "b.tar").write_bytes(done.stdout_bytes)
    assert control.run("backup", "restore", str(tmp_path / "b.tar"), "--dry-run").exit_code == 0
    assert len(done.stdout_bytes) % tarfile.BLOCKSIZE == 0
    assert f"{len(done.stdout_bytes) / 1e6:.1f} MB" in done.stderr
    refused = control.run("backup", "-", "--json")
    assert refused.exit_code == 2 and not refused.stdout_bytes


def test_a_backup_is_restored_from_stdin_and_half_of_one_changes_nothing(
    control: RunningControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    control.run("data", "import", "-", "-m", "reviews", "--yes", stdin=LINES)
    content = control.run("backup", "-").stdout_bytes
    config, data = tmp_path / "elsewhere.yaml", tmp_path / "elsewhere"
    config.write_text(control.config.read_text().replace(str(tmp_path / "data"), str(data)))
    asked = ["backup", "restore", "-", "--config", str(config), "--json"]
    broken = CliRunner().invoke(app, asked, input=content[: len(content) // 2])
    assert isinstance(broken.exception, InputError) and str(broken.exception).startswith("stdin")
    assert broken.stdout == "" and not data.exists()
    plan = json.loads(CliRunner().invoke(app, [*asked, "--dry-run"], input=content).stdout)
    assert not data.exists()
    done = CliRunner().invoke(app, asked, input=content)
    assert done.exit_code == 0 and "stdin is whole" in done.stderr and (data / "loraloop.duckdb").is_file()
    restored = json.loads(done.stdout)
    assert plan | {"dry_run": False} == restored and restored["replaces"] == []
    again = CliRunner().invoke(app, asked, input=content)
    assert isinstance(again.exception, NoTerminal)  # it would replace something, and stdin cannot answer
    assert not list((tmp_path / "temporary").iterdir())


def test_a_backup_on_stdout_with_a_broken_ledger_fails(control: RunningControl) -> None:
    with control.store.transaction() as transaction:
        append(transaction, Decision("dec-1", NOW, "reviews", 0, 1, Verdict.PROMOTED, "It won.", "t", "a"))
        transaction._connection.execute("UPDATE decisions SET reason = 'It lost.'")
    done = control.run("backup", "-")
    assert done.exit_code == 1 and "The ledger is broken. Row 1 (dec-1)" in str(done.exception)
    assert done.stdout_bytes


def test_binary_data_does_not_go_to_a_terminal(control: RunningControl) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "ops.cli.app", "backup", "-", "--config", str(control.config)]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.set_blocking(ours, False)
    assert done.returncode == 1 and "stdout is a terminal. Redirect it: > FILE" in done.stderr
    with pytest.raises(BlockingIOError):
        os.read(ours, 1)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("words", [["--help"], ["keys", "--help"], ["runs", "show", "-h"], ["--version"], ["keys"]])
def test_help_whose_reader_has_ended_ends_without_a_word(tmp_path: Path, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        command = [sys.executable, "-m", "ops.cli.app", *words]
        done = subprocess.run(
            command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=120, cwd=tmp_path
        )
    if words == ["keys"]:
        assert done.returncode == 1 and "no configuration" in done.stderr  # another failure keeps its code
    else:
        assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("words", [["data", "export", "feedback", "-"], ["backup", "-"]])
def test_a_stream_whose_reader_has_ended_ends_without_a_word(control: RunningControl, words: list[str]) -> None:
    control.run("data", "import", "-", "-m", "reviews", "--yes", stdin=LINES)
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        command = [sys.executable, "-m", "ops.cli.app", *words, "--config", str(control.config)]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 141 and "rror" not in done.stderr and "Wrote" not in done.stderr
