"""Facts about the translation between the Responses API and chat, which is pure."""

import json
from typing import Any

import pytest

from core.errors import InputError
from serve.messages.stream import MessageStream
from serve.responses.answer import to_response
from serve.responses.items import read_input, to_messages
from serve.responses.request import to_chat
from serve.responses.stream import ResponseStream

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Any = {"type": "function", "name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}


def chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": None} | more
    return {"id": "resp_1", "model": "m@1", "created": 7, "choices": [choice]}


def decoded(events: bytes) -> list[dict[str, Any]]:
    return [json.loads(part.split("data: ")[1]) for part in events.decode().split("\n\n")[:-1] if "[DONE]" not in part]


def test_a_text_between_the_parts_of_a_call_is_an_item_of_its_own() -> None:
    stream, found = ResponseStream({}, lambda: 9), b""
    for delta in (
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "weather"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city"'}}]},
        {"content": "so"},
        {"tool_calls": [{"index": 0, "function": {"arguments": ': "Oslo"}'}}]},
        {"tool_calls": [{"index": 1, "id": "d", "function": {"name": "weather", "arguments": "{}"}}]},
    ):
        found += stream.event(chunk(delta))
    kept = stream.so_far()
    events = decoded(found + stream.done())
    final = events[-1]["response"]
    assert final == kept
    assert [(item["type"], item["status"]) for item in final["output"]] == [
        ("function_call", "completed"),
        ("message", "completed"),
        ("function_call", "completed"),
    ]
    assert final["output"][0]["arguments"] == '{"city": "Oslo"}'
    assert (final["created_at"], final["completed_at"]) == (7, 9)
    places = [e["output_index"] for e in events if e["type"] == "response.output_item.done"]
    assert sorted(places) == [0, 1, 2]


def test_an_answer_that_was_cut_is_incomplete() -> None:
    stream = ResponseStream({}, lambda: 9)
    found = stream.event(chunk({"content": "so"})) + stream.event(chunk({}, finish_reason="length"))
    final = decoded(found + stream.done())[-1]
    assert final["type"] == "response.incomplete"
    assert final["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["response"]["output"][0]["status"] == final["response"]["status"] == "incomplete"


def test_an_empty_answer_is_one_empty_message() -> None:
    stream = ResponseStream({}, lambda: 9)
    found = stream.event(chunk({"role": "assistant"}, finish_reason="stop"))
    events = decoded(found + stream.done())
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["content"][0]["text"]) == ("message", "")
    added = [e["item"]["id"] for e in events if e["type"] == "response.output_item.added"]
    assert added == [item["id"]]


def test_log_probabilities_come_with_the_deltas_and_with_the_text() -> None:
    entry = {"token": "so", "logprob": -0.1, "bytes": [115, 111], "top_logprobs": []}
    stream = ResponseStream({}, lambda: 9)
    found = stream.event(chunk({"content": "so"}, logprobs={"content": [entry]}))
    events = decoded(found + stream.done())
    assert next(e for e in events if e["type"] == "response.output_text.delta")["logprobs"] == [entry]
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == [entry]
    chat = to_chat({"include": ["message.output_text.logprobs"], "top_logprobs": 3}, [], [])
    assert (chat["logprobs"], chat["top_logprobs"]) == (True, 3)


@pytest.mark.parametrize("error", [{"message": "it broke"}, "it broke"])
@pytest.mark.parametrize("begun", [False, True])
def test_an_engines_error_ends_the_stream_in_each_api(error: Any, begun: bool) -> None:
    for stream in (ResponseStream({}, lambda: 9), MessageStream()):
        if begun:
            stream.event(chunk({"content": "so"}))
        (found, *more) = decoded(stream.event({"error": error}))
        said = found["error"] if isinstance(stream, MessageStream) else found
        assert said["message"] == "it broke" and len(more) == (begun and isinstance(stream, ResponseStream))
        assert stream.event(chunk({"content": "on"})) == stream.done() == stream.end() == b""


def test_a_stream_that_ends_early_ends_with_an_error_in_each_api() -> None:
    for stream in (ResponseStream({}, lambda: 9), MessageStream()):
        assert b"before it was whole" in stream.done()
        assert stream.end() == b""


def test_only_allowed_tools_are_sent() -> None:
    other = TOOL | {"name": "other"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    chat = to_chat({"tools": [TOOL, other], "tool_choice": allowed}, [], [])
    assert ([tool["function"]["name"] for tool in chat["tools"]], chat["tool_choice"]) == (["other"], "required")


def test_items_that_belong_together_are_one_message() -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "u"}]},
        {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "d", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "rain"}]},
    ]
    system, user, said, told = to_messages(read_input(items))
    assert (system["role"], [part["type"] for part in user["content"]]) == ("system", ["text", "image_url"])
    assert (said["reasoning"], said["content"], len(said["tool_calls"])) == ("hm", "b", 2)
    assert told == {"role": "tool", "tool_call_id": "c", "content": "rain"}
    with pytest.raises(InputError, match=r"input\.0\.type"):
        to_messages([{"id": "x"}])


# What the specification of Open Responses requires of a response, and its compliance test checks.
REQUIRED = {
    "background": bool,
    "completed_at": int,
    "created_at": int,
    "error": type(None),
    "frequency_penalty": float,
    "id": str,
    "incomplete_details": type(None),
    "instructions": type(None),
    "max_output_tokens": type(None),
    "max_tool_calls": type(None),
    "metadata": dict,
    "model": str,
    "object": str,
    "output": list,
    "parallel_tool_calls": bool,
    "presence_penalty": float,
    "previous_response_id": type(None),
    "prompt_cache_key": type(None),
    "reasoning": dict,
    "safety_identifier": type(None),
    "service_tier": str,
    "status": str,
    "store": bool,
    "temperature": float,
    "text": dict,
    "tool_choice": str,
    "tools": list,
    "top_logprobs": int,
    "top_p": float,
    "truncation": str,
    "usage": dict,
}


def test_a_response_has_all_that_open_responses_requires() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": "Sunny.", "tool_calls": [call]}
    chat = {"id": "resp_1", "model": "m@1", "created": 7, "usage": usage}
    found = to_response(
        {"tools": [{"type": "function", "name": "weather"}]}, chat | {"choices": [{"message": message}]}, 9
    )
    assert {name: type(found[name]) for name in REQUIRED} == REQUIRED
    nothing = {"description": None, "parameters": None, "strict": None}
    assert found["tools"] == [{"type": "function", "name": "weather"} | nothing]
    assert found["usage"].keys() >= {"input_tokens_details", "output_tokens_details", "total_tokens"}
    text, called = found["output"]
    assert text.keys() >= {"type", "id", "status", "role", "content"}
    assert text["content"][0].keys() >= {"type", "text", "annotations"}
    assert called.keys() >= {"type", "id", "call_id", "name", "arguments", "status"}


def test_a_function_of_the_request_is_shown_as_it_is() -> None:
    stream = ResponseStream({"tools": [TOOL | {"strict": True}]}, lambda: 9)
    first = decoded(stream.event(chunk({"content": "so"})))[0]
    assert first["response"]["tools"] == [TOOL | {"strict": True}]
