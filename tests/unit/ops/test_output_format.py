"""Facts about what commands print for programs: formats, values that load back, and readers that end first."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.output_format import as_yaml
from serve.engines.fake import running
from tests.support.command_line import loraloop

CONFIG = "models: {r: {labels: [a, b]}}\ncontrol: {listen: '127.0.0.1:9'}\n"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_yaml_loads_back_to_the_same_value(value: Any) -> None:
    assert yaml.safe_load(as_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["12e4567", "1e5", "0o17", "0x1f", ".5", "+3", "7", "yes", "null", "2026-03-01", "~", ""]
)
def test_a_text_stays_a_text_for_every_parser_of_yaml(text: str) -> None:
    assert as_yaml({"id": text}) == f"id: '{text}'"


def test_yaml_is_in_block_style() -> None:
    value = {"model": "reviews", "labels": ["a", "b"], "canary": {"version": 3, "why": "first\nsecond"}, "none": []}
    text = as_yaml([value, value])
    assert (
        "{" not in text
        and "&" not in text
        and text.splitlines()[:4]
        == [
            "- model: reviews",
            "  labels:",
            "  - a",
            "  - b",
        ]
    )


def test_yaml_json_and_the_short_form_have_the_same_data(tmp_path: Path) -> None:
    row = {"id": "12e4567", "state": "läuft", "progress": None, "finished": False, "model": "r", "reason": "two\nlines"}
    api = FastAPI()
    api.get("/api/runs")(lambda: [row | {"started": "2026-03-01T12:00:00+00:00", "trigger": "schedule"}])
    with running(api) as url:
        (tmp_path / "loraloop.yaml").write_text(CONFIG.replace("127.0.0.1:9", url.removeprefix("http://")))
        short, asked, as_list, table = (
            loraloop("runs", *words, cwd=tmp_path).stdout for words in (["--json"], ["-o", "json"], ["-o", "yaml"], [])
        )
        assert loraloop("runs", "-o", "table", cwd=tmp_path).stdout == table
    assert short == asked and yaml.safe_load(as_list) == json.loads(short) and "12e4567" in table
    assert "läuft" in as_list


def test_a_wrong_format_is_wrong_usage_and_names_the_right_ones(tmp_path: Path) -> None:
    done = loraloop("models", "-o", "xml", cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "'xml' is not one of 'table', 'json', 'yaml'." in said and "Value error" not in said


def test_two_formats_are_wrong_usage(tmp_path: Path) -> None:
    done = loraloop("models", "--json", "-o", "yaml", cwd=tmp_path)
    assert done.returncode == 2 and "--json and -o yaml name two formats" in done.stderr


@pytest.mark.parametrize("words", [["--json"], ["-o", "yaml"], []])
def test_an_error_goes_to_stderr_with_its_code_in_every_format(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "loraloop.yaml").write_text(CONFIG)
    done = loraloop("models", *words, cwd=tmp_path)
    assert done.returncode == 7 and not done.stdout and "does not answer" in done.stderr


def test_the_lines_of_a_log_are_the_items_of_a_yaml_list(tmp_path: Path) -> None:
    (tmp_path / "loraloop.yaml").write_text(CONFIG)
    (tmp_path / "data" / "logs").mkdir(parents=True)
    (tmp_path / "data" / "logs" / "gateway.log").write_text("2026-03-01 12:00:00 one\n2026-03-01 12:00:01 two: 2\n")
    found = yaml.safe_load(loraloop("server", "logs", "gateway", "-o", "yaml", cwd=tmp_path).stdout)
    lines = loraloop("server", "logs", "gateway", "--json", cwd=tmp_path).stdout.splitlines()
    assert found == [json.loads(line) for line in lines] and found[1]["text"].endswith("two: 2")


@pytest.mark.parametrize("words", [["suites", "-o", "yaml"], ["suites", "--json"], ["suites"]])
def test_a_command_whose_reader_has_ended_ends_without_a_word(tmp_path: Path, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        command = [sys.executable, "-m", "ops.cli.app", *words]
        done = subprocess.run(
            command, cwd=tmp_path, stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert done.returncode == 141 and "Broken" not in done.stderr and "Traceback" not in done.stderr
