"""The routes of Anthropic's Messages API and those that count tokens, in the OpenAPI document."""

from typing import Any

from serve.gateway.openapi_parts import (
    ASK_HEADER,
    Schema,
    a_body,
    a_header,
    a_list,
    an_object,
    in_json,
    reference,
    refusals,
    said,
)

BLOCK = an_object({"type": {"type": "string"}}, ("type",))
BLOCKS = {"anyOf": [{"type": "string"}, a_list(BLOCK)]}
PROMPT_FIELDS = {
    "model": said("A public model, as GET /v1/models lists them.", "string"),
    "messages": a_list(
        an_object({"role": {"enum": ["user", "assistant", "system"]}, "content": BLOCKS}, ("role", "content")),
        minItems=1,
    ),
    "system": {"anyOf": [{"type": "string"}, a_list(BLOCK), {"type": "null"}]},
    "tools": said("Tools with a name and an input_schema.", "array", "null"),
}
USAGE = an_object(
    {"input_tokens": {"type": "integer"}, "output_tokens": {"type": "integer"}}, ("input_tokens", "output_tokens")
)
SCHEMAS: dict[str, Schema] = {
    "MessagesRequest": an_object(
        PROMPT_FIELDS
        | {
            "max_tokens": {"type": "integer", "minimum": 1, "description": "Longest answer, in tokens."},
            "stop_sequences": said("Texts that end the answer.", "array", "null"),
            "stream": said("Answer in server-sent events.", "boolean", "null"),
            "metadata": an_object(
                {
                    "user_id": said("The end user; stays with one version while a canary runs.", "string", "null"),
                    "conversation_id": said("The conversation that feedback may name.", "string", "null"),
                },
                type=["object", "null"],
            ),
        },
        ("model", "messages", "max_tokens"),
        description="Further fields of vLLM's for sampling go to the engine. `X-LoraLoop-Ignored` names the others.",
    ),
    "CountRequest": an_object(PROMPT_FIELDS, ("model", "messages")),
    "Message": an_object(
        {
            "id": said("The interaction; feedback names it.", "string"),
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": said("The version that answered, such as reviews@7.", "string"),
            "content": a_list(BLOCK),
            "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use"]},
            "stop_sequence": {"type": ["string", "null"]},
            "usage": USAGE,
        },
        ("id", "type", "role", "model", "content", "stop_reason", "usage"),
    ),
    "Count": an_object({"input_tokens": {"type": "integer"}}, ("input_tokens",)),
    "MessagesError": an_object(
        {
            "type": {"const": "error"},
            "error": an_object({"type": {"type": "string"}, "message": {"type": "string"}}, ("type", "message")),
            "request_id": {"type": "string"},
        },
        ("type", "error"),
    ),
    "TokenizeRequest": an_object(
        {
            "model": said("A public model.", "string"),
            "prompt": said("A text.", "string"),
            "messages": a_list(an_object({"role": {"type": "string"}}, ("role",))),
        },
        ("model",),
        description="Give `prompt` or `messages`.",
    ),
    "Tokens": an_object({"count": {"type": "integer"}, "tokens": a_list({"type": "integer"})}, ("count", "tokens")),
    "DetokenizeRequest": an_object({"model": said("A public model.", "string"), "tokens": a_list({"type": "integer"})}),
    "TokensText": an_object({"prompt": said("The text of the tokens.", "string")}, ("prompt",)),
}
EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}


def paths() -> dict[str, Any]:
    """The routes, in OpenAPI's terms."""
    prompt = {"model": "reviews", "messages": [{"role": "user", "content": "So good."}]}
    answered = {
        "description": "The message, whole or in events.",
        "headers": {
            "Request-Id": a_header("The interaction, as in the body."),
            "X-LoraLoop-Version": a_header("The version that answered, as `model@number`."),
            "X-LoraLoop-Ask": ASK_HEADER,
        },
        "content": in_json(reference("Message"))["content"] | EVENTS,
    }
    return {
        "/v1/messages": {
            "post": {
                "summary": "Answer a chat, in the format of Anthropic's Messages API",
                "requestBody": a_body(reference("MessagesRequest"), prompt | {"max_tokens": 4}),
                "responses": {
                    "200": answered,
                    **refusals(400, 401, 403, 404, 413, 429, 500, 503, 504, error="MessagesError"),
                },
            }
        },
        "/v1/messages/count_tokens": {
            "post": {
                "summary": "Count the tokens of a request of the Messages API",
                "requestBody": a_body(reference("CountRequest"), prompt),
                "responses": {
                    "200": {"description": "The count.", **in_json(reference("Count"))},
                    **refusals(400, 401, 403, 404, 413, 429, 500, 503, 504, error="MessagesError"),
                },
            }
        },
        "/tokenize": _engine("The tokens of a text or chat", "TokenizeRequest", "Tokens", prompt),
        "/detokenize": _engine(
            "The text of tokens", "DetokenizeRequest", "TokensText", {"model": "reviews", "tokens": [7, 8]}
        ),
    }


def _engine(summary: str, request: str, answer: str, example: Schema) -> Schema:
    """A route whose body an engine reads."""
    return {
        "post": {
            "summary": summary,
            "requestBody": a_body(reference(request), example),
            "responses": {
                "200": {"description": "As the engine says.", **in_json(reference(answer))},
                **refusals(400, 401, 403, 404, 413, 422, 429, 500, 503, 504),
            },
        }
    }
