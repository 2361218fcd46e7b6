"""Facts about the Python client: what it sends to a gateway and to control, and when it sends a request again."""

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from core.db import runs
from core.errors import InputError
from core.records import Feedback, Revocation
from loraloop import AsyncClient, Client, KeyRefused, Refused, Unreachable
from loraloop.calls import Call
from loraloop.retries import wait_after_response
from ops.cli.app import app as commands
from tests.support.feedback_app import FeedbackApp
from tests.support.ingest import NOW
from tests.support.running_control import RunningControl, served_control

URL = "http://testserver"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FeedbackApp]:
    app = FeedbackApp(tmp_path)
    yield app
    app.spool.close()


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    yield from served_control(tmp_path, monkeypatch)


class Server:
    """Answers requests with what a test gives it, one after the other, and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.requests, self.waits = list(answers), list[httpx.Request](), list[float]()

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **options: Any) -> Client:
        http = httpx.Client(transport=httpx.MockTransport(self.answer))
        return Client(gateway=URL, control=URL, key="k", http=http, sleep=self.waits.append, **options)


def client_of(app: FeedbackApp) -> Client:
    http: Any = app.client
    return Client(gateway=URL, key="k", http=http)


def ok(body: Any = None) -> httpx.Response:
    return httpx.Response(202, json=[{"feedback_id": "f"}] if body is None else body)


def test_feedback_of_every_type_is_on_the_gateways_disk(app: FeedbackApp):
    client = client_of(app)
    ids = [
        client.thumbs("i", True, user="ada", comment="good", choice=1),
        client.rating("i", 4),
        client.label("i", "negative"),
        client.correction("i", {"tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
        client.preference("i", "j", metadata={"page": "2"}),
        client.comment("i", "so so"),
        client.flag("i", "unsafe", id="mine"),
    ]
    found = [record for record in app.records() if isinstance(record, Feedback)]
    assert [one.type for one in found] == app.counted
    assert [one.id for one in found] == [f"k1:{id}" for id in ids]
    first, *_, preference, _, flag = found
    assert (first.interaction_id, first.value, first.user, first.comment, first.choice) == ("i", True, "ada", "good", 1)
    assert (preference.value, preference.metadata) == ({"chosen": "i", "rejected": "j"}, {"page": "2"})
    assert (flag.id, flag.value) == ("k1:mine", "unsafe")


def test_one_refused_object_of_a_batch_costs_no_other(app: FeedbackApp):
    client = client_of(app)
    thumb = {"interaction_id": "i", "type": "thumbs", "value": True}
    found = client.give([thumb, thumb | {"value": 1}, thumb])
    assert [type(one) for one in found] == [str, Refused, str]
    error = found[1]
    assert isinstance(error, Refused) and (error.field, error.code) == ("1.value", "input_error")
    assert len(app.records()) == 2
    with pytest.raises(Refused, match="flag takes one of"):
        client.flag("i", "rude")  # type: ignore[arg-type]
    assert client.give([]) == []


def test_more_feedback_than_a_request_takes_goes_in_several(app: FeedbackApp):
    thumb = {"interaction_id": "i", "type": "thumbs", "value": True}
    client = client_of(app)
    assert len(set(client.give([thumb] * 1001))) == len(app.records()) == 1001


def test_large_feedback_goes_in_several_requests(app: FeedbackApp):
    long = {"interaction_id": "i", "type": "correction", "value": "x" * 90_000}
    assert len(set(client_of(app).give([long] * 50))) == len(app.records()) == 50


def test_what_was_kept_is_known_when_a_later_batch_fails():
    server = Server(ok([{"feedback_id": f"f{n}"} for n in range(1000)]), httpx.Response(500, text="oops"))
    found = server.client().give([{"interaction_id": "i", "type": "thumbs", "value": True}] * 1500)
    assert found[:1000] == [f"f{n}" for n in range(1000)] and len(found) == 1500
    assert {str(one) for one in found[1000:]} == {"The server answered 500: oops"}
    with pytest.raises(Refused, match="oops"):
        Server(httpx.Response(500, text="oops")).client().give([{"type": "thumbs"}])


def test_feedback_is_taken_back(app: FeedbackApp):
    client = client_of(app)
    client.take_back("a/b?c")
    client.take_back_of("i", "ada")
    first, second = (record for record in app.records() if isinstance(record, Revocation))
    assert first.feedback_id == "a/b?c"
    assert (second.interaction_id, second.user) == ("i", "ada")


def test_the_asynchronous_client_does_the_same(app: FeedbackApp):
    async def give() -> list[str]:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app.app))
        async with AsyncClient(gateway=URL, key="k", http=http) as client:
            return [await client.thumbs("i", False), *(str(one) for one in await client.give([]))]

    (given,) = asyncio.run(give())
    (record,) = app.records()
    assert isinstance(record, Feedback) and (record.id, record.value) == (f"k1:{given}", False)


def test_both_clients_have_the_same_methods_with_the_same_parameters():
    def methods(kind: type) -> dict[str, list[inspect.Parameter]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: list(inspect.signature(one).parameters.values()) for name, one in found if not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)


def test_control_answers_its_client(control: RunningControl):
    with Client(control=f"http://127.0.0.1:{control.port}") as client:
        (model,) = client.models()
        assert model["model"] == "reviews"
        assert client.runs("reviews") == [] and client.promotions("reviews", limit=1) == []
        with pytest.raises(Refused) as refused:
            client.run("run-9")
        assert (refused.value.status, refused.value.code) == (404, "unknown_run")
        with pytest.raises(Refused, match="reviews@7"):
            client.promote("reviews", 7, comment="why not")
        preview = client.preview_erasure("ada")
        assert preview["counts"]["interactions"] == 0
        done = client.erase("ada", comment="asked for")
        assert client.erasure(done["id"])["comment"].endswith("asked for")


def test_a_run_is_awaited(control: RunningControl):
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        runs.set_state(control.store, id="run-1", state="finished", reason=None, time=NOW)

    started: dict[str, Any] = {"trigger": "t", "state": "training", "started": NOW, "feedback_until": NOW}
    runs.add(control.store, id="run-1", model="reviews", **started)
    with Client(control=f"http://127.0.0.1:{control.port}", sleep=sleep) as client:
        with pytest.raises(TimeoutError, match="run-1 is training"):
            client.wait("run-1", timeout_s=0)
        assert client.wait("run-1", poll_s=0.5)["state"] == "finished"
    assert waits == [0.5]


def test_feedback_is_sent_again_under_the_same_ids():
    server = Server(httpx.ReadError("gone"), httpx.Response(503, headers={"Retry-After": "2"}), ok())
    assert server.client().thumbs("i", True) == "f"
    assert server.waits == [0.25, 2.0]
    sent = [json.loads(request.content)[0]["id"] for request in server.requests]
    assert len(set(sent)) == 1 and sent[0].startswith("fb-")


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (httpx.ConnectError("refused"), 2),
        (httpx.Response(429), 2),
        (httpx.Response(503, headers={"Retry-After": "2"}), 1),
        (httpx.ReadError("gone"), 1),
        (httpx.ReadTimeout("slow"), 1),
        (httpx.Response(502), 1),
        (httpx.Response(500), 1),
    ],
)
def test_what_changes_something_is_sent_again_only_if_nothing_was_done(answer: Any, sent: int):
    server = Server(answer, ok({"run_id": "run-1"}))
    client = server.client()
    if sent == 2:
        assert client.retrain("reviews") == "run-1"
    else:
        with pytest.raises((Refused, Unreachable)):
            client.retrain("reviews")
    assert len(server.requests) == sent


def test_attempts_end():
    server = Server(*[httpx.ConnectError("refused")] * 9)
    with pytest.raises(Unreachable, match="Control at http://testserver does not answer"):
        server.client(retries=2).models()
    assert len(server.requests) == 3 and server.waits == [0.25, 0.5]


@pytest.mark.parametrize(("asked", "wait"), [("7", 7.0), ("", 0.25), ("-1", 0.25), ("nan", 0.25), ("31", None)])
def test_a_server_says_how_long_to_wait(asked: str, wait: float | None):
    call = Call("control", "GET", "/api/models", repeatable=True)
    assert wait_after_response(call, 429, {"retry-after": asked}, 0, 3) == wait


def test_names_in_a_path_stay_one_part_of_it():
    server = Server(ok([]))
    server.client().versions("a/../b?c")
    assert server.requests[0].url.raw_path == b"/api/models/a%2F..%2Fb%3Fc/versions"


def test_a_user_to_erase_is_in_no_address():
    server = Server(ok({}), ok({}))
    client = server.client()
    client.preview_erasure("ada@example.org")
    client.erase("ada@example.org", key="k1")
    assert all("ada" not in str(request.url) for request in server.requests)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(500, text="<html>oops"), "The server answered 500: <html>oops"),
        (httpx.Response(404, json={"error": "no"}), "The server answered 404"),
        (httpx.Response(200, text="hello"), "no JSON: hello"),
        (httpx.Response(202, json={"feedback_id": "f"}), "no result for each object"),
    ],
)
def test_a_response_of_something_else_is_an_error(answer: httpx.Response, said: str):
    with pytest.raises(Refused, match=said):
        Server(answer).client().thumbs("i", True)


def test_a_wrong_key_and_a_missing_url_are_named(monkeypatch: pytest.MonkeyPatch):
    for name in ("LORALOOP_URL", "LORALOOP_GATEWAY_URL", "LORALOOP_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KeyRefused, match="Gateway requires a valid API key"):
        Server(httpx.Response(401)).client().thumbs("i", True)
    with pytest.raises(InputError, match="LORALOOP_GATEWAY_URL"):
        Client(control=URL).thumbs("i", True)
    for wrong in ("127.0.0.1:8080", "http://", "http://a:b:c", "ftp://a"):
        with pytest.raises(InputError, match="is no URL"):
            Client(gateway=wrong)
    with pytest.raises(InputError, match="key"):
        Client(gateway=URL, key="llk_…")
    for name in ("", ".", ".."):
        with pytest.raises(InputError):
            Client(gateway=URL, control=URL, key="k").take_back(name)


def test_url_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LORALOOP_URL", "http://there/")
    monkeypatch.setenv("LORALOOP_GATEWAY_URL", "http://gateway/v1/")
    monkeypatch.setenv("LORALOOP_KEY", "mine")
    server = Server(ok([]), ok())
    client = Client(http=httpx.Client(transport=httpx.MockTransport(server.answer)))
    client.models()
    client.thumbs("i", True)
    assert [str(one.url) for one in server.requests] == ["http://there/api/models", "http://gateway/v1/feedback"]
    assert {one.headers["authorization"] for one in server.requests} == {"Bearer mine"}


def test_the_key_is_in_no_text_of_a_client():
    client = Client(gateway=URL, key="s3cret")
    assert "s3cret" not in repr(client) + repr(client.connection) + str(client)


def test_the_client_loads_none_of_the_servers_libraries():
    heavy = ["torch", "duckdb", "fastapi", "pyarrow", "pydantic", "transformers", "numpy"]
    code = f"import loraloop, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_command_needs_only_a_url_and_a_key(control: RunningControl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path / "data")  # without a configuration
    refused = CliRunner().invoke(commands, ["models", "--json"])
    assert refused.exit_code == 1
    monkeypatch.setenv("LORALOOP_URL", f"http://127.0.0.1:{control.port}")
    done = CliRunner().invoke(commands, ["models", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["model"] == "reviews"
    for command in ("models", "reload"):
        both = CliRunner().invoke(commands, [command, "--config", str(control.config)])
        assert isinstance(both.exception, InputError) and "Leave one of them out" in str(both.exception)
    monkeypatch.setenv("LORALOOP_URL", "http://127.0.0.1:9")
    elsewhere = CliRunner().invoke(commands, ["reload", "--json"])
    assert elsewhere.exit_code == 1 and "does not answer" in json.loads(elsewhere.stdout)[0]["error"]
