"""The routes for embeddings and ranks, in the OpenAPI document."""

from typing import Any

from serve.gateway.openapi_parts import Schema, a_body, a_header, a_list, an_object, in_json, reference, refusals, said
from serve.gateway.purposes import EMBEDDINGS, RERANK, Purpose

MODEL = {"model": said("The model for this purpose. It may be left out: there is one.", "string")}
USAGE = an_object({"prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}})
PASSED_ON = "Further fields of vLLM's go to the engine. `X-LoraLoop-Ignored` names the others."
TOKEN_IDS = a_list({"type": "integer"})
SCHEMAS: dict[str, Schema] = {
    "EmbeddingsRequest": an_object(
        MODEL
        | {
            "input": {
                "anyOf": [{"type": "string"}, a_list({"type": "string"}), TOKEN_IDS, a_list(TOKEN_IDS)],
                "description": "A text or its token ids; several at once in a list.",
            },
            "dimensions": said("Length of each embedding, where the model allows a choice.", "integer", "null"),
            "encoding_format": said("`float` or `base64`.", "string"),
            "user": said("The end user.", "string", "null"),
        },
        ("input",),
        description=PASSED_ON,
    ),
    "Embeddings": an_object(
        {
            "object": {"const": "list"},
            "model": {"type": "string"},
            "data": a_list(
                an_object(
                    {
                        "index": {"type": "integer"},
                        "embedding": {"anyOf": [a_list({"type": "number"}), {"type": "string"}]},
                    },
                    ("index", "embedding"),
                )
            ),
            "usage": USAGE,
        },
        ("object", "model", "data"),
    ),
    "RerankRequest": an_object(
        MODEL
        | {
            "query": said("The question.", "string"),
            "documents": a_list({"type": "string"}),
            "top_n": said("How many of the best are returned. 0: all.", "integer"),
        },
        ("query", "documents"),
        description=PASSED_ON,
    ),
    "Ranks": an_object(
        {
            "id": {"type": "string"},
            "model": {"type": "string"},
            "results": a_list(
                an_object(
                    {
                        "index": said("The place of the document in the request.", "integer"),
                        "relevance_score": {"type": "number"},
                    },
                    ("index", "relevance_score"),
                )
            ),
            "usage": USAGE,
        },
        ("model", "results"),
    ),
}


def paths() -> dict[str, Any]:
    """The routes, in OpenAPI's terms."""
    embeddings = _route(
        "Embed texts", "EmbeddingsRequest", "Embeddings", {"model": "bge-m3", "input": ["So good.", "So bad."]}
    )
    ranks = _route(
        "Rank documents by a question",
        "RerankRequest",
        "Ranks",
        {"model": "bge-reranker", "query": "Is it good?", "documents": ["So good.", "A phone."]},
    )
    return _of(EMBEDDINGS, embeddings) | _of(RERANK, ranks)


def _of(purpose: Purpose, operation: Schema) -> dict[str, Any]:
    return {path: {"post": {**operation}} for path in purpose.paths}


def _route(summary: str, request: str, answer: str, example: Schema) -> Schema:
    answered = {
        "description": "As the engine says.",
        "headers": {"X-Request-Id": a_header("The request's id, as the engine logs it.")},
        **in_json(reference(answer)),
    }
    return {
        "summary": summary,
        "requestBody": a_body(reference(request), example),
        "responses": {"200": answered, **refusals(400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504)},
    }
