"""The gateway's OpenAPI document of the routes that apps call: requests, answers and errors as data."""

from typing import Any

from fastapi import FastAPI

from serve.stored_completions.metadata import LONGEST_NAME, LONGEST_VALUE, MOST_PAIRS

Schema = dict[str, Any]

REFUSED = {
    400: "The engine refuses the request; it says why.",
    401: "The key is missing, wrong or no longer valid.",
    403: "The key lacks a scope or the model.",
    404: "No model or stored completion of that name.",
    413: "The body is too large.",
    422: "The body is not what the gateway can read; the error names the field.",
    429: "The key's limit is reached, or the engines are full. Try again after `Retry-After`.",
    500: "An unexpected error; the log has it.",
    503: "No engine answers, the disk is full, or control is away. Try again after `Retry-After`.",
    504: "The engine did not answer in time.",
}


def _object(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object; fields that are not named here go through as they are."""
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": True} | more


def _said(description: str, *types: str) -> Schema:
    return {"type": types[0] if len(types) == 1 else [*types], "description": description}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items} | more


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _page(name: str) -> Schema:
    ends = {side: {"type": ["string", "null"]} for side in ("first_id", "last_id")}
    page = {"object": {"const": "list"}, "data": _list(_reference(name)), "has_more": {"type": "boolean"}}
    return _object(page | ends, ("object", "data", "first_id", "last_id", "has_more"))


def _request(properties: Schema, required: str, description: str) -> Schema:
    common = {
        "model": _said("A public model, as GET /v1/models lists them.", "string"),
        "user": _said("The end user; stays with one version while a canary runs.", "string", "null"),
        "safety_identifier": _said("Used if `user` is missing.", "string", "null"),
        "metadata": _object(
            {"conversation_id": _said("The conversation that feedback may name.", "string", "null")},
            type=["object", "null"],
            description="Kept with the interaction.",
        ),
        "store": _said(
            "True: kept for GET /v1/chat/completions. False: only counts and times are kept.", "boolean", "null"
        ),
        "stream": _said("Answer in server-sent events.", "boolean", "null"),
        "stream_options": _object(
            {"include_usage": _said("Send token counts as the last event.", "boolean", "null")},
            type=["object", "null"],
        ),
        "max_tokens": _said("Longest answer, in tokens.", "integer", "null"),
    }
    return _object({**common, **properties}, ("model", required), description=description)


def _choice(properties: Schema) -> Schema:
    return _object(
        {"index": {"type": "integer"}, "finish_reason": {"type": ["string", "null"]}, **properties},
        ("index", "finish_reason"),
    )


def _answer(kind: str, choice: Schema) -> Schema:
    head = {
        "id": _said("The interaction; feedback names it.", "string"),
        "object": {"const": kind},
        "created": _said("Unix time in seconds.", "integer"),
        "model": _said("The version that answered, such as reviews@7.", "string"),
        "choices": _list(choice),
        "usage": _object(
            {
                "prompt_tokens": {"type": "integer"},
                "completion_tokens": {"type": ["integer", "null"]},
                "total_tokens": {"type": "integer"},
            }
        ),
    }
    return _object(head, ("id", "object", "created", "model", "choices"))


MESSAGE = _object(
    {
        "role": {"type": "string"},
        "content": {
            "anyOf": [{"type": "string"}, _list(_object({"type": {"type": "string"}}, ("type",))), {"type": "null"}]
        },
    },
    ("role",),
)
PROMPT = {
    "anyOf": [
        {"type": "string"},
        _list({"type": "string"}),
        _list({"type": "integer"}),
        _list(_list({"type": "integer"})),
    ],
    "description": "Text, or token ids; several at once in a list.",
}
METADATA_VALUE = {"type": "string", "maxLength": LONGEST_VALUE}
PASSED_ON = (
    "Further fields of OpenAI's and vLLM's for sampling go to the engine. `X-LoraLoop-Ignored` names the others."
)
SCHEMAS: dict[str, Schema] = {
    "ChatRequest": _request({"messages": _list(MESSAGE, minItems=1)}, "messages", PASSED_ON),
    "CompletionRequest": _request({"prompt": PROMPT}, "prompt", PASSED_ON),
    "Chat": _answer("chat.completion", _choice({"message": MESSAGE})),
    "Completion": _answer("text_completion", _choice({"text": {"type": "string"}})),
    "Model": _object(
        {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
            "version": _said("The adapter version in service.", "integer"),
        },
        ("id", "object", "created", "owned_by", "version"),
    ),
    "Models": _object({"object": {"const": "list"}, "data": _list(_reference("Model"))}, ("object", "data")),
    "Stored": _answer("chat.completion", _choice({"message": MESSAGE})),
    "StoredPage": _page("Stored"),
    "StoredMessage": MESSAGE,
    "StoredMessages": _page("StoredMessage"),
    "Deleted": _object(
        {"id": {"type": "string"}, "object": {"const": "chat.completion.deleted"}, "deleted": {"const": True}},
        ("id", "object", "deleted"),
    ),
    "Metadata": _object(
        {
            "metadata": _object(
                {},
                type=["object", "null"],
                additionalProperties=METADATA_VALUE,
                maxProperties=MOST_PAIRS,
                propertyNames={"maxLength": LONGEST_NAME},
            )
        },
        ("metadata",),
        additionalProperties=False,
    ),
    "Taken": _object({"feedback_id": _said("Takes it back with DELETE.", "string")}, ("feedback_id",)),
    "Result": {"anyOf": [{"$ref": "#/components/schemas/Taken"}, {"$ref": "#/components/schemas/Error"}]},
    "Error": _object(
        {
            "error": _object(
                {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer", "null"]},
                },
                ("message", "type", "param", "code"),
            )
        },
        ("error",),
    ),
}


def _json(schema: Schema) -> Schema:
    return {"content": {"application/json": {"schema": schema}}}


def _header(description: str) -> Schema:
    return {"schema": {"type": "string"}, "description": description}


def _refusals(*codes: int) -> Schema:
    found: Schema = {}
    for code in codes:
        found[str(code)] = {"description": REFUSED[code], **_json(_reference("Error"))}
        if code in (429, 503):
            found[str(code)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return found


def _body(schema: Schema, example: Any) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}


def _completion(summary: str, request: str, answer: str, example: Schema) -> Schema:
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    answered = {
        "description": "The answer, whole or in events.",
        "headers": {
            "X-Request-Id": _header("The interaction, as in the body."),
            "X-LoraLoop-Version": _header("The version that answered, as `model@number`."),
        },
        "content": _json(_reference(answer))["content"] | events,
    }
    return {
        "summary": summary,
        "requestBody": _body(_reference(request), example),
        "responses": {"200": answered, **_refusals(400, 401, 403, 404, 413, 422, 429, 500, 503, 504)},
    }


def _models() -> Schema:
    listed = {"description": "Every public model.", **_json(_reference("Models"))}
    return {"summary": "List the models", "responses": {"200": listed, **_refusals(401, 403, 503)}}


def _model() -> Schema:
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "summary": "One model",
        "parameters": [name],
        "responses": {
            "200": {"description": "The model.", **_json(_reference("Model"))},
            **_refusals(401, 403, 404, 503),
        },
    }


def _feedback(most: int) -> Schema:
    signal = _reference("Signal")
    taken, results = _reference("Taken"), _list(_reference("Result"))
    example = {"interaction_id": "chatcmpl-0123456789abcdef", "type": "thumbs", "value": True}
    return {
        "summary": "Give feedback",
        "requestBody": _body({"anyOf": [signal, _list(signal, minItems=1, maxItems=most)]}, example),
        "responses": {
            "202": {"description": "The disk has it.", **_json({"anyOf": [taken, _list(taken)]})},
            "207": {"description": "The disk has some of a list. One result per object.", **_json(results)},
            **_refusals(401, 403, 413, 422, 500, 503),
        },
    }


def _revocation() -> Schema:
    shape = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[\x21-\x7e]+$"}
    return {
        "summary": "Take feedback back",
        "parameters": [{"name": "feedback_id", "in": "path", "required": True, "schema": shape}],
        "responses": {
            "202": {"description": "The disk has it.", **_json(_reference("Taken"))},
            **_refusals(401, 403, 422, 500, 503),
        },
    }


def _revocation_of_user() -> Schema:
    shape = {
        "interaction_id": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[\x21-\x7e]+$"},
        "user": {"type": "string", "minLength": 1, "maxLength": 512},
    }
    about = {"interaction_id": _said("The interaction.", "string")}
    return {
        "summary": "Take back what a user said about an interaction",
        "requestBody": {"required": True, **_json(_object(shape, ("interaction_id", "user")))},
        "responses": {
            "202": {"description": "The disk has it.", **_json(_object(about, ("interaction_id",)))},
            **_refusals(400, 401, 403, 413, 422, 500, 503),
        },
    }


def _query(name: str, description: str, **shape: Any) -> Schema:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": shape}


PAGED = [
    _query("limit", "How many at most.", type="integer", minimum=1, maximum=100, default=20),
    _query("after", "The id that the page begins after.", type="string", maxLength=256),
    _query("order", "By time, oldest or newest first.", enum=["asc", "desc"], default="asc"),
]
OF_MODEL = _query("model", "Only those of a model, or of its version `reviews@7`.", type="string", maxLength=256)
COMPLETION_ID = {"name": "completion_id", "in": "path", "required": True, "schema": {"type": "string"}}


def _stored(summary: str, answer: str, *parameters: Schema, body: Schema | None = None) -> Schema:
    return {
        "summary": summary,
        "parameters": [*parameters],
        "responses": {
            "200": {"description": "Done.", **_json(_reference(answer))},
            **_refusals(401, 403, 404, 413, 422, 429, 503),
        },
    } | ({"requestBody": body} if body else {})


def _stored_paths() -> dict[str, Schema]:
    change = _body(_reference("Metadata"), {"metadata": {"page": "cart"}})
    one = "/v1/chat/completions/{completion_id}"
    return {
        one: {
            "get": _stored("One stored completion", "Stored", COMPLETION_ID),
            "post": _stored("Change a stored completion's metadata", "Stored", COMPLETION_ID, body=change),
            "delete": _stored("Delete a stored completion", "Deleted", COMPLETION_ID),
        },
        f"{one}/messages": {"get": _stored("The messages that it answers", "StoredMessages", COMPLETION_ID, *PAGED)},
    }


def paths(most_signals: int) -> dict[str, Schema]:
    """The routes under /v1, in OpenAPI's terms. `most_signals` is how many one request may bring."""
    common = {"model": "reviews", "user": "ada", "max_tokens": 4}
    chat = common | {"messages": [{"role": "user", "content": "So good."}]}
    completion = common | {"prompt": "So good. This is"}
    return {
        "/v1/chat/completions": {
            "post": _completion("Answer a chat", "ChatRequest", "Chat", chat),
            "get": _stored("List the stored completions", "StoredPage", *PAGED, OF_MODEL),
        },
        **_stored_paths(),
        "/v1/completions": {"post": _completion("Complete a text", "CompletionRequest", "Completion", completion)},
        "/v1/models": {"get": _models()},
        "/v1/models/{model}": {"get": _model()},
        "/v1/feedback": {"post": _feedback(most_signals), "delete": _revocation_of_user()},
        "/v1/feedback/{feedback_id}": {"delete": _revocation()},
    }


def describe(app: FastAPI, *, signal: Schema, most_signals: int) -> None:
    """Put the routes into the app's OpenAPI document instead of what FastAPI derives.

    `signal` is the JSON schema of one feedback object, with its `$defs` if it has any, as pydantic makes it.
    """
    found = app.openapi

    def openapi() -> Schema:
        document = found()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(SCHEMAS, Signal=signal)
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations in paths(most_signals).items():
            for operation in operations.values():
                operation["security"] = [{"key": []}]
            document["paths"][path] = operations
        return document

    app.openapi = openapi
