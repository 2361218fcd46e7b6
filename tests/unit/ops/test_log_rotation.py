"""Facts about the rotation of logs whose writers hold the file open."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.local.log_rotation import numbered, older, rotate_full

# Writes numbers, one line per write, until the file that it is given exists.
WRITER = """
import itertools, os, pathlib, sys
stop = pathlib.Path(sys.argv[1])
for number in itertools.count():
    os.write(1, b"%09d\\n" % number)
    if number % 1000 == 0 and stop.exists():
        break
"""


def contents(folder: Path, name: str) -> list[str]:
    return [(path.name + ": " + path.read_text()) for path in [*older(folder / name), folder / name]]


def test_a_full_log_is_rotated_and_a_small_one_is_left(tmp_path: Path) -> None:
    (tmp_path / "gateway.log").write_text("123456")
    (tmp_path / "control.log").write_text("1")
    assert rotate_full(tmp_path, most_bytes=5, keep=2) == [tmp_path / "gateway.log"]
    assert contents(tmp_path, "gateway.log") == ["gateway.log.1: 123456", "gateway.log: "]
    assert contents(tmp_path, "control.log") == ["control.log: 1"]


def test_so_many_rotated_files_are_kept_and_the_oldest_goes(tmp_path: Path) -> None:
    for text in "abcd":
        (tmp_path / "engine.log").write_text(text)
        rotate_full(tmp_path, most_bytes=0, keep=2)
    assert contents(tmp_path, "engine.log") == ["engine.log.2: c", "engine.log.1: d", "engine.log: "]
    (tmp_path / "engine.log").write_text("e")
    rotate_full(tmp_path, most_bytes=0, keep=1)  # the setting was lowered
    assert contents(tmp_path, "engine.log") == ["engine.log.1: e", "engine.log: "]


def test_without_files_to_keep_a_full_log_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "engine.log").write_text("a")
    rotate_full(tmp_path, most_bytes=0, keep=0)
    assert contents(tmp_path, "engine.log") == ["engine.log: "]


def test_a_process_that_holds_the_file_open_goes_on_in_it(tmp_path: Path) -> None:
    """Lines stay whole and in order; those that were written just when the file was emptied may be missing."""
    file, stop = tmp_path / "gateway.log", tmp_path / "stop"
    with file.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(stop)], stdout=output)
    rotated = 0
    while rotated < 3:
        rotated += len(rotate_full(tmp_path, most_bytes=20_000, keep=9))
        assert process.poll() is None
    stop.touch()
    assert process.wait() == 0
    files = [*older(file), file]
    lines = "".join(path.read_text() for path in files).splitlines()
    assert len(files) == 4 and {len(line) for line in lines} == {9}
    assert [int(line) for line in lines] == sorted({int(line) for line in lines})
    assert int(lines[-1]) % 1000 == 0  # its last one


def test_a_copy_that_fails_leaves_the_log_and_the_older_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in "abc":
        (tmp_path / "engine.log").write_text(text)
        rotate_full(tmp_path, most_bytes=0, keep=3)
    (tmp_path / "engine.log").write_text("d")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        for _ in range(5):
            assert rotate_full(tmp_path, most_bytes=0, keep=3) == []
    assert (tmp_path / "engine.log").read_text() == "d" and not numbered(tmp_path / "engine.log", 1).exists()
    assert [numbered(tmp_path / "engine.log", n).read_text() for n in (2, 3)] == ["c", "b"]
    rotate_full(tmp_path, most_bytes=0, keep=3)
    assert contents(tmp_path, "engine.log") == [
        "engine.log.3: b",
        "engine.log.2: c",
        "engine.log.1: d",
        "engine.log: ",
    ]
