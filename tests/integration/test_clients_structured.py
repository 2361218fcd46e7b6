"""Facts about structured answers and tool calls through the official OpenAI client and the real engine."""

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.openai_client import MESSAGES, MODEL, SCHEMA, TOOL, Verdict, chat
from tools.tiny_model import LABELS, token_ids

pytestmark = pytest.mark.integration


def test_an_answer_follows_a_json_schema(client: openai.OpenAI, grammar_options: dict[str, Any]):
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": SCHEMA, "strict": True}}
    choice = chat(client, response_format=wanted, temperature=1, **grammar_options).choices[0]
    assert Verdict.model_validate_json(choice.message.content).label in LABELS
    assert choice.finish_reason == "stop"


def test_an_answer_is_parsed_into_the_requested_class(client: openai.OpenAI, grammar_options: dict[str, Any]):
    common: Any = {"model": MODEL, "messages": MESSAGES, "response_format": Verdict, **grammar_options}
    assert isinstance(client.chat.completions.parse(**common).choices[0].message.parsed, Verdict)
    with client.chat.completions.stream(**common) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Verdict)


def test_an_answer_is_a_json_object_when_the_request_says_so(
    client: openai.OpenAI, tiny_base: Path, grammar_options: dict[str, Any]
):
    options: dict[str, Any] = grammar_options | {"logit_bias": {str(token_ids(tiny_base)["}"]): 50}}
    found = chat(client, response_format={"type": "json_object"}, **options)
    assert json.loads(found.choices[0].message.content) == {}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "rate"}}])
def test_a_tool_that_must_be_called_is_called_as_its_schema_says(
    client: openai.OpenAI, choice: Any, grammar_options: dict[str, Any]
):
    options: dict[str, Any] = {"tools": [TOOL], "tool_choice": choice, **grammar_options}
    found = chat(client, **options).choices[0]
    (call,) = found.message.tool_calls
    assert call.function.name == "rate"
    Verdict.model_validate_json(call.function.arguments)
    pieces = [chunk.choices[0].delta.tool_calls for chunk in chat(client, stream=True, **options)]
    functions = [piece[0].function for piece in pieces if piece]
    assert functions[0].name == "rate"
    streamed = "".join(function.arguments or "" for function in functions)
    assert json.loads(streamed) == json.loads(call.function.arguments)


def test_a_called_tool_ends_the_answer_and_its_result_is_read(client: openai.OpenAI, grammar_options: dict[str, Any]):
    found = chat(client, tools=[TOOL], tool_choice="required", **grammar_options).choices[0]
    assert found.finish_reason == "tool_calls"
    call = found.message.tool_calls[0]
    back: list[Any] = [
        *MESSAGES,
        found.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "good"},
    ]
    assert chat(client, messages=back, tools=[TOOL], max_tokens=4, tool_choice="none").choices[0].message.content


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_tool_that_may_be_called_leaves_text_as_text(client: openai.OpenAI, choice: Any):
    found = chat(client, tools=[TOOL], tool_choice=choice, max_tokens=8).choices[0]
    assert found.message.content
    assert not found.message.tool_calls
