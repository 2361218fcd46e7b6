"""Facts about values that the command line reads itself: what is wrong is said before a request."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from ops.local.config_template import STARTER
from serve.engines.fake import running
from tests.support.command_line import loraloop


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["promotions", "--since", "yesterday"],
            "'yesterday' is no time. Write a day or time (UTC) such as 2026",
        ),
        (["audit", "--until", "soon"], "'soon' is no time."),
        (["quarantine", "hold", "--user", "u", "--from", "monday", "--yes"], "'monday' is no time."),
        (["promotions", "--verdict", "promotd"], "'promotd' is not one of 'promoted', 'kept'"),
        (["keys", "create", "x", "--scope", "opsread"], "'opsread' is no scope. Did you mean ops:read?"),
        (["keys", "create", "x", "--scope", "internal"], "'internal' is no scope."),
    ],
)
def test_a_wrong_value_is_wrong_usage_in_words_of_the_command_line(tmp_path: Path, words: list[str], said: str):
    done = loraloop(*words, cwd=tmp_path)
    shown = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and said in shown
    assert not re.search(r"query\.|scopes\.0|Value error|Input should be", shown)


def test_a_time_may_be_said_as_how_long_ago(tmp_path: Path):
    asked: list[str] = []
    api = FastAPI()

    @api.get("/api/promotions")
    def promotions(since: str, until: str) -> list[Any]:
        asked.extend((since, until))
        return []

    with running(api) as url:
        (tmp_path / "loraloop.yaml").write_text(STARTER.replace("127.0.0.1:8081", url.removeprefix("http://")))
        assert loraloop("promotions", "--since", "2d", "--until", "2026-03-02", cwd=tmp_path).returncode == 0
    days = (datetime.now(UTC) - datetime.fromisoformat(asked[0])).total_seconds() / 86400
    assert 2 <= days < 2.1 and asked[1] == "2026-03-02T00:00:00+00:00"
