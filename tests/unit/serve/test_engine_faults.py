"""Facts about the care of engines that hang, answer oddly or were refused, and of those behind a key or a proxy."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.errors import EngineError, EngineFailed
from core.settings import EngineSettings, build
from serve.cpu_lora.selftest import asker
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine, running
from serve.engines.reconciler import MISSES, Reconciler
from tests.support.wait import PATIENCE_SECONDS
from tests.unit.serve.test_engines import reconciler, version


def test_a_refused_engine_serves_nothing_after_a_change_of_routes_either() -> None:
    def refuses(client: VllmClient) -> str:
        if client.url == "http://e0":
            raise EngineFailed("The engine mixes adapters up and must not serve.")
        return "well"

    bad, good = FakeEngine(), FakeEngine()
    made = reconciler(bad, good, self_check=refuses)
    made.reconcile(lambda: [version(1)], lambda _: True)
    with made.ensure_loaded(version(2)):
        assert made.adapters_by_engine == {"http://e0": (), "http://e1": ("base", "m-1-abc", "m-2-abc")}
    assert bad.adapters == {}
    alone = reconciler(FakeEngine(), self_check=refuses)
    alone.reconcile(lambda: [version(1)], lambda _: True)
    with pytest.raises(EngineFailed, match="mixes adapters up"), alone.ensure_loaded(version(2)):
        pass


def hangs(engine: FakeEngine, over: threading.Event, asked: list[str]) -> httpx.MockTransport:
    real = engine.transport()

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if engine.fault == "hang":
            if not over.wait(PATIENCE_SECONDS):
                asked.append("waited to the end")
            raise httpx.ReadTimeout("timed out", request=request)
        return real.handle_request(request)

    return httpx.MockTransport(handle)


def test_a_rollback_waits_for_no_engine_that_hangs() -> None:
    engines, asked, over = [FakeEngine(), FakeEngine()], list[str](), threading.Event()
    clients = [VllmClient(f"http://e{n}", transport=hangs(e, over, asked)) for n, e in enumerate(engines)]
    made = Reconciler(clients, base_name="base", self_check=lambda _: "well")
    made.reconcile(lambda: [version(1), version(2)], lambda _: True)
    engines[0].fault = "hang"
    asked.clear()
    looking = threading.Thread(target=made.reconcile, args=(lambda: [version(1), version(2)], lambda _: True))
    looking.start()
    with made.ensure_loaded(version(1)):
        assert looking.is_alive() and "/v1/load_lora_adapter" not in asked
    over.set()
    looking.join()
    over.clear()
    with made.ensure_loaded(version(2)):  # the engine is known to hang, and the other one holds the version
        assert "waited to the end" not in asked


def test_an_engine_that_answers_oddly_does_not_stop_the_care_of_the_others() -> None:
    for answer in ({"models": []}, [], {"data": [{}]}, {"data": 3}):
        odd = httpx.MockTransport(lambda _, answer=answer: httpx.Response(200, json=answer))  # type: ignore[misc]
        clients = [VllmClient("http://odd", transport=odd), VllmClient("http://e", transport=FakeEngine().transport())]
        made = Reconciler(clients, base_name="base", self_check=lambda _: "well")
        first, second = made.reconcile(lambda: [version(1)], lambda _: True)
        assert second.ready and not first.ready and "no vLLM server" in first.error
        assert made.adapters_by_engine == {"http://odd": (), "http://e": ("base", "m-1-abc")}


def test_a_bug_in_the_care_of_one_engine_does_not_stop_the_care_of_the_others() -> None:
    def fails(client: VllmClient) -> str:
        if client.url == "http://e0":
            raise KeyError("a bug")
        return "well"

    made = reconciler(FakeEngine(), FakeEngine(), self_check=fails)
    first, second = made.reconcile(lambda: [version(1)], lambda _: True)
    assert second.ready and "unexpected KeyError" in first.error


def test_gateways_no_longer_get_an_engine_that_is_gone_unless_all_are() -> None:
    gone, well = FakeEngine(), FakeEngine()
    made = reconciler(gone, well)
    made.reconcile(lambda: [version(1)], lambda _: True)
    gone.fault = "down"
    held = ("base", "m-1-abc")
    for turn in range(1, MISSES + 1):
        made.reconcile(lambda: [version(1)], lambda _: True)
        assert made.adapters_by_engine == {"http://e0": () if turn >= MISSES else held, "http://e1": held}
    well.fault = "down"
    made.reconcile(lambda: [version(1)], lambda _: True)
    assert made.adapters_by_engine == {"http://e0": held, "http://e1": held}


def test_a_version_that_a_change_needs_is_not_unloaded_by_a_check_that_began_before() -> None:
    engine = FakeEngine(adapters={"m-1-abc": "x"})
    made, wanted = reconciler(engine), list[Any]()

    def drained(name: str) -> bool:
        pytest.fail(f"{name} is needed again")

    def wants() -> list[Any]:
        before = list(wanted)
        if not before:
            with made.ensure_loaded(version(1)):
                wanted.append(version(1))  # the route is written after the check has read the old ones
        return before

    made.reconcile(wants, drained)
    assert engine.adapters == {"m-1-abc": "x"}


def recorded(headers: list[str | None]) -> Callable[[httpx.Request], httpx.Response]:
    def handle(request: httpx.Request) -> httpx.Response:
        headers.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"data": []})

    return handle


def test_an_engine_behind_a_key_gets_it_from_control() -> None:
    headers: list[str | None] = []
    client = VllmClient("http://e", key="s3cret", transport=httpx.MockTransport(recorded(headers)))
    assert client.healthy() and client.models() == set() and headers == ["Bearer s3cret"] * 2


def test_a_proxy_of_the_environment_is_not_used_for_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    engine = FakeEngine()
    with running(engine.app()) as url:
        assert asker(url)([("base", "hello")]) == ["base heard hello"]
        client = VllmClient(url)
        assert client.healthy()
        client.close()


def test_engines_are_named_with_or_without_the_path_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORALOOP_ENGINE_KEY", "s3cret")
    found = build(
        {
            "models": {"m": {"labels": ["a", "b"]}},
            "engine": {"urls": ["http://h:8000/v1", "https://h/llm/v1/", "http://h"]},
        }
    )
    assert found.engine_urls == ["http://h:8000", "https://h/llm", "http://h"]
    assert found.engine_key == "s3cret" and "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("url", "words"), [("http://user:pw@h:8000", "LORALOOP_ENGINE_KEY"), ("h:8000", "no URL"), ("http://", "no URL")]
)
def test_a_url_of_an_engine_that_cannot_be_used_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EngineSettings(urls=[url])


def test_an_engine_that_refuses_models_is_named() -> None:
    client = VllmClient("http://e", transport=httpx.MockTransport(lambda _: httpx.Response(401, json={"error": "no"})))
    with pytest.raises(EngineError, match="refused /v1/models: no"):
        client.models()
