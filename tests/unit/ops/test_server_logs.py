"""Facts about reading logs: order, times, rotated files, and following."""

import itertools
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from ops.cli.moments import moment
from ops.local.log_reader import LogReader, follow, read_last, time_of
from ops.local.log_rotation import rotate_full
from tests.support.command_line import loraloop

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minute: int, text: str) -> str:
    return f"2026-03-01T11:{minute:02}:00.000Z INFO a {text}\n"


def add(folder: Path, process: str, *lines: str) -> None:
    with (folder / f"{process}.log").open("a") as file:
        file.writelines(lines)


def texts(folder: Path, *processes: str, count: int | None = None, since: datetime | None = None) -> list[str]:
    lines = read_last([LogReader(folder, one) for one in processes], count, since)
    return [f"{line.process} {line.text.rpartition(' ')[2]}" for line in lines]


def test_lines_of_several_logs_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    add(tmp_path, "control", at(1, "a"), at(4, "d"), "    File x\n")
    add(tmp_path, "gateway", at(2, "b"), at(3, "c"), at(5, "f"))
    found = ["control a", "gateway b", "gateway c", "control d", "control x", "gateway f"]
    assert texts(tmp_path, "control", "gateway", "engine") == found
    assert texts(tmp_path, "control", "gateway", count=1) == ["control x", "gateway f"]
    assert texts(tmp_path, "control", "gateway", count=0) == []
    assert texts(tmp_path, "control", "gateway", since=datetime(2026, 3, 1, 11, 4, tzinfo=UTC)) == found[3:]


def test_the_last_lines_reach_into_rotated_files(tmp_path: Path) -> None:
    for number in range(6):
        add(tmp_path, "engine", at(number, str(number)))
        if number in (1, 3):
            rotate_full(tmp_path, most_bytes=0, keep=5)
    assert texts(tmp_path, "engine", count=2) == ["engine 4", "engine 5"]
    assert texts(tmp_path, "engine", count=3) == ["engine 3", "engine 4", "engine 5"]
    assert texts(tmp_path, "engine") == [f"engine {number}" for number in range(6)]


def test_long_logs_are_read_from_their_end(tmp_path: Path) -> None:
    add(tmp_path, "engine", *(f"line {'x' * 100} {number}\n" for number in range(3000)))
    assert texts(tmp_path, "engine", count=2000) == [f"engine {number}" for number in range(1000, 3000)]


def test_following_shows_new_lines_once_whole_and_across_a_rotation(tmp_path: Path) -> None:
    add(tmp_path, "gateway", at(1, "before"))
    reader = LogReader(tmp_path, "gateway")
    assert reader.new() == []
    add(tmp_path, "gateway", "one\ntw")
    assert [line.text for line in reader.new()] == ["one"]
    add(tmp_path, "gateway", "o\nthree\n")
    rotate_full(tmp_path, most_bytes=0, keep=1)
    add(tmp_path, "gateway", "four\n")
    assert [line.text for line in reader.new()] == ["two", "three", "four"]
    lines = follow([reader, LogReader(tmp_path, "control")])
    add(tmp_path, "gateway", "five\n")
    add(tmp_path, "control", "six\n")
    assert sorted(line.text for line in itertools.islice(lines, 2)) == ["five", "six"]


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("2026-03-01T10:00:00.500Z INFO a b", "2026-03-01T10:00:00.500+00:00"),
        ('{"time":"2026-03-01T10:00:00Z","message":"m"}', "2026-03-01T10:00:00+00:00"),
        ("(EngineCore pid=7) INFO 03-01 10:00:00 [core.py:1] x", "2026-03-01T10:00:00+00:00"),
        ("INFO 12-31 10:00:00 [core.py:1] x", "2025-12-31T10:00:00+00:00"),
        ("INFO 02-31 10:00:00 [core.py:1] x", None),
        ("    at 10:00", None),
        ("{broken", None),
        ('{"time":3}', None),
    ],
)
def test_the_time_of_a_line(line: str, time: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.local.log_reader.datetime", InUtc)
    found = time_of(line, NOW)
    assert (found and found.isoformat(timespec="auto")) == (
        time and datetime.fromisoformat(time).isoformat(timespec="auto")
    )


class InUtc(datetime):
    """The time of a machine whose zone is UTC."""

    def astimezone(self, tz: object = None) -> datetime:
        return self.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10m", NOW - timedelta(minutes=10)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
    ],
)
def test_since_is_a_duration_or_a_time(text: str, found: datetime) -> None:
    assert moment(text, NOW) == found


def test_since_that_is_neither_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="'yesterday' is no time"):
        moment("yesterday", NOW)


def test_the_command_shows_one_process_or_all(tmp_path: Path) -> None:
    (tmp_path / "loraloop.yaml").write_text("models: {reviews: {labels: [a, b]}}\n")
    nothing = loraloop("server", "logs", cwd=tmp_path)
    assert nothing.returncode != 0 and "There are no logs in data/logs" in nothing.stderr
    folder = tmp_path / "data" / "logs"
    folder.mkdir(parents=True)
    add(folder, "control", at(1, "a"))
    add(folder, "gateway", at(2, "b"))
    assert loraloop("server", "logs", cwd=tmp_path).stdout == f"control | {at(1, 'a')}gateway | {at(2, 'b')}"
    assert loraloop("server", "logs", "gateway", "-n", "1", cwd=tmp_path).stdout == at(2, "b")
    rows = [json.loads(line) for line in loraloop("server", "logs", "--json", cwd=tmp_path).stdout.splitlines()]
    assert rows[0] == {"time": "2026-03-01T11:01:00+00:00", "process": "control", "text": at(1, "a").rstrip()}
    os.utime(folder / "control.log", (0, 0))  # a file that was not written since is not read
    assert "control" not in loraloop("server", "logs", "--since", "2026-01-01", cwd=tmp_path).stdout
