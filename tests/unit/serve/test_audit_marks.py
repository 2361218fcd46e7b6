"""Facts about marks: the answers that an app should ask its users about."""

import json
from dataclasses import replace
from typing import Any

import pytest

from core.record_codec import encode
from core.records import Interaction
from serve.routing.table import ModelRoute, RoutingTable, Target
from tests.support.ingest import asked


def table(share: float) -> RoutingTable:
    target = Target(7, "reviews-7")
    return RoutingTable(
        {"http://e": ("base", "reviews-7")}, {"m": ModelRoute(target, None, 0.0, "s", (target,), audit_share=share)}
    )


def audited(gateway: Any, share: float) -> Any:
    """The gateway with a table that asks about a share of answers."""
    opened = gateway.open()
    tables = opened.app.state.tables
    models = {name: replace(route, audit_share=share) for name, route in tables.table.models.items()}
    tables._table = replace(tables.table, models=models)
    return opened


def test_the_draw_depends_on_the_id_alone_and_has_its_share():
    found = table(0.05)
    choice = found.choose("m", "ada")
    drawn = [found.asks_about(choice, f"chatcmpl-{number}") for number in range(20_000)]
    assert 0.045 < sum(drawn) / len(drawn) < 0.055
    assert drawn == [found.asks_about(found.choose("m", None), f"chatcmpl-{number}") for number in range(20_000)]


def test_no_share_asks_about_nothing_and_a_share_of_one_about_all_but_chosen_versions():
    assert not table(0.0).asks_about(table(0.0).choose("m", "ada"), "chatcmpl-1")
    every = table(1.0)
    assert every.asks_about(every.choose("m", "ada"), "chatcmpl-1")
    assert not every.asks_about(every.pinned("m@7"), "chatcmpl-1")


def test_a_table_has_the_share_only_where_there_is_one_and_old_tables_have_none():
    assert RoutingTable.from_json(table(0.05).to_json()) == table(0.05)
    plain = table(0.0).to_json()
    assert "audit_share" not in plain and RoutingTable.from_json(plain) == table(0.0)


@pytest.mark.parametrize("stream", [False, True])
def test_the_app_sees_the_mark_and_the_record_has_it(gateway: Any, stream: bool) -> None:
    answer = audited(gateway, 1.0).post(stream=stream)
    assert answer.status_code == 200 and answer.headers["x-loraloop-ask"] == "label"
    assert gateway.only().asked is True


def test_messages_of_another_api_have_the_mark_too(gateway: Any) -> None:
    answer = audited(gateway, 1.0).post("/v1/messages", max_tokens=4)
    assert answer.status_code == 200 and answer.headers["x-loraloop-ask"] == "label"


@pytest.mark.parametrize(("share", "body"), [(0.0, {}), (1.0, {"store": False})])
def test_other_answers_have_no_mark(gateway: Any, share: float, body: dict[str, Any]) -> None:
    answer = audited(gateway, share).post(**body)
    assert "x-loraloop-ask" not in answer.headers and gateway.only().asked is False


def test_a_client_cannot_choose_the_mark(gateway: Any) -> None:
    opened = audited(gateway, 0.0)
    headers = {"x-loraloop-ask": "label", "x-request-id": "chatcmpl-mine"}
    body = {
        "model": "reviews",
        "messages": [{"role": "user", "content": "so good"}],
        "asked": True,
        "id": "chatcmpl-mine",
    }
    answer = opened.http.post("/v1/chat/completions", json=body, headers=headers)
    assert "x-loraloop-ask" not in answer.headers and answer.json()["id"] != "chatcmpl-mine"


def test_a_record_of_an_older_gateway_has_no_mark() -> None:
    fields = json.loads(encode(asked("i1")))
    assert fields.pop("asked") is False
    fields.pop("kind")
    assert Interaction(**fields).asked is False
