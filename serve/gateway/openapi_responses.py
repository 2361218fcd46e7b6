"""The routes of OpenAI's Responses API, in the OpenAPI document."""

from serve.gateway.openapi_parts import (
    ASK_HEADER,
    Schema,
    a_body,
    a_header,
    a_list,
    a_page,
    a_query,
    an_object,
    in_json,
    reference,
    refusals,
    said,
)

ITEM = an_object({"type": {"type": "string"}}, ("type",))
SCHEMAS: dict[str, Schema] = {
    "ResponsesRequest": an_object(
        {
            "model": said("A public model, as GET /v1/models lists them.", "string"),
            "input": {"anyOf": [{"type": "string"}, a_list(an_object({}), minItems=1)]},
            "instructions": said("The system prompt, of this request alone.", "string", "null"),
            "previous_response_id": said("A stored response that this one continues.", "string", "null"),
            "max_output_tokens": {
                "type": ["integer", "null"],
                "minimum": 1,
                "description": "Longest answer, in tokens.",
            },
            "store": said(
                "False: only counts and times are kept, and the response cannot be found.", "boolean", "null"
            ),
            "stream": said("Answer in server-sent events.", "boolean", "null"),
            "text": said("`format`: text, json_object or json_schema.", "object", "null"),
            "tools": said("Tools of the type function.", "array", "null"),
            "user": said("The end user; stays with one version while a canary runs.", "string", "null"),
            "metadata": an_object(
                {"conversation_id": said("The conversation that feedback may name.", "string", "null")},
                type=["object", "null"],
            ),
        },
        ("model", "input"),
        description="Further fields of vLLM's for sampling go to the engine. `X-LoraLoop-Ignored` names the others.",
    ),
    "ResponseItem": ITEM,
    "Response": an_object(
        {
            "id": said("The interaction; feedback names it.", "string"),
            "object": {"const": "response"},
            "created_at": said("Unix time in seconds.", "integer"),
            "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
            "model": said("The version that answered, such as reviews@7.", "string"),
            "output": a_list(reference("ResponseItem")),
            "usage": {"type": ["object", "null"]},
        },
        ("id", "object", "created_at", "status", "model", "output", "usage"),
    ),
    "ResponseItems": a_page("ResponseItem"),
    "DeletedResponse": an_object(
        {"id": {"type": "string"}, "object": {"const": "response"}, "deleted": {"const": True}},
        ("id", "object", "deleted"),
    ),
}
IDENTITY = {"name": "response_id", "in": "path", "required": True, "schema": {"type": "string"}}
PAGED = [
    a_query("limit", "How many at most.", type="integer", minimum=1, maximum=100, default=20),
    a_query("after", "The id that the page begins after.", type="string", maxLength=256),
    a_query("order", "In the order of the request, or the last first.", enum=["asc", "desc"], default="desc"),
]


def paths() -> dict[str, Schema]:
    """The routes, in OpenAPI's terms."""
    example = {"model": "reviews", "input": "So good.", "user": "ada", "max_output_tokens": 4}
    answered = {
        "description": "The response, whole or in events.",
        "headers": {
            "X-Request-Id": a_header("The interaction, as in the body."),
            "X-LoraLoop-Version": a_header("The version that answered, as `model@number`."),
            "X-LoraLoop-Ask": ASK_HEADER,
        },
        "content": in_json(reference("Response"))["content"] | {"text/event-stream": {"schema": {"type": "string"}}},
    }
    one = "/v1/responses/{response_id}"
    return {
        "/v1/responses": {
            "post": {
                "summary": "Answer in the format of OpenAI's Responses API",
                "requestBody": a_body(reference("ResponsesRequest"), example),
                "responses": {"200": answered, **refusals(400, 401, 403, 404, 413, 422, 429, 500, 503, 504)},
            }
        },
        one: {
            "get": _stored("One stored response", "Response"),
            "delete": _stored("Delete a stored response", "DeletedResponse"),
        },
        f"{one}/input_items": {"get": _stored("The items that a response answers", "ResponseItems", *PAGED)},
        f"{one}/cancel": {"post": _stored("Refuse to cancel: no response is in the background", "Response")},
    }


def _stored(summary: str, answer: str, *parameters: Schema) -> Schema:
    return {
        "summary": summary,
        "parameters": [IDENTITY, *parameters],
        "responses": {
            "200": {"description": "Done.", **in_json(reference(answer))},
            **refusals(400, 401, 403, 404, 413, 422, 429, 503),
        },
    }
