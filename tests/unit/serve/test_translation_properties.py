"""Facts that hold for any request of the Messages and the Responses API: it becomes a chat, or its field is named."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.prompts import read_request
from serve.messages.translation import MessagesTranslation
from serve.responses.translation import ResponsesTranslation

SCALARS: Any = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
WORDS: Any = st.sampled_from(
    (
        "text",
        "image",
        "tool_use",
        "tool_result",
        "thinking",
        "document",
        "message",
        "function_call",
        "function",
        "function_call_output",
        "reasoning",
        "input_text",
        "output_text",
        "input_image",
        "refusal",
        "allowed_tools",
        "user",
        "assistant",
        "system",
        "developer",
        "auto",
        "any",
        "none",
        "required",
        "enabled",
        "disabled",
        "base64",
        "url",
        "json_schema",
        "json_object",
        "custom",
        "tool",
        "adaptive",
    )
)
NAMES: Any = st.sampled_from(
    (
        "type",
        "role",
        "content",
        "text",
        "source",
        "id",
        "name",
        "input",
        "tool_use_id",
        "thinking",
        "data",
        "url",
        "media_type",
        "call_id",
        "arguments",
        "output",
        "summary",
        "refusal",
        "image_url",
        "detail",
        "format",
        "schema",
        "input_schema",
        "parameters",
        "description",
        "strict",
        "budget_tokens",
        "effort",
        "user_id",
        "mode",
        "tools",
    )
)
VALUES: Any = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
BLOCKS: Any = st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=3)
MESSAGES: Any = st.fixed_dictionaries(
    {"messages": VALUES | st.lists(st.fixed_dictionaries({"role": WORDS, "content": BLOCKS | VALUES}), max_size=3)},
    optional={
        "max_tokens": st.just(4) | VALUES,
        "system": BLOCKS | VALUES,
        "tools": BLOCKS | VALUES,
        **dict.fromkeys(("tool_choice", "thinking", "output_config", "metadata", "stream", "stop_sequences"), VALUES),
    },
)
RESPONSES: Any = st.fixed_dictionaries(
    {"input": BLOCKS | VALUES},
    optional={
        "tools": BLOCKS | VALUES,
        **dict.fromkeys(("instructions", "tool_choice", "text", "reasoning", "include", "top_logprobs"), VALUES),
        **dict.fromkeys(("metadata", "stream", "store", "max_output_tokens", "background"), VALUES),
    },
)


def chat_of(translation: Any, body: dict[str, Any]) -> dict[str, Any] | None:
    refused = ""
    try:
        return json.loads(json.dumps(asyncio.run(translation.read(body, None))))
    except InputError as error:
        refused = error.field or ""
    assert refused.partition(".")[0] in {*body, "system"}  # the one whose part is at fault
    return None


def check_is_chat(chat: dict[str, Any] | None) -> None:
    if chat is None:
        return
    for message in chat["messages"]:
        assert message["role"] in ("system", "user", "assistant", "tool")
        assert message["content"] is None or isinstance(message["content"], str | list)
    read_request("chat", chat)  # learning and judging read it, or say why not


def test_one_question_is_one_prompt_in_each_api() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "weather", "description": "Tells the weather.", "parameters": schema}
    asked = [{"role": "user", "content": "so good"}]
    chat = {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, *asked],
        "max_tokens": 8,
        "tools": [{"type": "function", "function": function}],
    }
    tool = {"name": "weather", "description": "Tells the weather.", "input_schema": schema}
    messages = {"model": "m", "system": "Be brief.", "messages": asked, "max_tokens": 8, "tools": [tool]}
    responses = {"model": "m", "instructions": "Be brief.", "input": "so good", "max_output_tokens": 8}
    responses["tools"] = [{"type": "function", **function}]
    for translation, body in ((MessagesTranslation(), messages), (ResponsesTranslation(no_messages), responses)):
        found = chat_of(translation, body)
        assert found is not None and read_request("chat", found) == read_request("chat", chat)


@given(MESSAGES)
def test_any_request_of_the_messages_api_is_a_chat_or_its_field_is_named(body: dict[str, Any]) -> None:
    check_is_chat(chat_of(MessagesTranslation(), {"model": "m", "max_tokens": 4} | body))


async def no_messages(identity: str, permit: Any) -> list[dict[str, Any]]:
    return []


@given(RESPONSES)
def test_any_request_of_the_responses_api_is_a_chat_or_its_field_is_named(body: dict[str, Any]) -> None:
    check_is_chat(chat_of(ResponsesTranslation(no_messages), {"model": "m"} | body))
