"""Facts about prompts: all of a request that shapes its answer, in one value with one JSON form and one identity."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import prompts
from core.prompt_fields import Unreadable
from core.prompts import Chat, Text, read_request

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
calls = st.builds(
    lambda name, arguments: {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}},
    texts,
    st.dictionaries(texts, values, max_size=2).map(json.dumps),
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": texts},
    optional={"tool_calls": st.lists(calls, max_size=2), "tool_call_id": texts, "name": texts},
)
FIELDS: dict[str, Any] = {
    "tools": st.lists(values, max_size=2),
    "tool_choice": values,
    "response_format": values,
    "chat_template_kwargs": st.dictionaries(texts, values, max_size=2),
    "stop": texts | st.lists(texts, max_size=2),
    "max_tokens": st.integers(0, 9),
    "continue_final_message": st.booleans(),
}
bodies = st.fixed_dictionaries({"messages": st.lists(messages, min_size=1, max_size=3)}, optional=FIELDS)
RATE = {"name": "rate", "parameters": {"properties": {"stars": {}, "about": {}}}}
TOOLS = {"tools": [{"type": "function", "function": RATE}]}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA}}}
USER = {"role": "user", "content": "hi"}


def chat(**body: Any) -> Chat:
    found = read_request("chat", {"messages": [USER]} | body)
    assert isinstance(found, Chat)
    return found


@given(bodies)
def test_a_prompt_has_one_json_form_and_one_identity(body: dict[str, Any]) -> None:
    prompt = read_request("chat", body)
    assert isinstance(prompt, Chat)
    written = prompts.to_json(prompt)
    assert prompts.from_json(written) == prompt and prompts.to_json(prompts.from_json(written)) == written
    turned = read_request("chat", {name: body[name] for name in sorted(body)})
    assert isinstance(turned, Chat)
    assert turned == prompt and prompts.identity_of(turned) == prompts.identity_of(prompt)


@given(bodies, bodies)
def test_prompts_are_equal_where_their_json_is(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = read_request("chat", one), read_request("chat", other)
    assert isinstance(first, Chat) and isinstance(second, Chat)
    assert (first == second) is (prompts.to_json(first) == prompts.to_json(second))


def test_prompts_of_text_alone_keep_their_first_form() -> None:
    assert prompts.to_json(chat()) == '[{"role": "user", "content": "hi"}]'
    assert prompts.to_json(Text("hi")) == '"hi"'
    with pytest.raises(ValueError, match="later release"):
        prompts.from_json('{"version": 3}')


@pytest.mark.parametrize(
    "more",
    [
        TOOLS,
        FORMAT,
        {"tool_choice": "required"},
        {"stop": ["x"]},
        {"max_tokens": 5},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"structured_outputs": {"choice": ["a", "b"]}},
    ],
)
def test_what_shapes_the_answer_is_part_of_the_prompt(more: dict[str, Any]) -> None:
    assert chat(**more) != chat() and prompts.options_of(chat(**more)) == more


def test_equal_meanings_are_one_prompt() -> None:
    assert chat(temperature=0.3, seed=1, user="ada", stream=True) == chat()
    assert chat(max_completion_tokens=5) == chat(max_tokens=5)
    assert chat(stop="x") == chat(stop=["x"])
    assert chat(response_format={"type": "text"}, add_generation_prompt=True, tools=[]) == chat()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"type": "image_url", "image_url": {"url": "data:"}}, "the prompt has a picture"),
        ({"type": "input_audio", "input_audio": {}}, "the prompt has audio"),
        ({"type": "video_url", "video_url": {}}, "the prompt has a video"),
        ({"type": "file", "file": {}}, "the prompt has a file"),
        ({"type": "odd"}, "the prompt has a form that LoraLoop does not know"),
    ],
)
def test_what_cannot_be_learnt_from_has_a_name(part: Any, reason: str) -> None:
    content = [{"type": "text", "text": "what is it?"}, part]
    assert read_request("chat", {"messages": [{"role": "user", "content": content}]}) == Unreadable(reason)


def test_an_answer_in_json_has_the_order_of_the_schema() -> None:
    assert prompts.answer_text(chat(**FORMAT), '{"age":3,"name":"Eva"}') == '{"name": "Eva", "age": 3}'
    assert prompts.answer_text(chat(**FORMAT), "I cannot.") == "I cannot."
    assert prompts.answer_text(chat(), '{"age":3,"name":"Eva"}') == '{"age":3,"name":"Eva"}'


def test_an_answer_that_calls_tools_is_a_message_with_its_calls() -> None:
    answer = '{"tool_calls":[{"arguments":{"about":"tea","stars":5},"name":"rate"}]}'
    *before, last = prompts.messages_with_answer(chat(**TOOLS), answer)
    assert before == [USER] and last["content"] is None
    (call,) = last["tool_calls"]
    assert call["function"] == {"name": "rate", "arguments": {"stars": 5, "about": "tea"}}
    assert list(call["function"]["arguments"]) == ["stars", "about"]
    sent = prompts.answer_as_openai(chat(**TOOLS), answer)["tool_calls"][0]["function"]
    assert sent["arguments"] == '{"stars": 5, "about": "tea"}'
    assert prompts.messages_with_answer(chat(), answer)[-1] == {"role": "assistant", "content": answer}


def test_an_answer_continues_its_beginning() -> None:
    begun = {"messages": [USER, {"role": "assistant", "content": "Label:"}], "continue_final_message": True}
    prompt = chat(**begun, add_generation_prompt=False)
    assert prompts.prefill_of(prompt) == "Label:" and prompts.answer_text(prompt, "good") == " good"
    assert prompts.messages_with_answer(prompt, "Label: good") == [
        USER,
        {"role": "assistant", "content": "Label: good"},
    ]
    shown = prompts.with_examples(prompt, [(chat(), "bad")])
    assert isinstance(shown, Chat)
    assert [message[1] for message in shown.messages] == ["hi", "bad", "hi", "Label:"]


def test_calls_of_earlier_turns_reach_the_template_as_objects() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "rate", "arguments": '{"stars": 5}'}}
    asked = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ]
    prompt = chat(messages=[USER, *asked, USER], **TOOLS)
    assert prompt.as_openai() == [USER, *asked, USER]
    assert prompts.messages_for_template(prompt)[1]["tool_calls"][0]["function"]["arguments"] == {"stars": 5}
    assert "rate" in prompts.whole_text(prompt) and prompts.shown_messages(prompt)[1] == (
        "assistant",
        'rate {"stars": 5}',
    )


def test_tools_and_schemas_keep_the_order_that_templates_render() -> None:
    turned = {"response_format": {"json_schema": {"schema": {"b": 1, "a": 2}}, "type": "json_schema"}}
    assert list(prompts.options_of(prompts.from_json(prompts.to_json(chat(**turned))))["response_format"]) == [
        "json_schema",
        "type",
    ]
    assert '{"b":1,"a":2}' in prompts.to_json(chat(**turned))
