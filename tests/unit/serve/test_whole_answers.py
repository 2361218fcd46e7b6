"""Facts about answers that are more than text: they pass the gateway as they come, and are recorded whole."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

CALL = {"id": "t1", "type": "function", "function": {"name": "rate", "arguments": '{"stars": 5}'}}
MESSAGES: list[list[dict[str, Any]]] = [
    [{"tool_calls": [CALL, CALL | {"id": "t2"}]}],
    [{"content": "good"}, {"content": "bad"}],
    [{"refusal": "I cannot."}],
    [{"reasoning_content": "so good", "content": "good"}],
]


@pytest.fixture(params=MESSAGES)
def parts(gateway: Any, request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    gateway.engine.messages = lambda model, body: request.param
    yield request.param
    gateway.engine.messages = lambda model, body: None


@pytest.mark.parametrize("stream", [False, True])
def test_every_choice_is_recorded_with_its_whole_message(gateway: Any, parts: list[Any], stream: bool) -> None:
    answer = gateway.open().post(stream=stream)
    assert answer.status_code == 200
    record = gateway.only()
    ends = ["tool_calls" if "tool_calls" in message else "stop" for message in parts]
    assert [choice["finish_reason"] for choice in record.choices] == ends
    messages = [choice["message"] for choice in record.choices]
    assert messages == [{"role": "assistant"} | message for message in parts]
    assert (record.answer, record.finish_reason) == (parts[0].get("content"), ends[0])


def test_without_store_no_choice_is_recorded(gateway: Any, parts: list[Any]) -> None:
    gateway.open().post(store=False)
    record = gateway.only()
    assert (record.choices, record.answer) == (None, None)


def test_log_probabilities_are_recorded_where_they_were_asked_for(gateway: Any) -> None:
    body = {"logprobs": True, "logprob_token_ids": [1]}
    scores = gateway.open().post(**body).json()["choices"][0]["logprobs"]
    (choice,) = gateway.only().choices
    assert json.dumps(choice["logprobs"]) == json.dumps(scores) and choice["message"]["content"]
