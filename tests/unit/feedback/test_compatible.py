"""Facts about feedback in the shapes of TensorZero, Langfuse and Open WebUI, with bodies as their clients send them."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from core.api_keys import Grant, Limits, Scope, digest_of, write_key
from core.errors import SpoolFull
from core.http import bearer_of_basic, install_errors, require_key
from core.record_codec import decode_all
from core.records import Feedback
from core.spool import SpoolWriter
from feedback import compatible
from feedback.formats.metrics import Metrics
from serve.gateway.authentication import KeyChecker
from tests.support.ingest import NOW
from tests.support.spool import whole

KEY = write_key("k1", "secret")
BEARER = {"Authorization": f"Bearer {KEY}"}


class Routes:
    """The routes with a real check of keys, on a real spool."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.counted = SpoolWriter(folder), list[str]()
        self.grants = (
            Grant("k1", digest_of("secret"), (Scope.FEEDBACK,)),
            Grant("k2", digest_of("secret"), (Scope.INFER,)),
            Grant("k3", digest_of("secret"), (Scope.FEEDBACK,), limits=Limits(requests_per_minute=1)),
        )
        access = KeyChecker(keys=lambda: self.grants)
        app = FastAPI()
        install_errors(app)
        app.include_router(
            compatible.create_router(
                spool=self.spool,
                clock=lambda: NOW,
                acknowledged=lambda vote: self.counted.append(vote.type),
                metrics=lambda: Metrics.of({"escalated": "thumbs_inverted"}, ["good", "bad"]),
                givers=Depends(require_key(access, Scope.FEEDBACK)),
                basic_givers=Depends(require_key(access, Scope.FEEDBACK, read=bearer_of_basic)),
            )
        )
        self.client = TestClient(app)

    def kept(self) -> list[Feedback]:
        found = [record for payload in whole(self.spool.folder) for record in decode_all(payload)]
        return [record for record in found if isinstance(record, Feedback)]


@pytest.fixture
def routes(tmp_path: Path) -> Iterator[Routes]:
    made = Routes(tmp_path)
    yield made
    made.spool.close()


TENSORZERO = {
    "inference_id": "chatcmpl-15a340ce",
    "metric_name": "task_success",
    "value": True,
    "tags": {"user_id": "ada", "page": "cart"},
}


def test_a_metric_of_tensorzero_is_kept_and_answered_in_its_shape(routes: Routes) -> None:
    answer = routes.client.post("/feedback", json=TENSORZERO, headers=BEARER)
    assert answer.status_code == 200 and UUID(answer.json()["feedback_id"])
    (vote,) = routes.kept()
    assert vote.id == f"k1:{answer.json()['feedback_id']}" and (vote.key_id, vote.time) == ("k1", NOW)
    assert (vote.interaction_id, vote.type, vote.value, vote.user) == ("chatcmpl-15a340ce", "thumbs", True, "ada")
    assert vote.metadata == {"page": "cart", "metric": "task_success"} and routes.counted == ["thumbs"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"metric_name": "stars", "value": 4}, ("rating", 4.0)),
        ({"metric_name": "comment", "value": "too long"}, ("comment", "too long")),
        ({"metric_name": "demonstration", "value": "Thank you."}, ("correction", "Thank you.")),
        ({"metric_name": "demonstration", "value": "Good"}, ("label", "Good")),
        ({"metric_name": "demonstration", "value": [{"type": "text", "text": "Hi"}]}, ("correction", "Hi")),
        ({"metric_name": "demonstration", "value": {"a": 1}}, ("correction", '{"a":1}')),
        ({"metric_name": "escalated", "value": True}, ("thumbs", False)),
    ],
)
def test_each_kind_of_metric_becomes_its_type(routes: Routes, body: dict[str, Any], expected: tuple[str, Any]) -> None:
    answer = routes.client.post("/feedback", json={"episode_id": "c-1"} | body, headers=BEARER)
    assert answer.status_code == 200
    (vote,) = routes.kept()
    assert (vote.conversation_id, vote.interaction_id) == ("c-1", None)
    assert (vote.type, vote.value) == expected


def test_a_dry_run_of_tensorzero_keeps_nothing(routes: Routes) -> None:
    assert routes.client.post("/feedback", json=TENSORZERO | {"dryrun": True}, headers=BEARER).status_code == 200
    assert routes.kept() == [] and routes.counted == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (TENSORZERO | {"episode_id": "e"}, "exactly one of inference_id and episode_id"),
        (TENSORZERO | {"inference_id": None}, "exactly one of"),
        (TENSORZERO | {"metric": "x"}, "metric: no such field. Fields: dryrun, episode_id"),
        (TENSORZERO | {"metric_name": None}, "metric_name: takes a text"),
        (TENSORZERO | {"value": None}, "value: is missing"),
        (TENSORZERO | {"tags": [1]}, "tags: takes an object"),
        (TENSORZERO | {"inference_id": "a b"}, "inference_id: takes 1 to 128 visible ASCII characters"),
        ([], "not one JSON object"),
    ],
)
def test_a_wrong_metric_is_400_in_the_shape_of_tensorzero(routes: Routes, body: Any, words: str) -> None:
    answer = routes.client.post("/feedback", json=body, headers=BEARER)
    assert answer.status_code == 400 and answer.json().keys() == {"error"} and words in answer.json()["error"]
    assert routes.kept() == []


SCORE = {
    "id": "score-7",
    "traceId": "chatcmpl-15a340ce",
    "name": "user-feedback",
    "value": 1,
    "dataType": "BOOLEAN",
    "comment": "kind",
    "metadata": {"userId": "ada", "tries": 2},
}


def basic(secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"pk-lf-1:{secret}".encode()).decode()}


@pytest.mark.parametrize("headers", [basic(KEY), BEARER])
def test_a_score_of_langfuse_is_kept_under_its_id(routes: Routes, headers: dict[str, str]) -> None:
    answer = routes.client.post("/api/public/scores", json=SCORE, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"id": "score-7"})
    (vote,) = routes.kept()
    assert (vote.id, vote.interaction_id, vote.type, vote.value) == ("k1:score-7", "chatcmpl-15a340ce", "thumbs", True)
    assert (vote.user, vote.comment) == ("ada", "kind")
    assert vote.metadata == {"tries": "2", "metric": "user-feedback"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"traceId": None, "sessionId": "s-1"}, (None, "s-1")),
        ({"traceId": "0af7651916cd43dd8448eb211c80319c", "observationId": "chatcmpl-1"}, ("chatcmpl-1", None)),
        ({"observationId": "b7ad6b7169203331"}, ("chatcmpl-15a340ce", None)),
    ],
)
def test_a_score_is_about_the_completion_or_the_session(
    routes: Routes, fields: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    assert routes.client.post("/api/public/scores", json=SCORE | fields, headers=BEARER).status_code == 200
    (vote,) = routes.kept()
    assert (vote.interaction_id, vote.conversation_id) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": 2}, "value: BOOLEAN takes 0 or 1."),
        ({"dataType": "STARS"}, "dataType: takes one of NUMERIC"),
        ({"traceId": None}, "traceId: is missing. Send the completion's id as traceId."),
        ({"stars": 1}, "stars: no such field"),
        ({"id": "a b"}, "id: "),
        ({"comment": "x" * 10_001}, "comment: "),
    ],
)
def test_a_wrong_score_is_400_in_the_shape_of_langfuse(routes: Routes, fields: dict[str, Any], words: str) -> None:
    answer = routes.client.post("/api/public/scores", json=SCORE | fields, headers=BEARER)
    assert answer.status_code == 400 and words in answer.json()["message"]
    assert answer.json()["error"] == "input_error" and routes.kept() == []


def test_wrong_keys_and_limits_are_answered_in_the_shape_of_the_tool(routes: Routes) -> None:
    for headers, status in ((basic("wrong"), 401), ({"Authorization": "Basic %%%"}, 401), ({}, 401)):
        answer = routes.client.post("/api/public/scores", json=SCORE, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (status, "key_refused")
    refused = routes.client.post(
        "/feedback", json=TENSORZERO, headers={"Authorization": f"Bearer {write_key('k2', 'secret')}"}
    )
    assert refused.status_code == 403 and "lacks the scope feedback" in refused.json()["error"]
    basic_is_for_langfuse = routes.client.post("/feedback", json=TENSORZERO, headers=basic(KEY))
    assert basic_is_for_langfuse.status_code == 401
    limited = {"Authorization": f"Bearer {write_key('k3', 'secret')}"}
    assert routes.client.post("/feedback", json=TENSORZERO, headers=limited).status_code == 200
    answer = routes.client.post("/feedback", json=TENSORZERO, headers=limited)
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0


def test_a_full_spool_is_503_in_the_shape_of_the_tool(routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise SpoolFull("The spool is full.", hint="Free space.")

    monkeypatch.setattr(SpoolWriter, "append", full)
    answer = routes.client.post("/api/public/scores", json=SCORE, headers=BEARER)
    assert (answer.status_code, answer.json()["error"]) == (503, "spool_full") and answer.headers["retry-after"] == "2"


RATING = {
    "type": "rating",
    "data": {"rating": -1, "model_id": "reviews", "reason": "not_helpful", "comment": "no", "details": {"rating": 3}},
    "meta": {"arena": False, "chat_id": "c-1", "message_id": "4f8a", "message_index": 1},
    "snapshot": {"chat": {}},
    "user_id": "ada",
}


def test_a_rating_of_open_webui_is_about_its_chat_or_its_completion(routes: Routes) -> None:
    answer = routes.client.post("/api/v1/evaluations/feedback", json=RATING, headers=BEARER)
    told = answer.json()
    assert answer.status_code == 200 and (told["type"], told["data"], told["user_id"]) == (
        "rating",
        RATING["data"],
        "ada",
    )
    completion = RATING | {"meta": {"chat_id": "c-1", "message_id": "chatcmpl-1"}}
    again = routes.client.post(f"/api/v1/evaluations/feedback/{told['id']}", json=completion, headers=BEARER)
    assert again.json()["id"] == told["id"]
    first, second = routes.kept()
    assert (first.conversation_id, first.interaction_id, first.value, first.user) == ("c-1", None, False, "ada")
    assert first.metadata == {"reason": "not_helpful", "model": "reviews", "rating": "3"} and first.comment == "no"
    assert (second.id, second.interaction_id) == (first.id, "chatcmpl-1")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": "other"}, "type: takes rating"),
        ({"data": {"rating": 7}}, "data.rating: takes 1 or -1"),
        ({"meta": {}}, "meta.chat_id: is missing"),
        ({"meta": []}, "meta: takes an object"),
    ],
)
def test_a_wrong_rating_is_400_in_the_shape_of_open_webui(routes: Routes, fields: dict[str, Any], words: str) -> None:
    answer = routes.client.post("/api/v1/evaluations/feedback", json=RATING | fields, headers=BEARER)
    assert answer.status_code == 400 and answer.json().keys() == {"detail"} and words in answer.json()["detail"]
