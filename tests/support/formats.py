"""Rows of other tools' files, and what turns one into records."""

from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import InputError
from core.prompts import Chat, from_request
from core.records import Feedback, Interaction
from feedback.formats.metrics import Metrics
from feedback.formats.registry import guess, parts_of
from feedback.formats.source import LeftOut, Target

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
CLASSIFY = Target("reviews", ("good", "bad"), Metrics.of({}, ["good", "bad"]), NOW)
GENERATE = Target("support", (), Metrics.of({}, []), NOW)
SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "So good."}


def read(row: dict[str, Any], target: Target = GENERATE) -> tuple[list[Interaction], list[Feedback], list[str]]:
    """(interactions, feedback, reasons of what is left out) of a row in the format that its fields show."""
    parts = parts_of(guess([(1, row)]).format)(row, target)
    return (
        [part for part in parts if isinstance(part, Interaction)],
        [part for part in parts if isinstance(part, Feedback)],
        [part.reason for part in parts if isinstance(part, LeftOut)],
    )


def refusal(row: dict[str, Any], target: Target = GENERATE) -> InputError:
    with pytest.raises(InputError) as caught:
        read(row, target)
    return caught.value


def prompt(interaction: Interaction) -> tuple[tuple[str, str], ...]:
    found = from_request(interaction.endpoint, interaction.request or {})
    assert isinstance(found, Chat)
    return found.messages


def said(vote: Feedback) -> tuple[str | None, str, Any, str | None]:
    return vote.interaction_id, vote.type, vote.value, vote.user


SUPERVISED = {"messages": [SYSTEM, ASKED, {"role": "assistant", "content": "Good"}]}
PAIR = {
    "input": {"messages": [ASKED], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [{"role": "assistant", "content": "Thanks!"}],
    "non_preferred_output": [{"role": "assistant", "content": "OK."}],
}
CHAT = {
    "chosen": [ASKED, {"role": "assistant", "content": "Thanks!"}],
    "rejected": [ASKED, {"role": "assistant", "content": "OK."}],
}
TRACE = {
    "id": "trace-1",
    "timestamp": "2026-02-01T10:00:00.000Z",
    "name": "chat",
    "userId": "ada",
    "sessionId": "s-1",
    "input": {"messages": [ASKED]},
    "output": {"role": "assistant", "content": "Thanks!"},
    "observations": [
        {"id": "o-0", "traceId": "trace-1", "type": "SPAN"},
        {"id": "o-1", "traceId": "trace-1", "type": "GENERATION", "input": [ASKED], "output": "Thanks!"},
    ],
    "scores": [
        {
            "id": "sc-1",
            "traceId": "trace-1",
            "name": "user-feedback",
            "value": 1,
            "stringValue": "True",
            "dataType": "BOOLEAN",
            "source": "API",
            "comment": "kind",
            "timestamp": "2026-02-01T10:05:00.000Z",
        }
    ],
}
INFERENCE = {
    "type": "chat",
    "function_name": "draft",
    "variant_name": "v1",
    "inference_id": "0195aa37-0000-7000-8000-000000000001",
    "episode_id": "0195aa37-0000-7000-8000-000000000002",
    "timestamp": "2026-02-01T10:00:00Z",
    "input": {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "So good."}]}],
    },
    "output": [{"type": "text", "text": "Thanks!"}],
    "tags": {"user_id": "ada"},
    "feedback": [
        {"feedback_id": "fb-1", "metric_name": "task_success", "value": True},
        {"feedback_id": "fb-2", "metric_name": "demonstration", "value": [{"type": "text", "text": "Thank you."}]},
    ],
}
RATING = {
    "id": "9c1f",
    "user_id": "ada",
    "version": 0,
    "type": "rating",
    "data": {"rating": 1, "model_id": "reviews", "reason": "accurate_information", "comment": "yes"},
    "meta": {"arena": False, "chat_id": "c-1", "message_id": "m-2", "message_index": 2},
    "snapshot": {
        "chat": {
            "chat": {
                "history": {
                    "currentId": "m-2",
                    "messages": {
                        "m-1": {"id": "m-1", "parentId": None, "role": "user", "content": "So good."},
                        "m-2": {"id": "m-2", "parentId": "m-1", "role": "assistant", "content": "Thanks!"},
                    },
                }
            }
        }
    },
    "created_at": 1767225600,
    "updated_at": 1767225660,
}
