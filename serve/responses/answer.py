"""A chat's answer as a response of OpenAI's Responses API."""

from typing import Any

from serve.responses.items import Item

Body = dict[str, Any]

# What a response has of its request, with what it has where the request says nothing.
SAID: Body = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "truncation": "disabled",
    "metadata": {},
    "user": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "background": False,
    "service_tier": "default",
    "store": True,
}
# What every function of a response has; a request may leave it out.
FUNCTION: Body = {"description": None, "parameters": None, "strict": None}
# Finish reasons of a chat that was cut off.
CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(request: Body, *, identity: str, model: str, created: int, status: str, output: list[Item]) -> Body:
    """A response object. `request` is the body of the Responses API, `status` as that API has it."""
    said = SAID | {name: value for name, value in request.items() if name in SAID and value is not None}
    said["tools"] = [FUNCTION | tool for tool in said["tools"]]
    return {
        "id": identity,
        "object": "response",
        "created_at": created,
        "completed_at": None,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": output,
        "usage": None,
        **said,
    }


def to_response(request: Body, completion: Body, now: int) -> Body:
    """A chat completion as the response to a request. `now` is Unix time in seconds."""
    choice = completion["choices"][0]
    identity, created = completion["id"], int(completion.get("created") or 0)
    found = response(
        request,
        identity=identity,
        model=completion["model"],
        created=created,
        status="completed",
        output=output_items(identity, choice["message"], (choice.get("logprobs") or {}).get("content")),
    )
    return ended(found, choice.get("finish_reason"), completion.get("usage"), now)


def ended(found: Body, finish: str | None, usage: Body | None, now: int) -> Body:
    """The response, changed to say how its answer ended."""
    reason = CUT.get(finish or "")
    found["usage"] = to_usage(usage)
    if reason:
        found |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
        for item in found["output"][-1:]:
            item["status"] = "incomplete"
    else:
        found |= {"status": "completed", "completed_at": now}
    return found


def output_items(identity: str, message: Body, logprobs: list[Any] | None = None) -> list[Item]:
    """The items of an answer: reasoning, text, calls. Their ids follow from the response's."""
    found: list[Item] = []
    if thought := message.get("reasoning"):
        content = [{"type": "reasoning_text", "text": thought}]
        found.append(reasoning_item(item_id("rs", identity, 0), content, "completed"))
    parts: list[Item] = []
    if text := message.get("content"):
        parts.append(text_part(text, logprobs or []))
    if refusal := message.get("refusal"):
        parts.append({"type": "refusal", "refusal": refusal})
    calls = message.get("tool_calls") or []
    if parts or not (calls or found):
        found.append(message_item(item_id("msg", identity, len(found)), parts or [text_part("", [])], "completed"))
    for call in calls:
        function = call["function"]
        identity_of_call = item_id("fc", identity, len(found))
        found.append(
            call_item(identity_of_call, call["id"], function["name"], function["arguments"] or "", "completed")
        )
    return found


def item_id(prefix: str, identity: str, place: int) -> str:
    """The id of an item of a response, which streams and stored responses have alike."""
    return f"{prefix}_{identity.removeprefix('resp_')}_{place}"


def text_part(text: str, logprobs: list[Any]) -> Item:
    """A part of a message that is a text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def message_item(identity: str, content: list[Item], status: str) -> Item:
    """The assistant's message."""
    return {"id": identity, "type": "message", "role": "assistant", "status": status, "content": content}


def reasoning_item(identity: str, content: list[Item], status: str) -> Item:
    """What the model thought before its answer."""
    return {"id": identity, "type": "reasoning", "status": status, "summary": [], "content": content}


def call_item(identity: str, call: str, name: str, arguments: str, status: str) -> Item:
    """A call of a function."""
    return {
        "id": identity,
        "type": "function_call",
        "status": status,
        "call_id": call,
        "name": name,
        "arguments": arguments,
    }


def to_usage(usage: Body | None) -> Body | None:
    """Token counts, None where the engine sent none."""
    if not usage:
        return None
    prompt, answer = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": prompt + answer,
    }
