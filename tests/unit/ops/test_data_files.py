"""Facts about files of rows: every encoding, arrays instead of lines, and cells that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import InputError
from ops import data_files

ROWS = [{"id": "a", "value": "naïve ☃"}, {"id": "b", "value": "line\nbreak"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def numbered(path: Path) -> list[Any]:
    return list(data_files.read(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_file_in_any_encoding_with_a_mark_is_read(tmp_path: Path, encoding: str, ending: str) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(LINES.replace("\n", ending).encode(encoding))
    assert numbered(path) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("name", "indent"), [("f.json", 2), ("f.jsonl", None), ("f.jsonl", 2)])
def test_an_array_in_place_of_lines_is_read_by_element(
    tmp_path: Path, encoding: str, name: str, indent: int | None
) -> None:
    path = tmp_path / name
    path.write_bytes(json.dumps(ROWS, indent=indent).encode(encoding))
    assert numbered(path) == [(1, ROWS[0]), (2, ROWS[1])]


def test_one_object_in_a_json_file_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps(ROWS[0], indent=2))
    assert numbered(tmp_path / "f.json") == [(1, ROWS[0])]


def test_utf_16_without_its_mark_is_refused_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_bytes(LINES.encode("utf-16-le"))
    with pytest.raises(InputError, match=r"is not UTF-8.*iconv -f UTF-16LE"):
        numbered(tmp_path / "f.jsonl")


def test_a_file_that_ends_within_a_character_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_bytes(LINES.encode("utf-16")[:-1])
    with pytest.raises(InputError, match="is not UTF-16"):
        numbered(tmp_path / "f.jsonl")


def test_one_bad_line_does_not_hide_the_next(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text('{"id": 1}\n[{"id": 2\n\n{"a": "\\ud800"}\n{"id": 3}\n')
    found = numbered(tmp_path / "f.jsonl")
    assert [number for number, _ in found] == [1, 2, 4, 5]
    assert [isinstance(row, InputError) for _, row in found] == [False, True, True, False]
    assert "surrogate" in found[2][1].message


def test_an_array_that_is_too_large_is_refused_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "LARGEST_ARRAY", 10)
    (tmp_path / "f.json").write_text(json.dumps(ROWS))
    with pytest.raises(InputError, match=r"jq -c '\.\[\]' f\.json"):
        numbered(tmp_path / "f.json")


def test_a_time_that_python_cannot_have_costs_its_own_row_only(tmp_path: Path) -> None:
    times = pa.array([0, 400_000_000_000, 1], pa.timestamp("s", "UTC"))  # the second is in the year 14645
    pq.write_table(pa.table({"id": ["a", "b", "c"], "time": times}), tmp_path / "f.parquet")
    (_, first), (_, second), (_, third) = numbered(tmp_path / "f.parquet")
    assert first == {"id": "a", "time": "1970-01-01T00:00:00+00:00"} and third["id"] == "c"
    assert isinstance(second, InputError) and second.message.startswith("time: ")
