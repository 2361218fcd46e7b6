"""Prompts as values: all of a request that shapes its answer, in the two formats of OpenAI's API."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring
from typing import Any

import orjson

from core.answers import calls_in, in_order, json_in
from core.prompt_fields import (
    NOT_KEPT,
    TEMPLATE_FIELDS,
    UNKNOWN_FORM,
    Message,
    Unreadable,
    fields_text,
    message_of,
    shaping_options,
)
from core.records import Endpoint

PASSAGES = "What may help to answer:"
VERSION = 2


@dataclass(frozen=True, slots=True)
class Chat:
    """A prompt as messages. `options` are the other fields of the request that shape its answer, as JSON."""

    messages: tuple[Message, ...]
    options: str = field(default="", kw_only=True)

    def as_openai(self) -> list[dict[str, Any]]:
        """Return the messages in the format of OpenAI's API."""
        return [_as_openai(message) for message in self.messages]


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt as plain text, for the completions route. `options` are as those of a chat."""

    text: str
    options: str = field(default="", kw_only=True)


Prompt = Chat | Text


def from_request(endpoint: Endpoint, body: dict[str, Any]) -> Prompt | None:
    """The prompt of a captured request, or None where LoraLoop cannot learn from it."""
    found = read_request(endpoint, body)
    return None if isinstance(found, Unreadable) else found


def from_stored(endpoint: Endpoint, request: str | None) -> Prompt | None:
    """The prompt of a request as the store has it, or None where LoraLoop cannot learn from it."""
    found = read_stored(endpoint, request)
    return None if isinstance(found, Unreadable) else found


def read_stored(endpoint: Endpoint, request: str | None) -> Prompt | Unreadable:
    """The prompt of a request as the store has it, or why there is none."""
    if not request:
        return Unreadable(NOT_KEPT)
    try:
        return read_request(endpoint, orjson.loads(request))
    except orjson.JSONDecodeError:
        return Unreadable("the prompt is not valid Unicode")


def read_request(endpoint: Endpoint, body: dict[str, Any]) -> Prompt | Unreadable:
    """The prompt of a request, or why there is none."""
    options = shaping_options(body)
    if endpoint == "completion":
        return _plain(body.get("prompt"), options)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return Unreadable(UNKNOWN_FORM)
    found: list[Message] = []
    for message in messages:
        read = message_of(message)
        if isinstance(read, Unreadable):
            return read
        found.append(read)
    return Chat(tuple(found), options=options)


def _plain(prompt: Any, options: str) -> Prompt | Unreadable:
    match prompt:
        case str(text) if text:
            return Text(text, options=options)
        case [int(), *_]:
            return Unreadable("the prompt is token ids")
        case [_, *_]:
            return Unreadable("the request has a list of prompts")
    return Unreadable(UNKNOWN_FORM)


def _as_openai(message: Message) -> dict[str, Any]:
    role, text, *more = message
    if not more:
        return {"role": role, "content": text}
    fields = json.loads(more[0])
    return {"role": role, "content": text if text or "tool_calls" not in fields else None, **fields}


def options_of(prompt: Prompt) -> dict[str, Any]:
    """The fields of the request, other than its text or messages, that shape its answer."""
    return json.loads(prompt.options) if prompt.options else {}


def template_options(prompt: Prompt) -> dict[str, Any]:
    """Those of the options that the chat template gets, by the names of the request."""
    return {name: value for name, value in options_of(prompt).items() if name in TEMPLATE_FIELDS}


def tools_of(prompt: Prompt) -> list[dict[str, Any]]:
    """The functions that the answer may call."""
    tools = options_of(prompt).get("tools")
    if not isinstance(tools, list):
        return []
    found = (tool.get("function") for tool in tools if isinstance(tool, dict))
    return [function for function in found if isinstance(function, dict) and isinstance(function.get("name"), str)]


def schema_of(prompt: Prompt) -> dict[str, Any] | None:
    """The JSON schema that the answer must have; {} for any JSON, None where the answer is free text."""
    options = options_of(prompt)
    match options.get("response_format"):
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return schema
        case {"type": "json_object"}:
            return {}
    match options.get("structured_outputs"):
        case {"json": dict(schema)}:
            return schema
        case {"json": str(text)}:
            found = json_in(text)
            return found if isinstance(found, dict) else {}
        case {"json_object": True}:
            return {}
    return None


def max_tokens_of(prompt: Prompt) -> int | None:
    """The limit of the answer in tokens that the request set."""
    found = options_of(prompt).get("max_tokens")
    return found if type(found) is int else None


def prefill_of(prompt: Prompt) -> str:
    """The beginning of the answer that the request has as its last message, "" without one."""
    match prompt:
        case Chat((*_, ("assistant", text, *_))) if options_of(prompt).get("continue_final_message"):
            return text
    return ""


def subject(prompt: Prompt) -> str:
    """What the prompt is about: the last user message, or the whole text."""
    match prompt:
        case Text(text):
            return text
        case Chat(messages):
            return next((message[1] for message in reversed(messages) if message[0] == "user"), messages[-1][1])


def whole_text(prompt: Prompt) -> str:
    """Every text of the prompt, one message per line, without roles; calls of tools with name and arguments."""
    if isinstance(prompt, Text):
        return prompt.text
    return "\n".join(line for message in prompt.messages for line in _lines(message))


def shown_messages(prompt: Prompt) -> list[tuple[str, str]]:
    """(role, text) of each message for people; calls of tools have name and arguments."""
    if isinstance(prompt, Text):
        return [("prompt", prompt.text)]
    return [(message[0], "\n".join(_lines(message))) for message in prompt.messages]


def _lines(message: Message) -> list[str]:
    text, more = message[1], json.loads(message[2]) if len(message) > 2 else {}
    calls = [f"{function.get('name')} {function.get('arguments')}" for _, function in _calls(more)]
    return [text, *calls] if text or not calls else calls


def answer_text(prompt: Prompt, answer: str) -> str:
    """How an answer joins on: after plain text or a beginning of the answer with a space, unless one is there.

    JSON for a request that requires it has the schema's order of fields.
    """
    schema = schema_of(prompt) if prompt.options else None
    if schema is not None and (value := json_in(answer)) is not None:
        answer = json.dumps(in_order(value, schema), ensure_ascii=False)
    begun = prompt.text if isinstance(prompt, Text) else prefill_of(prompt)
    if isinstance(prompt, Chat) and begun and answer.startswith(begun):
        return answer[len(begun) :]
    return f" {answer}" if (begun or isinstance(prompt, Text)) and not begun[-1:].isspace() else answer


def messages_with_answer(prompt: Chat, answer: str) -> list[dict[str, Any]]:
    """The messages and the answer as the assistant's, in the form in which chat templates get them.

    An answer `{"tool_calls": [...]}` of a request with tools is a message with these calls. Arguments are objects.
    """
    *before, last = messages_for_template(prompt)
    begun = prefill_of(prompt)
    if begun:
        return [*before, {**last, "content": begun + answer_text(prompt, answer)}]
    return [*before, last, _for_template(_as_openai(answer_message(prompt, answer)))]


def messages_for_template(prompt: Chat) -> list[dict[str, Any]]:
    """The messages as chat templates get them: the arguments of calls are objects."""
    return [_for_template(message) for message in prompt.as_openai()]


def _for_template(message: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    calls = []
    for call, function in _calls(message):
        arguments = function.get("arguments")
        found = json_in(arguments) if isinstance(arguments, str) else arguments
        calls.append({**call, "function": {**function, "arguments": found if found is not None else {}}})
    return {**message, "tool_calls": calls}


def _calls(message: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(call, function) of each call of tools in a message."""
    calls = message.get("tool_calls")
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return [(call, call["function"] if isinstance(call.get("function"), dict) else {}) for call in found]


def answer_message(prompt: Prompt, answer: str) -> Message:
    """An answer as the assistant's message: text, or calls of the tools of the request."""
    parameters = {tool["name"]: tool.get("parameters") for tool in tools_of(prompt)}
    calls = calls_in(answer) if parameters else None
    if calls is None:
        return ("assistant", answer_text(prompt, answer))
    made = [
        {
            "id": f"call_{place}",
            "type": "function",
            "function": {
                "name": call["name"],
                "arguments": json.dumps(in_order(call["arguments"], parameters.get(call["name"])), ensure_ascii=False),
            },
        }
        for place, call in enumerate(calls)
    ]
    return ("assistant", "", fields_text({"tool_calls": made}))


def answer_as_openai(prompt: Prompt, answer: str) -> dict[str, Any]:
    """An answer as the assistant's message in the format of OpenAI's API."""
    return _as_openai(answer_message(prompt, answer))


def with_system(prompt: Prompt, instruction: str) -> Prompt:
    """The prompt under another instruction: as the system message, or as the text's first line."""
    match prompt:
        case Text(text):
            return replace(prompt, text=f"{instruction}\n{text}")
        case Chat(messages):
            kept = tuple(message for message in messages if message[0] != "system")
            return replace(prompt, messages=(("system", instruction), *kept))


def with_examples(prompt: Prompt, examples: Sequence[tuple[Prompt, str]]) -> Prompt:
    """The prompt with answered examples before its question, the nearest last."""
    match prompt:
        case Text(text):
            shown = [subject(p) + answer_text(p, answer) for p, answer in examples]
            return replace(prompt, text="\n\n".join([*shown, text]))
        case Chat(messages):
            turns = [turn for p, a in examples for turn in (("user", subject(p)), answer_message(_asking(prompt), a))]
            users = [place for place, message in enumerate(messages) if message[0] == "user"]
            place = users[-1] if users else len(messages) - 1
            return replace(prompt, messages=(*messages[:place], *turns, *messages[place:]))


def _asking(prompt: Chat) -> Chat:
    """The question of a prompt without the beginning of its answer."""
    return replace(prompt, messages=prompt.messages[:-1]) if prefill_of(prompt) else prompt


def with_passages(prompt: Prompt, passages: Sequence[str]) -> Prompt:
    """The prompt with passages to answer from before all else: at the end of its system message, or the text's head."""
    if not passages:
        return prompt
    shown = "\n\n".join([PASSAGES, *passages])
    match prompt:
        case Text(text):
            return replace(prompt, text=f"{shown}\n\n{text}")
        case Chat((("system", instruction, *_), *rest)):
            return replace(prompt, messages=(("system", f"{instruction}\n\n{shown}"), *rest))
        case Chat(messages):
            return replace(prompt, messages=(("system", shown), *messages))


def to_json(prompt: Prompt) -> str:
    """The prompt as JSON, for snapshots: a text or a list of messages, or both with all else in an object of a version.

    Equal prompts have equal JSON. It has the bytes of `json.dumps`, because a snapshot's hash depends on them.
    """
    if isinstance(prompt, Text):
        if not prompt.options:
            return encode_basestring(prompt.text)
        return fields_text({"version": VERSION, "text": prompt.text, "options": options_of(prompt)})
    if prompt.options or any(len(message) > 2 for message in prompt.messages):
        return fields_text({"version": VERSION, "messages": prompt.as_openai(), "options": options_of(prompt)})
    messages = (
        f'{{"role": {encode_basestring(message[0])}, "content": {encode_basestring(message[1])}}}'
        for message in prompt.messages
    )
    return f"[{', '.join(messages)}]"


def from_json(text: str) -> Prompt:
    """The inverse of `to_json`, for every version. Raises ValueError for a version of a later release."""
    match _decode(text):
        case str(plain):
            return Text(plain)
        case list(messages):
            return Chat(tuple((message["role"], message["content"]) for message in messages))
        case {"version": 2, "text": str(plain), "options": dict(options)}:
            return Text(plain, options=fields_text(options))
        case {"version": 2, "messages": list(messages), "options": dict(options)}:
            found = tuple(message_of(message) for message in messages)
            return Chat(found, options=fields_text(options))  # pyright: ignore[reportArgumentType]
    raise ValueError("a prompt in a form of a later release")


def identity_of(prompt: Prompt) -> str:
    """The SHA-256 of all that shapes the answer, as hex. Equal prompts have equal identities."""
    return hashlib.sha256(to_json(prompt).encode()).hexdigest()


def _decode(text: str) -> Any:
    """JSON as a value. orjson is faster, but refuses half characters."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return json.loads(text)
