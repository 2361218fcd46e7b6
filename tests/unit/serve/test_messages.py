"""Facts about Anthropic's Messages API on the gateway, by the official client and by its published shapes."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

from core.errors import InputError
from serve.messages.answer import stop_reason, to_message
from serve.messages.request import to_chat, to_prompt
from serve.messages.stream import MessageStream

ASK: dict[str, Any] = {"model": "reviews", "max_tokens": 16, "messages": [{"role": "user", "content": "so good"}]}
ANSWER = "reviews-7 heard so good"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"name": "weather", "description": "Tells the weather.", "input_schema": SCHEMA}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


@pytest.fixture
def client(gateway: Any) -> Iterator[Any]:
    gateway.open()
    with anthropic.DefaultHttpxClient(trust_env=False) as http:
        yield anthropic.Anthropic(base_url=str(gateway.http.base_url), api_key="any", max_retries=0, http_client=http)


@pytest.fixture
def answers(gateway: Any) -> Iterator[Callable[..., None]]:
    """Has the engine answer with one message."""

    def give(**message: Any) -> None:
        gateway.engine.messages = lambda model, body: [message]

    before = gateway.engine.messages
    yield give
    gateway.engine.messages = before


def test_a_message_is_answered_and_captured_as_a_chat(gateway: Any, client: Any) -> None:
    found = client.messages.create(**ASK | {"system": "Be brief.", "metadata": {"user_id": "ada"}})
    assert (found.type, found.role, found.model, found.stop_reason) == ("message", "assistant", "reviews@7", "end_turn")
    assert [(block.type, block.text) for block in found.content] == [("text", ANSWER)]
    assert (found.usage.input_tokens, found.usage.output_tokens) == (2, 4)
    record = gateway.only()
    assert found.id == record.id == found._request_id and found.id.startswith("msg_")
    assert (record.endpoint, record.user, record.answer, record.status) == ("chat", "ada", ANSWER, 200)
    assert record.bucket is not None
    assert record.request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "so good"},
    ]
    path, sent = gateway.engine.requests[-1]
    assert (path, sent["model"], sent["max_tokens"]) == ("/v1/chat/completions", "reviews-7", 16)


def test_a_streamed_message_has_the_events_that_the_client_puts_together(gateway: Any, client: Any) -> None:
    with client.messages.stream(**ASK) as stream:
        kinds = [event.type for event in stream]
        found = stream.get_final_message()
    raw = [kind for kind in kinds if kind != "text"]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert found.content[0].text == ANSWER and found.stop_reason == "end_turn"
    assert (found.usage.input_tokens, found.usage.output_tokens) == (2, 4)
    record = gateway.only()
    assert (found.id, found.model) == (record.id, "reviews@7")
    assert (record.streamed, record.answer, record.completion_tokens) == (True, ANSWER, 4)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_of_a_tool_is_a_block_and_its_result_goes_back(
    gateway: Any, client: Any, answers: Any, streamed: bool
) -> None:
    answers(reasoning="Which city?", content="One moment.", tool_calls=[CALL])
    options: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    if streamed:
        with client.messages.stream(**ASK, **options) as stream:
            found = stream.get_final_message()
    else:
        found = client.messages.create(**ASK, **options)
    assert [block.type for block in found.content] == ["thinking", "text", "tool_use"]
    assert (found.content[0].thinking, found.content[1].text) == ("Which city?", "One moment.")
    used = found.content[2]
    assert (used.id, used.name, used.input) == ("call_1", "weather", {"city": "Oslo"})
    assert found.stop_reason == "tool_use"
    sent = gateway.engine.requests[-1][1]
    function = {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", False)
    (choice,) = gateway.only().choices
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"

    result = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "rain"}]}
    back = [*ASK["messages"], {"role": "assistant", "content": found.content}, {"role": "user", "content": [result]}]
    client.messages.create(**ASK | {"messages": back}, tools=[TOOL])
    _, said, told = gateway.engine.requests[-1][1]["messages"]
    assert (said["content"], said["reasoning"]) == ("One moment.", "Which city?")
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert told == {"role": "tool", "tool_call_id": "call_1", "content": "rain"}


def test_the_models_are_listed_and_retrieved(client: Any) -> None:
    (found,) = client.models.list()
    assert (found.id, found.type, found.display_name) == ("reviews", "model", "reviews")
    assert client.models.retrieve("reviews").id == "reviews"


def test_tokens_are_counted_of_the_translated_prompt_and_nothing_is_recorded(gateway: Any, client: Any) -> None:
    found = client.messages.count_tokens(model="reviews", system="Be brief.", messages=ASK["messages"], tools=[TOOL])
    assert found.input_tokens == 4
    path, sent = gateway.engine.requests[-1]
    assert (path, sent["model"], len(sent["messages"]), len(sent["tools"])) == ("/tokenize", "reviews-7", 2, 1)
    assert gateway.spooled() == []


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
    ({"model": "other"}, 404, "not_found_error", "other"),
    ({"messages": []}, 400, "invalid_request_error", "messages"),
    ({"messages": [{"role": "system", "content": ""}]}, 400, "invalid_request_error", "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_request_error", "messages.0.role"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, 400, "invalid_request_error", "content.0"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 400, "invalid_request_error", "tools.0"),
    ({"n": 2}, 400, "invalid_request_error", "n: is no field"),
    ({"stream": "yes"}, 400, "invalid_request_error", "stream"),
]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/", "/openai/v1/messages"])
def test_a_wrong_request_is_refused_in_anthropics_shape(gateway: Any, path: str) -> None:
    gateway.open()
    for change, status, kind, words in REFUSED:
        answer = gateway.http.post(path, json=ASK | change)
        body = answer.json()
        assert (answer.status_code, body["type"], body["error"]["type"]) == (status, "error", kind), change
        assert words in body["error"]["message"] and set(body) == {"type", "error", "request_id"}
        assert body["request_id"] == answer.headers["request-id"]
    assert gateway.engine.requests == []


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("POST", "/v1/messages/count_tokens", 400, "invalid_request_error"),
    ],
)
def test_every_error_below_the_path_has_anthropics_shape(
    gateway: Any, method: str, path: str, status: int, kind: str
) -> None:
    answer = gateway.open().http.request(method, path, content=b"{")
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert "request_id" in answer.json()


def kind_of(error: Any) -> str:
    return error.body["error"]["type"]


def test_errors_of_the_engine_and_of_keys_have_anthropics_shape(gateway: Any, client: Any) -> None:
    long = "x " * 3000
    with pytest.raises(anthropic.BadRequestError, match="maximum context length") as found:
        client.messages.create(**ASK | {"messages": [{"role": "user", "content": long}]})
    assert kind_of(found.value) == "invalid_request_error"
    gateway.engine.fault = "down"
    with pytest.raises(anthropic.InternalServerError) as down:
        client.messages.create(**ASK)
    assert kind_of(down.value) == "overloaded_error"
    assert int(down.value.response.headers["retry-after"]) >= 1


def test_without_a_key_the_error_has_anthropics_shape(gateway: Any) -> None:
    answer = gateway.open(access="keys").http.post("/v1/messages", json=ASK, headers={"x-api-key": "wrong"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")


def test_a_stream_that_breaks_off_ends_with_an_error_event(gateway: Any) -> None:
    gateway.open().engine.fault = "break"
    text = gateway.http.post("/v1/messages", json=ASK | {"stream": True}).text
    name, data = text.strip().split("\n\n")[-1].split("\n")
    assert (name, json.loads(data[6:])["error"]["type"]) == ("event: error", "api_error")
    assert "message_stop" not in text


def event(choice: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": "msg_1", "model": "m@1", "choices": [choice] if choice else [], **more}


def decoded(events: bytes) -> list[dict[str, Any]]:
    found = []
    for part in events.decode().split("\n\n")[:-1]:
        name, data = part.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_calls_of_a_stream_are_blocks_in_their_order_and_a_text_within_one_comes_after_it() -> None:
    stream, found = MessageStream(), b""
    first, second = ({"index": n, "id": f"call_{n}", "function": {"name": "weather"}} for n in (0, 1))
    for delta in (
        {"role": "assistant", "content": ""},
        {"tool_calls": [first]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city"'}}]},
        {"content": "so"},
        {"tool_calls": [{"index": 0, "function": {"arguments": ': "Oslo"}'}}]},
        {"tool_calls": [second]},
    ):
        found += stream.event(event({"index": 0, "delta": delta, "finish_reason": None}))
    found += stream.event(event({"index": 0, "delta": {}, "finish_reason": "tool_calls"}))
    found += stream.event(event(usage={"prompt_tokens": 5, "completion_tokens": 7}))
    found += stream.done() + stream.end()
    events = decoded(found)
    blocks = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert [(block["type"], block.get("id")) for block in blocks] == [
        ("tool_use", "call_0"),
        ("text", None),
        ("tool_use", "call_1"),
    ]
    parts = [(e["index"], e["delta"].get("partial_json")) for e in events if e["type"] == "content_block_delta"]
    assert parts == [(0, '{"city"'), (0, ': "Oslo"}'), (1, None)]
    opened = [e["index"] for e in events if e["type"] == "content_block_start"]
    closed = [e["index"] for e in events if e["type"] == "content_block_stop"]
    assert opened == closed == [0, 1, 2]
    last = events[-2]
    assert (last["delta"]["stop_reason"], last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (
        "tool_use",
        5,
        7,
    )


def test_an_empty_answer_is_one_empty_text_streamed_or_not() -> None:
    stream = MessageStream()
    found = stream.event(event({"index": 0, "delta": {"role": "assistant"}, "finish_reason": "stop"}))
    events = decoded(found + stream.done())
    assert [e["type"] for e in events if e["type"].startswith("content")] == [
        "content_block_start",
        "content_block_stop",
    ]
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": None}}
    assert to_message({"id": "msg_1", "model": "m@1", "choices": [choice]})["content"] == [{"type": "text", "text": ""}]


@pytest.mark.parametrize(
    ("finish", "stop", "called", "expected"),
    [
        ("stop", None, False, ("end_turn", None)),
        ("stop", 2, False, ("end_turn", None)),
        ("stop", "END", False, ("stop_sequence", "END")),
        ("length", None, True, ("max_tokens", None)),
        ("tool_calls", None, True, ("tool_use", None)),
        ("stop", None, True, ("tool_use", None)),
    ],
)
def test_a_stop_reason_is_that_of_the_messages_api(
    finish: str, stop: Any, called: bool, expected: tuple[str, str | None]
) -> None:
    assert stop_reason(finish, stop, called=called) == expected


def test_the_parts_of_a_request_become_those_of_a_chat() -> None:
    chat = to_chat(
        ASK
        | {
            "system": [{"type": "text", "text": "A."}, {"type": "text", "text": "B.", "cache_control": {}}],
            "stop_sequences": ["END"],
            "stream": True,
            "temperature": 0.5,
            "top_k": 4,
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "tools": [TOOL],
            "tool_choice": {"type": "tool", "name": "weather"},
        }
    )
    assert chat["messages"][0] == {"role": "system", "content": "A.B."}
    assert (chat["stop"], chat["temperature"], chat["top_k"]) == (["END"], 0.5, 4)
    assert chat["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (chat["reasoning_effort"], chat["thinking_token_budget"]) == ("low", 1024)
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert chat["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_a_schema_keeps_its_order_and_is_one_of_an_object() -> None:
    for schema, names in (
        ({"properties": {}, "type": "object"}, ["properties", "type"]),
        ({"properties": {}}, ["type", "properties"]),
    ):
        (tool,) = to_prompt(ASK | {"tools": [{"name": "x", "input_schema": schema}]})["tools"]
        assert list(tool["function"]["parameters"]) == names


def test_an_answer_that_the_request_begins_is_continued() -> None:
    chat = to_prompt({"messages": [*ASK["messages"], {"role": "assistant", "content": "{"}]})
    assert (chat["continue_final_message"], chat["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in to_prompt(ASK)


def test_pictures_and_documents_become_parts() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    blocks = [
        {"type": "image", "source": source},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a page"}},
        {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": source}]},
    ]
    tool, pictures, said = to_prompt({"messages": [{"role": "user", "content": blocks}]})["messages"]
    assert tool == {"role": "tool", "tool_call_id": "c", "content": ""}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert (pictures["content"], said["content"]) == ([picture], [picture, {"type": "text", "text": "a page"}])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"system": 5}, "system"),
        ({"system": [{"type": "text", "text": "A."}, {"type": "image"}]}, "system.1"),
        ({"messages": [{"role": "system", "content": 5}]}, "messages.0.content"),
        ({"messages": [ASK["messages"][0], {"role": "system", "content": ["x"]}]}, "messages.1.content.0"),
        ({"messages": [{"role": "system", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"tool_choice": {"type": "some"}}, "tool_choice"),
        ({"tools": [{"name": "x"}]}, "tools.0"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"metadata": "x"}, "metadata"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, "messages.0.content.0"),
    ],
)
def test_a_part_that_cannot_be_read_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as found:
        to_chat(ASK | change)
    assert found.value.field == field
