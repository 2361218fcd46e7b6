"""The gateway's OpenAPI document of the routes that apps call: requests, answers and errors as data."""

from fastapi import FastAPI

from serve.gateway import openapi_messages, openapi_pass_through, openapi_responses
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
from serve.stored_completions.metadata import LONGEST_NAME, LONGEST_VALUE, MOST_PAIRS


def _request(properties: Schema, required: str, description: str) -> Schema:
    common = {
        "model": said("A public model, as GET /v1/models lists them.", "string"),
        "user": said("The end user; stays with one version while a canary runs.", "string", "null"),
        "safety_identifier": said("Used if `user` is missing.", "string", "null"),
        "metadata": an_object(
            {"conversation_id": said("The conversation that feedback may name.", "string", "null")},
            type=["object", "null"],
            description="Kept with the interaction.",
        ),
        "store": said(
            "True: kept for GET /v1/chat/completions. False: only counts and times are kept.", "boolean", "null"
        ),
        "stream": said("Answer in server-sent events.", "boolean", "null"),
        "stream_options": an_object(
            {"include_usage": said("Send token counts as the last event.", "boolean", "null")},
            type=["object", "null"],
        ),
        "max_tokens": said("Longest answer, in tokens.", "integer", "null"),
    }
    return an_object({**common, **properties}, ("model", required), description=description)


def _choice(properties: Schema) -> Schema:
    return an_object(
        {"index": {"type": "integer"}, "finish_reason": {"type": ["string", "null"]}, **properties},
        ("index", "finish_reason"),
    )


def _answer(kind: str, choice: Schema) -> Schema:
    head = {
        "id": said("The interaction; feedback names it.", "string"),
        "object": {"const": kind},
        "created": said("Unix time in seconds.", "integer"),
        "model": said("The version that answered, such as reviews@7.", "string"),
        "choices": a_list(choice),
        "usage": an_object(
            {
                "prompt_tokens": {"type": "integer"},
                "completion_tokens": {"type": ["integer", "null"]},
                "total_tokens": {"type": "integer"},
            }
        ),
    }
    return an_object(head, ("id", "object", "created", "model", "choices"))


MESSAGE = an_object(
    {
        "role": {"type": "string"},
        "content": {
            "anyOf": [{"type": "string"}, a_list(an_object({"type": {"type": "string"}}, ("type",))), {"type": "null"}]
        },
    },
    ("role",),
)
PROMPT = {
    "anyOf": [
        {"type": "string"},
        a_list({"type": "string"}),
        a_list({"type": "integer"}),
        a_list(a_list({"type": "integer"})),
    ],
    "description": "Text, or token ids; several at once in a list.",
}
METADATA_VALUE = {"type": "string", "maxLength": LONGEST_VALUE}
PASSED_ON = (
    "Further fields of OpenAI's and vLLM's for sampling go to the engine. `X-LoraLoop-Ignored` names the others."
)
SCHEMAS: dict[str, Schema] = {
    "ChatRequest": _request({"messages": a_list(MESSAGE, minItems=1)}, "messages", PASSED_ON),
    "CompletionRequest": _request({"prompt": PROMPT}, "prompt", PASSED_ON),
    "Chat": _answer("chat.completion", _choice({"message": MESSAGE})),
    "Completion": _answer("text_completion", _choice({"text": {"type": "string"}})),
    "Model": an_object(
        {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
            "version": said("The adapter version in service; absent on models for embeddings or ranks.", "integer"),
        },
        ("id", "object", "created", "owned_by"),
    ),
    "Models": an_object({"object": {"const": "list"}, "data": a_list(reference("Model"))}, ("object", "data")),
    "Stored": _answer("chat.completion", _choice({"message": MESSAGE})),
    "StoredPage": a_page("Stored"),
    "StoredMessage": MESSAGE,
    "StoredMessages": a_page("StoredMessage"),
    "Deleted": an_object(
        {"id": {"type": "string"}, "object": {"const": "chat.completion.deleted"}, "deleted": {"const": True}},
        ("id", "object", "deleted"),
    ),
    "Metadata": an_object(
        {
            "metadata": an_object(
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
    "Taken": an_object({"feedback_id": said("Takes it back with DELETE.", "string")}, ("feedback_id",)),
    "Result": {"anyOf": [{"$ref": "#/components/schemas/Taken"}, {"$ref": "#/components/schemas/Error"}]},
    "Error": an_object(
        {
            "error": an_object(
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


def _completion(summary: str, request: str, answer: str, example: Schema) -> Schema:
    events = {"text/event-stream": {"schema": {"type": "string"}}}
    answered = {
        "description": "The answer, whole or in events.",
        "headers": {
            "X-Request-Id": a_header("The interaction, as in the body."),
            "X-LoraLoop-Version": a_header("The version that answered, as `model@number`."),
            "X-LoraLoop-Ask": ASK_HEADER,
        },
        "content": in_json(reference(answer))["content"] | events,
    }
    return {
        "summary": summary,
        "requestBody": a_body(reference(request), example),
        "responses": {"200": answered, **refusals(400, 401, 403, 404, 413, 422, 429, 500, 503, 504)},
    }


def _models() -> Schema:
    listed = {"description": "Every public model.", **in_json(reference("Models"))}
    return {"summary": "List the models", "responses": {"200": listed, **refusals(401, 403, 503)}}


def _model() -> Schema:
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "summary": "One model",
        "parameters": [name],
        "responses": {
            "200": {"description": "The model.", **in_json(reference("Model"))},
            **refusals(401, 403, 404, 503),
        },
    }


def _feedback(most: int) -> Schema:
    signal = reference("Signal")
    taken, results = reference("Taken"), a_list(reference("Result"))
    example = {"interaction_id": "chatcmpl-0123456789abcdef", "type": "thumbs", "value": True}
    return {
        "summary": "Give feedback",
        "requestBody": a_body({"anyOf": [signal, a_list(signal, minItems=1, maxItems=most)]}, example),
        "responses": {
            "202": {"description": "The disk has it.", **in_json({"anyOf": [taken, a_list(taken)]})},
            "207": {"description": "The disk has some of a list. One result per object.", **in_json(results)},
            **refusals(401, 403, 413, 422, 500, 503),
        },
    }


def _revocation() -> Schema:
    shape = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[\x21-\x7e]+$"}
    return {
        "summary": "Take feedback back",
        "parameters": [{"name": "feedback_id", "in": "path", "required": True, "schema": shape}],
        "responses": {
            "202": {"description": "The disk has it.", **in_json(reference("Taken"))},
            **refusals(401, 403, 422, 500, 503),
        },
    }


def _revocation_of_user() -> Schema:
    shape = {
        "interaction_id": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[\x21-\x7e]+$"},
        "user": {"type": "string", "minLength": 1, "maxLength": 512},
    }
    about = {"interaction_id": said("The interaction.", "string")}
    return {
        "summary": "Take back what a user said about an interaction",
        "requestBody": {"required": True, **in_json(an_object(shape, ("interaction_id", "user")))},
        "responses": {
            "202": {"description": "The disk has it.", **in_json(an_object(about, ("interaction_id",)))},
            **refusals(400, 401, 403, 413, 422, 500, 503),
        },
    }


PAGED = [
    a_query("limit", "How many at most.", type="integer", minimum=1, maximum=100, default=20),
    a_query("after", "The id that the page begins after.", type="string", maxLength=256),
    a_query("order", "By time, oldest or newest first.", enum=["asc", "desc"], default="asc"),
]
OF_MODEL = a_query("model", "Only those of a model, or of its version `reviews@7`.", type="string", maxLength=256)
COMPLETION_ID = {"name": "completion_id", "in": "path", "required": True, "schema": {"type": "string"}}


def _stored(summary: str, answer: str, *parameters: Schema, body: Schema | None = None) -> Schema:
    return {
        "summary": summary,
        "parameters": [*parameters],
        "responses": {
            "200": {"description": "Done.", **in_json(reference(answer))},
            **refusals(401, 403, 404, 413, 422, 429, 503),
        },
    } | ({"requestBody": body} if body else {})


def _stored_paths() -> dict[str, Schema]:
    change = a_body(reference("Metadata"), {"metadata": {"page": "cart"}})
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
        **openapi_responses.paths(),
        **openapi_messages.paths(),
        **openapi_pass_through.paths(),
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
        for part in (SCHEMAS, openapi_responses.SCHEMAS, openapi_messages.SCHEMAS, openapi_pass_through.SCHEMAS):
            schemas.update(part)
        schemas["Signal"] = signal
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations in paths(most_signals).items():
            for operation in operations.values():
                operation["security"] = [{"key": []}]
            document["paths"][path] = operations
        return document

    app.openapi = openapi
