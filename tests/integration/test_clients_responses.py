"""Facts about the Responses API through the official OpenAI client and the real engine."""

import json
from typing import Any

import openai
import pytest

from tests.support.openai_client import MODEL, TOOL, Verdict, chat
from tools.live_stack import LiveStack

pytestmark = pytest.mark.integration

TEXT = "the phone was great"
FUNCTION: Any = {"type": "function", **TOOL["function"]}


def ask(client: Any, **options: Any) -> Any:
    common: Any = {"model": MODEL, "input": TEXT, "temperature": 0, "extra_body": {"ignore_eos": True}}
    return client.responses.create(**common | options)


def grammar(grammar_options: dict[str, Any]) -> dict[str, Any]:
    """The options of the chat route for answers that follow a grammar, for this one."""
    bias = {"logit_bias": grammar_options["logit_bias"]}
    return {"extra_body": bias, "max_output_tokens": grammar_options["max_tokens"]}


def test_a_response_has_the_text_that_a_chat_has(client: Any):
    usual = chat(client, max_tokens=8)
    found = ask(client, max_output_tokens=8)
    assert found.output_text == usual.choices[0].message.content
    assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (found.usage.output_tokens, found.usage.input_tokens) == (8, usual.usage.prompt_tokens)
    assert found.model == f"{MODEL}@0"


def test_a_stream_has_the_text_of_the_whole_answer(client: Any):
    whole = ask(client, max_output_tokens=8)
    events = list(ask(client, max_output_tokens=8, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    final = events[-1]
    assert (final.type, final.response.output_text) == ("response.incomplete", whole.output_text)
    assert final.response.usage == whole.usage


def test_a_response_is_continued_from_its_id_found_and_deleted(client: Any):
    first = ask(client, max_output_tokens=4)
    second = ask(client, input="and now?", previous_response_id=first.id, max_output_tokens=4)
    messages: Any = [
        {"role": "user", "content": TEXT},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "and now?"},
    ]
    assert second.output_text == chat(client, messages=messages, max_tokens=4).choices[0].message.content
    assert client.responses.retrieve(second.id).to_dict() == second.to_dict()
    assert [item.content[0].text for item in client.responses.input_items.list(second.id)] == ["and now?"]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_a_structured_answer_is_parsed(client: Any, grammar_options: dict[str, Any]):
    found = client.responses.parse(model=MODEL, input=TEXT, text_format=Verdict, **grammar(grammar_options))
    assert isinstance(found.output_parsed, Verdict)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_is_called_and_its_output_is_read(client: Any, grammar_options: dict[str, Any], streamed: bool):
    options = grammar(grammar_options) | {"tools": [FUNCTION], "tool_choice": "required"}
    if streamed:
        with client.responses.stream(model=MODEL, input=TEXT, **options) as stream:
            found: Any = stream.get_final_response()
    else:
        found = ask(client, **options)
    (call,) = [item for item in found.output if item.type == "function_call"]
    assert (call.name, set(json.loads(call.arguments))) == ("rate", {"label", "sure"})
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "noted"}
    after = ask(client, input=[result], previous_response_id=found.id, tools=[FUNCTION], max_output_tokens=4)
    assert after.output_text


def test_feedback_names_a_response(client: Any, running: LiveStack):
    found = ask(client, max_output_tokens=2)
    said = {"interaction_id": found.id, "type": "thumbs", "value": True}
    taken: Any = client.post("/feedback", body=said, cast_to=dict[str, Any])
    assert taken["feedback_id"].startswith("fb-")


def test_what_the_engine_refuses_is_a_bad_request(client: Any):
    for streamed in (False, True):
        with pytest.raises(openai.BadRequestError, match="context length"):
            ask(client, input="the " * 400, stream=streamed)
