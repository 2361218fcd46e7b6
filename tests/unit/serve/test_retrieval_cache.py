"""Facts about retrievals on their way to gateways: the real app on loopback ports, control dead or alive."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI

from core.db import versions
from core.db.store import Store
from core.http import install_errors
from serve.engines.fake import running
from serve.retrieval.retriever import FILE, Entry, Retrieval, sha256_of
from serve.routing import publisher, retrieval_cache
from serve.routing.publisher import RoutePublisher
from serve.routing.retrieval_cache import RetrievalCache
from serve.routing.table import ModelRoute, RoutingTable, Target

NOW = datetime(2026, 5, 1, tzinfo=UTC)
ASKED = {"model": "reviews", "messages": [{"role": "user", "content": "so good"}], "user": "ada"}


class Control:
    """As much of control as a gateway needs: tables, and the retrievals that its store has."""

    def __init__(self, folder: Path) -> None:
        self.board, self.store, self.folder, self.app = RoutePublisher(), Store(":memory:"), folder, FastAPI()
        install_errors(self.app)
        self.app.include_router(publisher.create_router(self.board))
        self.app.include_router(retrieval_cache.create_router(self.store))

    def add(self, number: int, answer: str = "good") -> str:
        """Makes a retrieval of one example, as a version of that number; returns its hash."""
        content = Retrieval((Entry("chat", "so bad", answer, 10),), 1, 200, 2048).to_bytes()
        home, name = self.folder / f"v{number}", sha256_of(content)
        home.mkdir(parents=True)
        (home / FILE).write_bytes(content)
        versions.add(
            self.store,
            model="reviews",
            version=number,
            engine_name=f"reviews@{number}.x",
            path=str(home),
            sha256=name,
            rank=0,
            run_id=None,
            time=NOW,
            kind="retrieval",
        )
        return name


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path / "control")
    yield made
    made.store.close()


def table(url: str, version: int, name: str | None) -> RoutingTable:
    target = Target(version, "base", name)
    return RoutingTable({url: ("base",)}, {"reviews": ModelRoute(target, None, 0.0, "s", (target,))})


def asked(gateway: Any) -> list[str]:
    """The last request to the engine, message by message."""
    return [message["content"] for message in gateway.engine.requests[-1][1]["messages"]]


def kept(gateway: Any) -> set[str]:
    return {file.stem for file in (gateway.data / "gateways" / "gateway-1" / "retrievals").glob("*")}


def serves(gateway: Any, version: int) -> None:
    gateway.until(lambda: gateway.post(**ASKED).headers.get("x-loraloop-version") == f"reviews@{version}")


def test_engines_see_the_examples_and_the_record_what_the_app_asked(gateway: Any, control: Control) -> None:
    control.board.publish(table(gateway.engine_url, 3, control.add(3)))
    with running(control.app) as url:
        gateway.open(control=url, cached=False)
        serves(gateway, 3)
        assert asked(gateway) == ["so bad", "good", "so good"]
        gateway.post(stream=True, temperature=0.5, **ASKED)
        sent = gateway.engine.requests[-1][1]
        assert (sent["model"], sent["temperature"], sent["user"], len(sent["messages"])) == ("base", 0.5, "ada", 3)
        gateway.until(lambda: gateway.spooled()[-1].streamed)
        for record in (record for record in gateway.spooled() if record.version == 3):
            assert record.request["messages"] == ASKED["messages"]
        before = len(gateway.engine.requests)
        refused = gateway.post(echo=True, **ASKED)
        assert refused.status_code == 422 and "echo: reviews@3" in refused.json()["error"]["message"]
        assert len(gateway.engine.requests) == before
        gateway.stack.close()


def test_what_the_table_withholds_is_shown_to_nobody_after_a_restart_without_control_too(
    gateway: Any, control: Control
) -> None:
    name = control.add(3)
    shown = table(gateway.engine_url, 3, name)
    control.board.publish(shown)
    with running(control.app) as url:
        gateway.open(control=url, cached=False)
        serves(gateway, 3)
        assert asked(gateway) == ["so bad", "good", "so good"]
        control.board.publish(replace(shown, withheld={name: (0,)}))
        gateway.until(lambda: gateway.post(**ASKED) and asked(gateway) == ["so good"])
        gateway.stack.close()
    again = type(gateway)(gateway.data, gateway.engine, gateway.engine_url)
    with again.stack:
        again.open(cached=False)
        assert again.post(**ASKED).headers["x-loraloop-version"] == "reviews@3" and asked(again) == ["so good"]
    with running(control.app) as url:
        last = type(gateway)(gateway.data, gateway.engine, gateway.engine_url)
        with last.stack:
            last.open(control=url)
            control.board.publish(shown)
            last.until(lambda: last.post(**ASKED) and asked(last) == ["so bad", "good", "so good"])


def test_a_gateway_starts_and_retrieves_with_control_dead(gateway: Any, control: Control) -> None:
    control.board.publish(table(gateway.engine_url, 3, control.add(3)))
    with running(control.app) as url:
        gateway.open(control=url, cached=False)
        serves(gateway, 3)
        gateway.stack.close()
    again = type(gateway)(gateway.data, gateway.engine, gateway.engine_url)
    with again.stack:
        again.open(cached=False)
        assert again.post().headers["x-loraloop-version"] == "reviews@3"
        assert asked(again) == ["so bad", "good", "so good"]


def test_a_table_whose_retrieval_is_not_to_be_had_waits_and_the_last_one_serves(gateway: Any, control: Control) -> None:
    old, new = control.add(3), control.add(4, "fine")
    file = control.folder / "v4" / FILE
    content = file.read_bytes()
    control.board.publish(table(gateway.engine_url, 3, old))
    with running(control.app) as url:
        gateway.open(control=url, cached=False)
        serves(gateway, 3)
        file.unlink()
        control.board.publish(table(gateway.engine_url, 4, new))
        switch = control.board.await_switch(1.5)
        assert not switch.complete and gateway.post(**ASKED).headers["x-loraloop-version"] == "reviews@3"
        assert gateway.http.get("/ready").json()["control_answers"]
        file.write_bytes(content.replace(b"fine", b"evil"))  # not what the hash says
        assert not control.board.await_switch(1.5).complete and kept(gateway) == {old}
        file.write_bytes(content)
        serves(gateway, 4)
        assert asked(gateway) == ["so bad", "fine", "so good"]
        gateway.until(lambda: kept(gateway) == {new})
        gateway.stack.close()


def test_a_file_that_was_spoilt_on_the_gateways_disk_is_fetched_again(gateway: Any, control: Control) -> None:
    name = control.add(3)
    folder = gateway.data / "gateways" / "gateway-1"
    (folder / "retrievals").mkdir(parents=True)
    (folder / "retrievals" / f"{name}.json").write_bytes(b"{")
    (folder / "routes.json").write_text(table(gateway.engine_url, 3, name).to_json())
    control.board.publish(table(gateway.engine_url, 3, name))
    gateway.open(cached=False)
    assert gateway.http.get("/ready").status_code == 503  # control is dead, and half is not served
    gateway.stack.close()
    again = type(gateway)(gateway.data, gateway.engine, gateway.engine_url)
    with running(control.app) as url, again.stack:
        again.open(control=url, cached=False)
        again.until(lambda: again.http.get("/ready").status_code == 200)
        serves(again, 3)
        assert len(asked(again)) == 3


def test_a_name_that_is_no_hash_is_never_a_path(gateway: Any, control: Control) -> None:
    held = {gateway.engine_url: ("base", "reviews-7")}
    control.board.publish(replace(table(gateway.engine_url, 3, "../routes"), engines=held))
    with running(control.app) as url:
        gateway.open(control=url, cached=True)
        gateway.until(control.board.gateways)  # before the first poll there is nobody to wait for
        assert not control.board.await_switch(1.0).complete
        assert gateway.post().headers["x-loraloop-version"] == "reviews@7"
        gateway.stack.close()


def test_a_table_of_a_release_before_retrievals_is_read_and_one_that_names_none_reads_as_before() -> None:
    made = table("http://e", 3, None)
    assert "retrieval" not in made.to_json() and RoutingTable.from_json(made.to_json()) == made
    named = table("http://e", 3, "a" * 64)
    assert RoutingTable.from_json(named.to_json()) == named and named.etag != made.etag
    assert (made.retrievals(), named.retrievals()) == (set(), {"a" * 64})
    held = replace(made.models["reviews"], held=Target(2, "base", "b" * 64), canary=Target(4, "base", "c" * 64))
    assert replace(made, models={"reviews": held}).retrievals() == {"b" * 64, "c" * 64}
    assert json.loads(named.to_json())["models"]["reviews"]["champion"]["retrieval"] == "a" * 64


def test_control_lends_by_hash_and_nothing_else(control: Control) -> None:
    from fastapi.testclient import TestClient

    name, client = control.add(3), TestClient(control.app)
    assert sha256_of(client.get(f"/internal/retrievals/{name}").content) == name
    assert client.get(f"/internal/retrievals/{'0' * 64}").status_code == 404
    (control.folder / "v3" / FILE).unlink()
    assert client.get(f"/internal/retrievals/{name}").status_code == 404


def test_keys_and_other_models_do_not_wait_for_a_retrieval(gateway: Any, control: Control) -> None:
    old, new = control.add(3), control.add(4, "fine")
    made = table(gateway.engine_url, 3, old)
    tweets = ModelRoute(Target(7, "reviews-7"), None, 0.0, "s")
    control.board.publish(replace(made, models=made.models | {"tweets": tweets}))
    with running(control.app) as url:
        gateway.open(control=url, cached=False)
        serves(gateway, 3)
        (control.folder / "v4" / FILE).unlink()
        next_one = table(gateway.engine_url, 4, new)
        back = replace(tweets, champion=Target(0, "base"))
        control.board.publish(replace(next_one, models=next_one.models | {"tweets": back}))
        gateway.until(lambda: gateway.post(model="tweets").headers.get("x-loraloop-version") == "tweets@0")
        assert gateway.post(**ASKED).headers["x-loraloop-version"] == "reviews@3"
        gateway.stack.close()


def test_a_new_worker_reads_the_retrievals_of_the_first(tmp_path: Path) -> None:
    content = Retrieval((Entry("chat", "so bad", "good", 10),), 1, 200, 2048).to_bytes()
    name, first, own = sha256_of(content), tmp_path / "g" / "retrievals", tmp_path / "g_2" / "retrievals"
    first.mkdir(parents=True)
    (first / f"{name}.json").write_bytes(content)
    made = RetrievalCache(session=cast(Any, None), control_url="http://c", headers={}, folder=own, first=first)
    made.load({name})
    assert made.has(name)
    made.keep_only(())
    assert not made.has(name) and list(first.iterdir())
