"""Facts about embeddings and ranks: engines of another model answer them, and nothing is recorded."""

import ast
import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import openai
import pytest
from fastapi import FastAPI, Response

from core.api_keys import Grant, Limits, Scope, digest_of
from feedback.schema import MAX_BATCH, FeedbackRequest
from serve.engines.fake import FakeEngine, running
from serve.gateway.openapi import describe
from serve.gateway.pass_through import SEARCHED_BYTES, count_tokens, until_gone
from serve.gateway.purposes import EMBEDDINGS, PURPOSES, RERANK, Purpose
from serve.gateway.request_fields import NOT_ALLOWED
from tests.support.gateway import CLOSED
from tests.support.vllm_source import vllm_folder

MODELS = {"embeddings": "bge-m3", "rerank": "bge-reranker"}
RANKED = {"model": "bge-reranker", "query": "Is it good?", "documents": ["good", "a good phone"]}
EVERY_PATH = [path for purpose in PURPOSES for path in purpose.paths]


@pytest.fixture(scope="module")
def others() -> Iterator[dict[str, tuple[FakeEngine, str]]]:
    """An engine for each purpose, by its name."""
    engines = {one.name: FakeEngine(MODELS[one.name], pools=one.paths) for one in PURPOSES}
    with running(engines["embeddings"].app()) as first, running(engines["rerank"].app()) as second:
        yield {"embeddings": (engines["embeddings"], first), "rerank": (engines["rerank"], second)}


@pytest.fixture
def settings(others: dict[str, tuple[FakeEngine, str]]) -> Iterator[dict[str, Any]]:
    for engine, _ in others.values():
        engine.requests.clear()
    yield {name: {"urls": [f"{url}/v1"], "model": MODELS[name]} for name, (_, url) in others.items()}
    for engine, _ in others.values():
        engine.fault = ""


def test_the_engines_of_the_purpose_answer_and_nothing_is_recorded(
    gateway: Any, settings: dict[str, Any], others: Any
) -> None:
    http = gateway.open(**settings).http
    sent = {"model": "bge-m3", "input": ["so good", "bad"], "dimensions": 8, "priority": 1, "store": True}
    answer = http.post("/v1/embeddings", json=sent)
    assert [found["embedding"] for found in answer.json()["data"]] == [[2.0], [1.0]]
    assert answer.headers["x-loraloop-ignored"] == "priority, store"
    passed = {"model": "bge-m3", "input": ["so good", "bad"], "dimensions": 8}
    assert others["embeddings"][0].requests == [("/v1/embeddings", passed)]
    assert gateway.engine.requests == [] and gateway.spooled() == []


@pytest.mark.parametrize("path", RERANK.paths)
def test_every_path_of_ranks_is_that_of_the_engine(
    gateway: Any, settings: dict[str, Any], others: Any, path: str
) -> None:
    answer = gateway.open(**settings).http.post(path, json=RANKED | {"chat_template_kwargs": {"chat_template": "x"}})
    assert [found["index"] for found in answer.json()["results"]] == [1, 0]
    assert others["rerank"][0].requests == [(path, RANKED | {"chat_template_kwargs": {}})]


def test_openais_client_embeds(gateway: Any, settings: dict[str, Any]) -> None:
    url = f"{gateway.open(**settings).http.base_url}/v1"
    with (
        openai.DefaultHttpxClient(trust_env=False) as http,
        openai.OpenAI(base_url=url, api_key="x", max_retries=0, http_client=http) as client,
    ):
        found = client.embeddings.create(model="bge-m3", input="so very good")
        assert (found.data[0].embedding, found.usage.total_tokens) == ([3.0], 3)
        assert {model.id for model in client.models.list()} == {"reviews", "bge-m3", "bge-reranker"}
        assert client.models.retrieve("bge-m3").owned_by == "loraloop"


def test_a_request_without_a_model_means_the_only_one(gateway: Any, settings: dict[str, Any]) -> None:
    http = gateway.open(**settings).http
    assert http.post("/v1/embeddings", json={"input": "x"}).json()["model"] == "bge-m3"
    azure = http.post("/openai/deployments/bge-m3/embeddings?api-version=1", json={"input": "x"})
    assert azure.json()["model"] == "bge-m3"
    other = http.post("/openai/deployments/reviews/embeddings?api-version=1", json={"input": "x"})
    assert other.status_code == 404 and "'reviews' for embeddings" in other.json()["error"]["message"]


def test_the_model_of_the_path_comes_before_that_of_the_body(gateway: Any, settings: dict[str, Any]) -> None:
    http = gateway.open(**settings).http
    sent = {"model": "text-embedding-3-small", "input": "x"}
    azure = http.post("/openai/deployments/bge-m3/embeddings?api-version=1", json=sent)
    assert (azure.status_code, azure.json()["model"]) == (200, "bge-m3")


@pytest.mark.parametrize("name", ["BAAI/bge-m3", "/models/bge-m3"])
def test_a_model_whose_name_has_a_slash_is_found_by_its_name(gateway: Any, settings: dict[str, Any], name: str) -> None:
    http = gateway.open(embeddings=settings["embeddings"] | {"model": name}).http
    assert [found["id"] for found in http.get("/v1/models").json()["data"]] == sorted([name, "reviews"])
    for path in (name, quote(name, safe="")):
        assert http.get(f"/v1/models/{path}").json()["id"] == name
    assert http.get("/v1/models/").json()["object"] == "list"
    assert http.get("/v1/models/BAAI/other").json()["error"]["code"] == "unknown_model"


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("reviews", 404, "There is no model 'reviews' for embeddings. The model for embeddings is bge-m3."),
        (None, 422, "model: name the model"),
        ({}, 422, "model: name the model"),
    ],
)
def test_another_model_is_refused_with_the_name_of_the_right_one(
    gateway: Any, settings: dict[str, Any], model: Any, status: int, words: str
) -> None:
    answer = gateway.open(**settings).http.post("/v1/embeddings", json={"model": model, "input": "x"})
    assert answer.status_code == status and words in answer.json()["error"]["message"]


def test_a_model_for_embeddings_answers_no_chat(gateway: Any, settings: dict[str, Any]) -> None:
    assert gateway.open(**settings).post(model="bge-m3").status_code == 404


@pytest.mark.parametrize("path", EVERY_PATH)
def test_without_such_an_engine_the_error_names_the_setting(gateway: Any, path: str) -> None:
    answer = gateway.open().http.post(path, json={"model": "bge-m3"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "not_served")
    setting = "gateway.embeddings" if "embeddings" in path else "gateway.rerank"
    assert f"{setting}.urls and {setting}.model" in error["message"]


@pytest.mark.parametrize(("fault", "status"), [("down", 503), ("error", 500), ("break", 503)])
def test_an_engine_that_fails_is_reported_in_openais_shape(
    gateway: Any, settings: dict[str, Any], others: Any, fault: Any, status: int
) -> None:
    others["embeddings"][0].fault = fault
    answer = gateway.open(**settings).http.post("/v1/embeddings", json={"input": "x"})
    assert answer.status_code == status and answer.json()["error"]["message"]


def test_an_engine_without_the_model_is_reported_with_the_setting(gateway: Any, settings: dict[str, Any]) -> None:
    wrong = settings["embeddings"] | {"model": "other"}
    answer = gateway.open(embeddings=wrong).http.post("/v1/embeddings", json={"input": "x"})
    assert answer.status_code == 502
    assert "No engine of gateway.embeddings has the model other at /v1/embeddings." in answer.json()["error"]["message"]


def test_an_engine_that_cannot_be_reached_is_no_fault_of_the_settings(gateway: Any, settings: dict[str, Any]) -> None:
    away = settings["embeddings"] | {"urls": [CLOSED]}
    answer = gateway.open(embeddings=away).http.post("/v1/embeddings", json={"input": "x"})
    assert answer.status_code == 503 and answer.headers["retry-after"]


def keyed(gateway: Any, settings: dict[str, Any], **grant: Any) -> httpx.Client:
    made = Grant("k1", digest_of("s3cret"), (Scope.INFER,), **grant)
    http = gateway.open(access="keys", keys=(made,), **settings).http
    http.headers["Authorization"] = "Bearer llk_k1_s3cret"
    return http


def test_a_key_may_use_only_its_models(gateway: Any, settings: dict[str, Any]) -> None:
    http = keyed(gateway, settings, models=("bge-reranker",))
    assert http.post("/v1/rerank", json=RANKED).status_code == 200
    assert http.post("/v1/embeddings", json={"input": "x"}).status_code == 403
    assert http.post("/tokenize", json={"model": "bge-m3", "prompt": "x"}).status_code == 403
    assert [found["id"] for found in http.get("/v1/models").json()["data"]] == ["bge-reranker"]


def test_the_limits_of_a_key_count_the_tokens_that_the_engine_counted(gateway: Any, settings: dict[str, Any]) -> None:
    http = keyed(gateway, settings, limits=Limits(requests_per_minute=3, tokens_per_minute=100))
    first = http.post("/v1/embeddings", json={"input": "x " * 60})
    assert first.status_code == 200 and first.headers["x-ratelimit-remaining-requests"] == "2"
    assert gateway.app.completions.access._meters["k1"]._tokens.level(time.monotonic()) == pytest.approx(40, abs=5)
    refused = http.post("/v1/embeddings", json={"input": "x " * 200})
    assert refused.status_code == 429 and "100 tokens a minute" in refused.json()["error"]["message"]
    assert refused.headers["retry-after"]


def test_an_answer_without_a_count_costs_a_guess(gateway: Any, settings: dict[str, Any]) -> None:
    with running(said_by(b"\0" * 64, "application/octet-stream")) as url:
        other = settings | {"embeddings": {"urls": [url], "model": "bge-m3"}}
        http = keyed(gateway, other, limits=Limits(tokens_per_minute=100))
        sent = {"input": "x" * 240, "encoding_format": "bytes"}
        answer = http.post("/v1/embeddings", json=sent)
        assert (answer.status_code, answer.content) == (200, b"\0" * 64)
        assert http.post("/v1/embeddings", json=sent).status_code == 429
        assert 'loraloop_passed_tokens_total{purpose="embeddings"} 0.0' not in http.get("/metrics").text


def said_by(content: bytes, media_type: str, status: int = 200) -> FastAPI:
    """What says this at every path."""
    app = FastAPI()
    app.post("/{path:path}")(lambda: Response(content, status, media_type=media_type))
    return app


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [(b"<html>", "text/html", 200), (b"data: 1", "text/event-stream", 200), (b"", "application/json", 204)],
)
def test_a_success_that_is_no_answer_of_an_engine_is_an_error(
    gateway: Any, content: bytes, media_type: str, status: int
) -> None:
    with running(said_by(content, media_type, status)) as url:
        answer = gateway.open(embeddings={"urls": [url], "model": "m"}).http.post("/v1/embeddings", json={"input": "x"})
        assert answer.status_code == 502
        assert f"its status is {status} and its type" in answer.json()["error"]["message"]


def test_a_slot_of_a_key_is_given_back_however_a_request_ends(
    gateway: Any, settings: dict[str, Any], others: Any
) -> None:
    http = keyed(gateway, settings, limits=Limits(concurrent=1))
    for fault, body, status in (
        ("", {"input": "x"}, 200),
        ("", {"input": "x", "model": "none"}, 404),
        ("break", {"input": "x"}, 503),
        ("", [], 422),
        ("", {"input": "x"}, 200),
    ):
        others["embeddings"][0].fault = fault
        assert http.post("/v1/embeddings", json=body).status_code == status
        gateway.until(lambda: gateway.app.completions.access._meters["k1"]._flying == 0)
    others["embeddings"][0].fault = "hang"
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/embeddings", json={"input": "x"}, timeout=0.2)
    gateway.until(lambda: gateway.app.completions.access._meters["k1"]._flying == 0)


def test_metrics_count_what_was_passed_on_by_purpose_and_status(
    gateway: Any, settings: dict[str, Any], others: Any
) -> None:
    http = gateway.open(**settings).http
    http.post("/v1/embeddings", json={"input": "so good"})
    http.post("/v1/embeddings", json={"input": "x", "model": "none"})
    others["rerank"][0].fault = "error"
    http.post("/v1/rerank", json=RANKED)
    page = http.get("/metrics").text
    assert 'loraloop_passed_total{purpose="embeddings",status="200"} 1.0' in page
    assert 'loraloop_passed_total{purpose="rerank",status="500"} 1.0' in page
    assert 'loraloop_passed_tokens_total{purpose="embeddings"} 2.0' in page
    assert 'loraloop_passed_seconds_count{purpose="embeddings"} 1.0' in page
    assert "none" not in page


def test_the_tokens_of_another_model_are_those_of_its_engine(
    gateway: Any, settings: dict[str, Any], others: Any
) -> None:
    http = gateway.open(**settings).http
    assert http.post("/tokenize", json={"model": "bge-m3", "prompt": "so good"}).json()["count"] == 2
    assert others["embeddings"][0].requests == [("/tokenize", {"prompt": "so good", "model": "bge-m3"})]


def fields_of(folder: Path, names: list[str]) -> set[str]:
    """The fields of vLLM's models with all that they inherit, read from the source."""
    files = [folder / part / "protocol.py" for part in ("base", "embed", "scoring")]
    classes = {
        node.name: node for file in files for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)
    }
    found: set[str] = set()
    for name in names:
        node = classes.get(name)
        if node is None:
            continue
        found |= {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        found |= fields_of(folder, [base.id for base in node.bases if isinstance(base, ast.Name)])
    return found


@pytest.mark.parametrize(
    ("purpose", "models"),
    [
        (EMBEDDINGS, ["EmbeddingCompletionRequest", "EmbeddingChatRequest", "EmbeddingBatchChatRequest"]),
        (RERANK, ["RerankRequest"]),
    ],
)
def test_every_field_of_vllm_is_allowed_or_not_by_name(purpose: Purpose, models: list[str]) -> None:
    fields = fields_of(vllm_folder() / "entrypoints" / "pooling", models)
    assert len(fields) > 15
    assert fields - purpose.fields - NOT_ALLOWED.keys() == set(), "decide in serve/gateway/purposes.py"
    assert purpose.fields <= fields and not purpose.fields & NOT_ALLOWED.keys()


@pytest.mark.parametrize("path", EVERY_PATH)
def test_the_gateway_answers_as_its_document_says(gateway: Any, settings: dict[str, Any], path: str) -> None:
    app = FastAPI()
    describe(app, signal=FeedbackRequest.model_json_schema(), most_signals=MAX_BATCH)
    document = app.openapi()
    operation = document["paths"][path]["post"]
    described = operation["requestBody"]["content"]["application/json"]
    http = gateway.open(**settings).http
    jsonschema.validate(described["example"], {"components": document["components"], **described["schema"]})
    for sent, status in ((described["example"], 200), (described["example"] | {"model": "none"}, 404), ([], 422)):
        answer = http.post(path, json=sent)
        assert answer.status_code == status, answer.text
        schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {"components": document["components"], **schema})


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        (b'{"id": "a", "usage": {"total_tokens": 7}, "results": []}', 7),
        (b'{"data": [' + b"0.1, " * SEARCHED_BYTES + b'], "usage": {"prompt_tokens": 5, "total_tokens": 9}}', 9),
        (b'{"data": []}', None),
        (json.dumps({"results": [{"text": '"total_tokens": 1'}], "usage": {"total_tokens": 800}}).encode(), 800),
        (json.dumps({"results": [{"text": '"total_tokens": 1'}]}).encode(), None),
    ],
)
def test_the_tokens_of_an_answer_are_those_that_the_engine_says(answer: bytes, tokens: int | None) -> None:
    assert count_tokens(answer) == tokens


def test_work_ends_when_the_client_leaves() -> None:
    ended: list[bool] = []

    async def work() -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)
        return 1

    async def left() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def main() -> None:
        assert await until_gone(work(), left) is None
        await asyncio.sleep(0)
        assert ended == [True]

    asyncio.run(main())
