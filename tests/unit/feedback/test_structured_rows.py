"""Facts about rows whose right answer is calls of tools or JSON, from feedback to the snapshot on disk."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.db.store import Store
from core.prompts import Chat, messages_with_answer, options_of
from core.records import Feedback, Interaction
from core.settings import ModelSettings
from feedback.ingest import add
from feedback.schema import parse
from feedback.snapshot import create_snapshot, read_rows
from tests.support.curation import user_in
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
MODEL = ModelSettings.model_validate({"task": "generate"})
TOOL = {"type": "function", "function": {"name": "refund", "parameters": {"properties": {"order": {}, "why": {}}}}}
SCHEMA = {"type": "object", "properties": {"name": {}, "age": {}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "cancel", "arguments": "{}"}}
PICTURE = [{"type": "image_url", "image_url": {"url": "data:"}}]


def asked(number: int, content: Any = "", choices: Any = None, **more: Any) -> Interaction:
    request = {"messages": [{"role": "user", "content": content or f"order {number} is late"}], **more}
    return interaction(
        f"i{number}",
        time=NOW,
        user=user_in("train", number),
        request=request,
        answer=None,
        finish_reason="tool_calls",
        choices=choices,
    )


def corrected(number: int, value: Any) -> Feedback:
    (found,) = parse({"interaction_id": f"i{number}", "type": "correction", "value": value}, lambda: NOW)
    return found


def test_calls_and_json_are_rows_under_the_requests_own_fields(tmp_path: Path) -> None:
    store = Store(":memory:")
    wanted = {"tool_calls": [{"name": "refund", "arguments": {"why": "late", "order": 1}}]}
    choices = [{"index": 0, "message": {"role": "assistant", "tool_calls": [CALL]}}]
    add(
        store,
        [
            asked(1, choices=choices, tools=[TOOL], tool_choice="auto", max_tokens=90, temperature=0.2),
            asked(2, response_format=FORMAT, stop="\n"),
            asked(3, content=PICTURE),
            *(corrected(1, wanted), corrected(2, {"age": 30, "name": "Eva"}), corrected(3, "a cat")),
        ],
    )
    made = create_snapshot(store, "m", MODEL, run_id="r", folder=tmp_path, clock=lambda: NOW)
    store.close()
    assert made.report.left_out == {"the prompt has a picture": 1}
    rows = {row.interaction_id: row for row in read_rows(made.path)}
    assert {row.signal for row in rows.values()} == {"correction"} and set(rows) == {"i1", "i2"}
    call, value = rows["i1"], rows["i2"]
    assert options_of(call.prompt) == {"tools": [TOOL], "tool_choice": "auto", "max_tokens": 90}
    assert options_of(value.prompt) == {"response_format": FORMAT, "stop": ["\n"]}
    assert isinstance(call.prompt, Chat) and isinstance(value.prompt, Chat)
    (said,) = messages_with_answer(call.prompt, call.label)[-1]["tool_calls"]
    assert json.dumps(said["function"]["arguments"]) == '{"order": 1, "why": "late"}'
    assert messages_with_answer(value.prompt, value.label)[-1]["content"] == '{"name": "Eva", "age": 30}'
