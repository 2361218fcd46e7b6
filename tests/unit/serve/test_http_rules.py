"""Facts about what HTTP asks of every path of the gateway, and about the headers and paths of other clients."""

from typing import Any

import openai
import pytest

from core.api_key_store import NewKey
from core.api_keys import Scope
from tests.support.authorization import KeyedGateway

CHAT = {"messages": [{"role": "user", "content": "so good"}]}
ANSWER = "reviews-7 heard so good"


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1/completions/", "/v1/models/", "/v1/messages//"])
def test_a_slash_at_the_end_changes_nothing_and_never_redirects(gateway: Any, path: str) -> None:
    http = gateway.open().http
    body = CHAT | {"model": "reviews", "prompt": "so good", "max_tokens": 4}
    answer = http.get(path) if "models" in path else http.post(path, json=body)
    assert (answer.status_code, answer.history) == (200, [])


def test_a_path_that_is_not_there_is_404_and_no_redirect(gateway: Any) -> None:
    gateway.open()
    for path in ("/v1", "/v1/", "/v2/models/", "//", "/v1/models/none/"):
        answer = gateway.http.get(path)
        assert answer.status_code == 404 and "error" in answer.json()


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/models/reviews", "/openapi.json"])
def test_head_is_get_without_its_body(gateway: Any, path: str) -> None:
    http = gateway.open().http
    whole, head = http.get(path), http.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/completions", "OPTIONS, POST"),
        ("/v1/messages", "OPTIONS, POST"),
        ("/v1/chat/completions", "GET, HEAD, OPTIONS, POST"),
        ("/v1/feedback", "DELETE, OPTIONS, POST"),
    ],
)
def test_a_path_says_its_methods_to_options_and_to_a_wrong_method(gateway: Any, path: str, allow: str) -> None:
    http = gateway.open().http
    options = http.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allow, b"")
    wrong = http.request("PATCH", path)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, allow)
    assert "PATCH" in wrong.json()["error"]["message"]


def test_head_of_a_path_that_only_takes_post_is_405(gateway: Any) -> None:
    assert gateway.open().http.head("/v1/completions").status_code == 405


def test_azures_client_is_answered_with_its_paths_and_its_header(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "internal-s3cret")
    keyed = KeyedGateway(gateway)
    key = keyed.ring.make(NewKey("app", (Scope.INFER,)), "test").key
    keyed.settle()
    with openai.DefaultHttpxClient(trust_env=False) as http:
        client = openai.AzureOpenAI(
            azure_endpoint=str(gateway.http.base_url),
            api_key=key,
            api_version="2025-01-01-preview",
            max_retries=0,
            http_client=http,
        )
        found = client.chat.completions.create(model="reviews", messages=[{"role": "user", "content": "so good"}])
        assert (found.model, found.choices[0].message.content) == ("reviews@7", ANSWER)
        assert client.completions.create(model="reviews", prompt="so good").choices[0].text == ANSWER
        with pytest.raises(openai.NotFoundError, match="no engine for embeddings"):
            client.embeddings.create(model="reviews", input="x")
        with pytest.raises(openai.NotFoundError, match="other"):
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])
    unnamed = gateway.http.post(
        "/openai/deployments/reviews/chat/completions?api-version=1", json=CHAT, headers={"api-key": key}
    )
    assert unnamed.json()["model"] == "reviews@7"
    assert gateway.spooled()[0].id == found.id
    gateway.stack.close()
    keyed.stack.close()
    keyed.store.close()


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "authorization"])
def test_a_key_is_accepted_in_every_clients_header_on_every_route(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LORALOOP_INTERNAL_KEY", "internal-s3cret")
    keyed = KeyedGateway(gateway)
    key = keyed.ring.make(NewKey("app", (Scope.INFER,)), "test").key
    keyed.settle()
    headers = {name: f"Bearer {key}" if name == "authorization" else key}
    assert gateway.http.get("/v1/models", headers=headers).status_code == 200
    body = CHAT | {"model": "reviews"}
    assert gateway.http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    # A wrong key in the header that comes first is not made good by a right one.
    both = headers | {"authorization": "Bearer wrong"}
    assert gateway.http.post("/v1/chat/completions", json=body, headers=both).status_code == 401
    gateway.stack.close()
    keyed.stack.close()
    keyed.store.close()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/rerank", "/v1/score", "/v1/audio/speech"])
def test_what_no_engine_serves_is_refused_with_the_reason(gateway: Any, path: str) -> None:
    answer = gateway.open().http.post(path, json={"model": "reviews", "input": "x"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], set(error)) == (404, "not_served", {"message", "type", "param", "code"})
    assert "generates text" in error["message"]


def test_tokens_are_those_of_the_engine_that_has_the_version(gateway: Any) -> None:
    http = gateway.open().http
    answer = http.post("/tokenize", json={"model": "reviews", "prompt": "so good", "priority": 1})
    assert answer.json()["count"] == 2
    assert gateway.engine.requests[-1] == ("/tokenize", {"prompt": "so good", "model": "reviews-7"})
    assert http.post("/tokenize", json={"model": "other", "prompt": "x"}).status_code == 404
    assert http.post("/tokenize", json=[]).status_code == 422
    gateway.engine.fault = "down"
    assert http.post("/tokenize", json={"model": "reviews", "prompt": "x"}).status_code == 503
    assert gateway.spooled() == []
