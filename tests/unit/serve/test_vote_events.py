"""Facts about votes as OpenTelemetry events: what each one says, and what it says only if the settings allow it."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

from core.records import Feedback
from core.settings import build
from ops.apps.gateway import create_tracing
from serve.gateway.tracing import Tracing
from serve.gateway.vote_events import VoteEvents

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


class Sent:
    """Events that stay in memory."""

    def __init__(self, *, content: bool = False) -> None:
        self.exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider()
        provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))
        self.events = VoteEvents(provider, ["Good", "bad"], content=content)

    def found(self) -> list[dict[str, Any]]:
        records = [found.log_record for found in self.exporter.get_finished_logs()]
        assert {record.event_name for record in records} <= {"gen_ai.evaluation.result"}
        return [
            {name.removeprefix("gen_ai.evaluation."): value for name, value in (record.attributes or {}).items()}
            for record in records
        ]


def vote(type: str, value: Any, **more: Any) -> Feedback:
    return Feedback("f1", NOW, "i1", None, type, value, **more)


def said(given: Feedback, *, content: bool = False) -> list[dict[str, Any]]:
    sent = Sent(content=content)
    sent.events.add(given)
    found = sent.found()
    for event in found:
        assert event.pop("name") == given.type and event.pop("loraloop.feedback.id") == "f1"
    return found


ABOUT = {"gen_ai.response.id": "i1"}


@pytest.mark.parametrize(
    ("type", "value", "score"),
    [
        ("thumbs", True, {"score.value": 1.0, "score.label": "up"}),
        ("thumbs", False, {"score.value": 0.0, "score.label": "down"}),
        ("rating", -2.5, {"score.value": -2.5}),
        ("label", "good", {"score.label": "good"}),
        ("flag", "unsafe", {"score.label": "unsafe"}),
        ("correction", "my text", {}),
        ("comment", "my text", {}),
    ],
)
def test_a_vote_is_an_event_about_its_answer(type: str, value: Any, score: dict[str, Any]) -> None:
    assert said(vote(type, value)) == [score | ABOUT]


def test_what_users_write_is_sent_with_the_option_alone() -> None:
    assert said(vote("label", "my address", comment="mine")) == [ABOUT]
    assert said(vote("label", "my address", comment="mine"), content=True) == [
        ABOUT | {"score.label": "my address", "explanation": "mine"}
    ]
    assert said(vote("comment", "too short"), content=True) == [ABOUT | {"explanation": "too short"}]
    assert "secret" not in str(said(vote("correction", "secret"), content=True))
    assert "ada" not in str(said(vote("thumbs", True, user="ada", key_id="k"), content=True))


def test_a_preference_is_an_event_of_each_answer_and_a_conversation_has_its_name() -> None:
    pair = Feedback("f1", NOW, None, None, "preference", {"chosen": "i2", "rejected": "i3"})
    assert said(pair) == [
        {"gen_ai.response.id": "i2", "score.value": 1.0, "score.label": "chosen"},
        {"gen_ai.response.id": "i3", "score.value": 0.0, "score.label": "rejected"},
    ]
    talk = Feedback("f1", NOW, None, "c1", "thumbs", True, choice=1)
    assert said(talk) == [
        {"gen_ai.conversation.id": "c1", "loraloop.choice": 1, "score.value": 1.0, "score.label": "up"}
    ]


def test_a_gateway_sends_what_it_acknowledges_and_nothing_else(gateway: Any) -> None:
    sent = Sent()
    gateway.open(tracing=Tracing(TracerProvider(), votes=sent.events))
    good = {"interaction_id": "i1", "type": "thumbs", "value": True}
    answer = gateway.http.post(
        "/v1/feedback", json=[good, good | {"value": "yes"}, good | {"type": "rating", "value": 4}]
    )
    assert answer.status_code == 207
    assert [(event["name"], event["score.value"]) for event in sent.found()] == [("thumbs", 1.0), ("rating", 4.0)]
    gateway.http.post("/feedback", json={"inference_id": "i2", "metric_name": "comment", "value": "hm"})
    assert sent.found()[-1]["gen_ai.response.id"] == "i2"


class Collector(BaseHTTPRequestHandler):
    """Keeps the events that are sent to it."""

    bodies: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        self.bodies.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    Collector.bodies = []
    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("feedback", "service"), [(True, None), (True, "shop"), (False, None)])
def test_events_reach_the_collectors_logs_unless_that_is_off(
    collector: HTTPServer, monkeypatch: pytest.MonkeyPatch, feedback: bool, service: str | None
) -> None:
    for name in ("OTEL_SDK_DISABLED", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    if service:
        monkeypatch.setenv("OTEL_SERVICE_NAME", service)
    endpoint = f"http://127.0.0.1:{collector.server_port}/"
    models = {"m": {"labels": ["good", "bad"]}}
    tracing = create_tracing(build({"models": models, "tracing": {"endpoint": endpoint, "feedback": feedback}}))
    assert tracing is not None and (tracing.votes is not None) is feedback
    if tracing.votes is not None:
        tracing.votes.add(vote("label", "good"))
    tracing.stop()
    logs = [body for path, body in Collector.bodies if path == "/v1/logs"]
    assert len(logs) == (1 if feedback else 0)
    for body in logs:
        (resource,) = ExportLogsServiceRequest.FromString(body).resource_logs
        (record,) = resource.scope_logs[0].log_records
        assert record.event_name == "gen_ai.evaluation.result" and record.time_unix_nano == int(NOW.timestamp() * 1e9)
        told = {each.key: each.value.string_value for each in record.attributes}
        assert told["gen_ai.evaluation.score.label"] == "good" and told["gen_ai.response.id"] == "i1"
        names = {each.key: each.value.string_value for each in resource.resource.attributes}
        assert names["service.name"] == (service or "loraloop-gateway")
