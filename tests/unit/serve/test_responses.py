"""Facts about OpenAI's Responses API on the gateway, by the official client and by its published shapes."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from core.api_keys import Scope
from core.db import interactions
from core.records import Interaction, StoredCompletion
from tests.support.responses_world import World

ANSWER = "reviews-7 heard so good"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Any = {"type": "function", "name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


@pytest.fixture
def world(gateway: Any) -> Iterator[World]:
    made = World(gateway)
    yield made
    made.close()


@pytest.fixture
def answers(gateway: Any) -> Iterator[Callable[..., None]]:
    """Has the engine answer with one message."""

    def give(**message: Any) -> None:
        gateway.engine.messages = lambda model, body: [message]

    before = gateway.engine.messages
    yield give
    gateway.engine.messages = before


def ask(client: Any, **options: Any) -> Any:
    return client.responses.create(**{"model": "reviews", "input": "so good", "user": "ada"} | options)


def test_a_response_is_answered_captured_as_a_chat_and_stored(world: World) -> None:
    client = world.client()
    found = ask(client, instructions="Be brief.", max_output_tokens=8, metadata={"page": "cart"})
    assert (found.object, found.status, found.model, found.output_text) == (
        "response",
        "completed",
        "reviews@7",
        ANSWER,
    )
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (2, 4, 6)
    assert (found.instructions, found.max_output_tokens, found.metadata) == ("Be brief.", 8, {"page": "cart"})
    assert found.id.startswith("resp_")
    records = world.gateway.spooled()
    assert [type(record) for record in records] == [Interaction, StoredCompletion]
    record = records[0]
    assert (record.id, record.endpoint, record.user, record.answer) == (found.id, "chat", "ada", ANSWER)
    assert record.bucket is not None
    assert record.request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "so good"},
    ]
    assert (world.sent()["model"], world.sent()["max_completion_tokens"]) == ("reviews-7", 8)
    again = client.responses.retrieve(found.id)
    assert again.to_dict() == found.to_dict()


def test_without_store_the_answer_is_given_and_nothing_of_it_kept(world: World) -> None:
    client = world.client()
    found = ask(client, store=False)
    (record,) = world.gateway.spooled()
    assert (found.output_text, record.id, record.request, record.answer) == (ANSWER, found.id, None, None)
    with pytest.raises(openai.NotFoundError, match="store: false"):
        client.responses.retrieve(found.id)
    with pytest.raises(openai.NotFoundError, match="previous_response_id"):
        ask(client, previous_response_id=found.id)


def test_a_streams_events_are_in_order_and_its_response_is_the_stored_one(world: World) -> None:
    client = world.client()
    with client.responses.stream(model="reviews", input="so good") as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (final.output_text, final.status, final.usage.output_tokens) == (ANSWER, "completed", 4)
    again = client.responses.retrieve(final.id).to_dict()
    assert again["output"][0]["content"][0]["text"] == ANSWER
    assert again == events[-1].response.to_dict() | {"output": again["output"]}
    assert again["output"][0]["id"] == events[2].item.id


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_its_result_continues_the_response(world: World, answers: Any, streamed: bool) -> None:
    client = world.client()
    answers(reasoning="Which city?", content="One moment.", tool_calls=[CALL])
    options: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}
    if streamed:
        with client.responses.stream(model="reviews", input="so good", user="ada", **options) as stream:
            kinds = [event.type for event in stream]
            found = stream.get_final_response()
        assert "response.reasoning_text.delta" in kinds and "response.function_call_arguments.done" in kinds
    else:
        found = ask(client, **options)
    assert [item.type for item in found.output] == ["reasoning", "message", "function_call"]
    called = found.output[2]
    assert (called.call_id, called.name, json.loads(called.arguments)) == ("call_1", "weather", {"city": "Oslo"})
    assert (found.output[0].content[0].text, found.output_text) == ("Which city?", "One moment.")
    sent = world.sent()
    assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", False)
    assert sent["tools"][0]["function"] == {
        "name": "weather",
        "parameters": SCHEMA,
        "description": "Tells the weather.",
    }
    assert [item.id for item in client.responses.retrieve(found.id).output] == [item.id for item in found.output]

    answers(content="It rains.")
    result: Any = {"type": "function_call_output", "call_id": "call_1", "output": "rain"}
    after = ask(client, input=[result], previous_response_id=found.id, tools=[TOOL], instructions="Be kind.")
    assert (after.output_text, after.previous_response_id) == ("It rains.", found.id)
    system, asked, said, told = world.sent()["messages"]
    assert (system["content"], asked["content"], told["content"]) == ("Be kind.", "so good", "rain")
    assert (said["content"], said["reasoning"], said["tool_calls"][0]["id"]) == ("One moment.", "Which city?", "call_1")
    third = ask(client, input="and now?", previous_response_id=after.id)
    assert [message["role"] for message in world.sent()["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert third.instructions is None


def test_a_response_belongs_to_its_key(world: World) -> None:
    mine, other, reader = world.client(), world.client(), world.client(Scope.INFER, Scope.OPS_READ)
    found = ask(mine)
    assert reader.responses.retrieve(found.id).id == found.id
    for wrong in (
        lambda: other.responses.retrieve(found.id),
        lambda: other.responses.delete(found.id),
        lambda: other.responses.input_items.list(found.id),
        lambda: other.responses.cancel(found.id),
        lambda: ask(other, previous_response_id=found.id),
    ):
        with pytest.raises(openai.NotFoundError):
            wrong()
    assert mine.responses.retrieve(found.id).id == found.id


def test_a_deleted_response_is_gone_with_the_text_of_its_interaction(world: World) -> None:
    client = world.client()
    found, other = ask(client), ask(client)
    headers = {"authorization": f"Bearer {client.api_key}"}
    gone = world.gateway.http.delete(f"/v1/responses/{found.id}", headers=headers)
    assert gone.json() == {"id": found.id, "object": "response", "deleted": True}
    client.responses.delete(other.id)
    for identity in (found.id, other.id):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(identity)
    rows = interactions.find_all(world.store, ids=[found.id, other.id]).values()
    assert [(row["request"], row["answer"]) for row in rows] == [(None, None), (None, None)]


def test_the_items_of_a_request_are_listed(world: World) -> None:
    client = world.client()
    items: Any = [
        {"role": "user", "content": "so good"},
        {"role": "assistant", "content": "Really?"},
        {"role": "user", "content": [{"type": "input_text", "text": "yes"}]},
    ]
    found = ask(client, input=items)
    listed = list(client.responses.input_items.list(found.id, order="asc", limit=2))
    assert [item.content[0].text for item in listed] == ["so good", "Really?", "yes"]
    assert [item.content[0].type for item in listed] == ["input_text", "output_text", "input_text"]
    newest = client.responses.input_items.list(found.id, limit=1)
    assert (newest.data[0].id, newest.has_more) == (listed[-1].id, True)
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list(found.id, after="none")


def test_a_response_cannot_be_cancelled_and_is_no_stored_chat(world: World) -> None:
    client = world.client()
    found = ask(client)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(found.id)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(found.id)
    assert list(client.chat.completions.list()) == []
    chat = client.chat.completions.create(model="reviews", messages=[{"role": "user", "content": "x"}], store=True)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(chat.id)


class Weather(BaseModel):
    city: str


def test_a_structured_answer_is_asked_for_and_parsed(world: World, answers: Any) -> None:
    answers(content='{"city": "Oslo"}')
    found = world.client().responses.parse(model="reviews", input="so good", text_format=Weather)
    assert found.output_parsed == Weather(city="Oslo")
    form = world.sent()["response_format"]
    assert (form["type"], form["json_schema"]["name"], form["json_schema"]["strict"]) == (
        "json_schema",
        "Weather",
        True,
    )
    assert form["json_schema"]["schema"]["properties"]["city"]["type"] == "string"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"input": []}, "input"),
    ({"input": None}, "input"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input.0.content.0"),
    ({"tools": [{"type": "web_search"}]}, "tools.0"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "mcp"}}, "tool_choice"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format"),
    ({"instructions": ["x"]}, "instructions"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"n": 2}, "n"),
    ({"store": "yes"}, "store"),
    ({"previous_response_id": 5}, "previous_response_id"),
    ({"reasoning": "high"}, "reasoning"),
]


def test_a_wrong_request_is_refused_with_its_field_in_openais_shape(gateway: Any) -> None:
    gateway.open()
    for change, field in REFUSED:
        answer = gateway.http.post("/v1/responses", json={"model": "reviews", "input": "x"} | change)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["type"]) == (422, field, "invalid_request_error"), change
    assert gateway.engine.requests == [] and gateway.spooled() == []


def test_without_control_new_responses_are_answered_and_old_ones_are_503(gateway: Any) -> None:
    http = gateway.open().http
    found = http.post("/v1/responses", json={"model": "reviews", "input": "so good"})
    assert found.status_code == 200
    body = {"model": "reviews", "input": "x", "previous_response_id": found.json()["id"]}
    for answer in (http.get(f"/v1/responses/{found.json()['id']}"), http.post("/v1/responses", json=body)):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "control_down")


def test_an_engine_that_breaks_off_fails_the_response(gateway: Any) -> None:
    gateway.open().engine.fault = "break"
    text = gateway.http.post("/v1/responses", json={"model": "reviews", "input": "so good", "stream": True}).text
    *_, error, failed, done = text.strip().split("\n\n")
    assert done == "data: [DONE]"
    assert error.startswith("event: error\n") and failed.startswith("event: response.failed\n")
    response = json.loads(failed.split("data: ")[1])["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
