"""Facts about Anthropic's Messages API through its official client and the real engine."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.support.openai_client import MODEL, SCHEMA, Verdict, chat
from tools.live_stack import LiveStack

pytestmark = pytest.mark.integration

ASK: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 8,
    "messages": [{"role": "user", "content": "the phone was great"}],
    "extra_body": {"ignore_eos": True, "temperature": 0},
}
RATE: Any = {"name": "rate", "description": "Rates a text.", "input_schema": SCHEMA, "strict": True}


@pytest.fixture(scope="module")
def messages(running: LiveStack) -> Iterator[Any]:
    with (
        anthropic.DefaultHttpxClient(trust_env=False) as http,
        anthropic.Anthropic(
            base_url=running.gateway, api_key=running.keys["app"], max_retries=0, timeout=60, http_client=http
        ) as made,
    ):
        yield made.messages


def test_a_message_has_the_text_that_a_chat_has(messages: Any, client: openai.OpenAI):
    usual = chat(client, max_tokens=8)
    found = messages.create(**ASK)
    assert found.content[0].text == usual.choices[0].message.content
    assert (found.stop_reason, found.model) == ("max_tokens", f"{MODEL}@0")
    assert (found.usage.input_tokens, found.usage.output_tokens) == (usual.usage.prompt_tokens, 8)


def test_a_stream_has_the_text_and_the_counts_of_the_whole_answer(messages: Any):
    whole = messages.create(**ASK)
    with messages.stream(**ASK) as stream:
        first = next(iter(stream))
        found = stream.get_final_message()
    assert (found.content[0].text, found.stop_reason) == (whole.content[0].text, whole.stop_reason)
    assert first.message.usage.input_tokens == found.usage.input_tokens == whole.usage.input_tokens
    assert found.usage.output_tokens == whole.usage.output_tokens


def test_the_tokens_that_are_counted_are_those_of_the_prompt(messages: Any):
    asked = {name: ASK[name] for name in ("model", "messages")}
    assert messages.count_tokens(**asked).input_tokens == messages.create(**ASK).usage.input_tokens
    more = asked | {"system": "good bad fine"}
    assert messages.count_tokens(**more).input_tokens > messages.count_tokens(**asked).input_tokens


def test_an_answer_that_the_request_begins_is_continued(messages: Any):
    whole = messages.create(**ASK).content[0].text
    begun = whole[: len(whole) // 2].rstrip()
    found = messages.create(**ASK | {"messages": [*ASK["messages"], {"role": "assistant", "content": begun}]})
    assert found.content[0].text


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_called_and_its_result_is_read(messages: Any, grammar_options: dict[str, Any], streamed: bool):
    options: dict[str, Any] = ASK | {
        "max_tokens": grammar_options["max_tokens"],
        "extra_body": {"logit_bias": grammar_options["logit_bias"], "temperature": 0},
        "tools": [RATE],
        "tool_choice": {"type": "any"},
    }
    if streamed:
        with messages.stream(**options) as stream:
            found = stream.get_final_message()
    else:
        found = messages.create(**options)
    (call,) = [block for block in found.content if block.type == "tool_use"]
    assert (found.stop_reason, call.name) == ("tool_use", "rate")
    Verdict.model_validate(call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "noted"}
    back = [
        *ASK["messages"],
        {"role": "assistant", "content": found.content},
        {"role": "user", "content": [result]},
    ]
    assert messages.create(**ASK | {"messages": back, "tools": [RATE]}).content[0].text


def test_an_answer_follows_a_schema(messages: Any, grammar_options: dict[str, Any]):
    found = messages.create(
        **ASK
        | {
            "max_tokens": grammar_options["max_tokens"],
            "extra_body": {"logit_bias": grammar_options["logit_bias"], "temperature": 0},
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        }
    )
    Verdict.model_validate_json(found.content[0].text)


def test_a_stop_sequence_ends_the_answer_and_is_named(messages: Any):
    whole = messages.create(**ASK).content[0].text
    stop = whole[len(whole) // 2 :][:2]
    found = messages.create(**ASK | {"stop_sequences": [stop]})
    assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", stop)
    assert found.content[0].text == whole[: whole.index(stop)]


def test_errors_are_those_of_the_client(messages: Any):
    long = [{"role": "user", "content": "the " * 400}]
    for name, change in (
        ("BadRequestError", {"messages": long}),
        ("BadRequestError", {"extra_body": {"temperature": -5}}),
        ("NotFoundError", {"model": "none"}),
    ):
        with pytest.raises(getattr(anthropic, name)):
            messages.create(**ASK | change)
    with pytest.raises(anthropic.BadRequestError), messages.stream(**ASK | {"messages": long}) as stream:
        stream.get_final_message()
