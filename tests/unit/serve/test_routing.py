"""Facts about routing: the sticky split, tables, and how a new one reaches the gateways."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api_keys import GRANTABLE, Grant, Limits, Scope
from core.errors import ControlDown, NotFound
from serve.routing.publisher import FORGOTTEN_SECONDS, GatewayPoll, RoutePublisher, create_router
from serve.routing.subscriber import RouteSubscriber
from serve.routing.table import ModelRoute, RoutingTable, Target, sticky_bucket, sticky_key

quick = settings(deadline=None, max_examples=60)
targets = st.builds(Target, st.integers(0, 99), st.text(max_size=8))
some_targets = st.lists(targets, max_size=2).map(tuple)
routes = st.builds(ModelRoute, targets, st.none() | targets, st.floats(0, 1), st.text(max_size=8), some_targets)
words = st.text(max_size=8)
grants = st.builds(
    Grant,
    st.text(max_size=8),
    st.text(max_size=8),
    st.lists(st.sampled_from(GRANTABLE), max_size=3).map(tuple),
    st.none() | st.lists(st.text(max_size=8), max_size=2).map(tuple),
    st.none() | st.floats(0, 1e10),
    st.builds(Limits, st.none() | st.integers(1), st.none() | st.integers(1), st.none() | st.integers(1)),
)
tables = st.builds(
    RoutingTable,
    st.dictionaries(words, st.lists(words, max_size=3).map(tuple)),
    st.dictionaries(words, routes),
    st.lists(grants, max_size=3).map(tuple),
)
KEY = Grant("k1", "digest", (Scope.INFER,))


def table(share: float = 0.0, salt: str = "s", champion: int = 1, canary: bool = False) -> RoutingTable:
    new = Target(2, "m-2") if canary else None
    return RoutingTable({"http://e": ("base",)}, {"m": ModelRoute(Target(champion, f"m-{champion}"), new, share, salt)})


@quick
@given(tables)
def test_a_table_is_read_back_from_json_with_the_same_tag(made: RoutingTable) -> None:
    again = RoutingTable.from_json(made.to_json())
    assert again == made and again.etag == made.etag


def test_a_version_is_had_by_its_number_and_says_nothing_about_the_split() -> None:
    made = RoutingTable({}, {"m": ModelRoute(Target(3, "m-3"), Target(4, "m-4"), 0.5, "s", (Target(1, "m-1"),))})
    for number in (1, 3, 4):
        choice = made.pinned(f"m@{number}")
        assert (choice.target, choice.arm, choice.bucket) == (Target(number, f"m-{number}"), "pinned", None)
    for name in ("m@2", "m@", "m@x", "m@03"):
        with pytest.raises(NotFound, match="Loaded are: m@1"):
            made.pinned(name)
    with pytest.raises(NotFound, match="There is no model 'n'"):
        made.pinned("n@1")


def test_only_engines_that_hold_a_version_get_its_requests() -> None:
    made = RoutingTable({"http://a": ("base",), "http://b": ("base", "m-1")}, {})
    assert made.holders("m-1") == ["http://b"] and made.holders("base") == ["http://a", "http://b"]
    assert made.holders("m-9") == []


def test_equal_tables_have_equal_tags_and_others_others() -> None:
    assert table().etag == table().etag
    assert len({table().etag, table(0.1).etag, table(salt="t").etag, table(champion=3).etag}) == 4


@quick
@given(st.text(min_size=1), st.floats(0, 1), st.text())
def test_a_user_stays_on_one_side(user: str, share: float, salt: str) -> None:
    made = table(share, salt, canary=True)
    choices = {made.choose("m", user) for _ in range(3)}
    assert len(choices) == 1
    (choice,) = choices
    assert choice.bucket is not None and 0 <= choice.bucket < 1
    assert (choice.arm == "canary") is (choice.bucket < share)
    assert choice.share == share


@quick
@given(st.text(min_size=1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_larger_share_takes_nobody_out_of_the_canary(user: str, less: float, more: float) -> None:
    less, more = sorted((less, more))
    if table(less, canary=True).choose("m", user).arm == "canary":
        assert table(more, canary=True).choose("m", user).arm == "canary"


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_the_share_is_met_with_and_without_users(share: float) -> None:
    n, made = 20_000, table(share, canary=True)
    bound = 5 * (n * share * (1 - share)) ** 0.5
    assert abs(sum(made.choose("m", f"user{k}").arm == "canary" for k in range(n)) - n * share) < bound
    assert abs(sum(made.choose("m", None).arm == "canary" for _ in range(n)) - n * share) < bound


def test_a_new_salt_draws_again() -> None:
    n = 5000
    first = {k for k in range(n) if sticky_bucket("a", f"u{k}") < 0.2}
    second = {k for k in range(n) if sticky_bucket("b", f"u{k}") < 0.2}
    expected = n * 0.04
    assert abs(len(first & second) - expected) < 5 * expected**0.5


def test_no_user_has_no_bucket_and_no_canary_has_no_canary() -> None:
    assert table(0.5, canary=True).choose("m", None).bucket is None
    assert {table(0.9).choose("m", f"u{k}").arm for k in range(50)} == {"champion"}


def test_an_unknown_model_is_an_error_that_names_the_list() -> None:
    with pytest.raises(NotFound, match="See GET /v1/models"):
        table().choose("n", "u")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"user": "u", "safety_identifier": "s", "metadata": {"conversation_id": "c"}}, ("u", "u", "c")),
        ({"safety_identifier": "s"}, ("s", "s", None)),
        ({"metadata": {"conversation_id": "c"}}, ("c", None, "c")),
        ({"user": "", "metadata": []}, (None, None, None)),
        ({"user": 5, "metadata": {"conversation_id": 5}}, (None, None, None)),
    ],
)
def test_a_request_is_kept_together_by_user_else_conversation(body: dict[str, Any], key: Any) -> None:
    assert sticky_key(body) == key


def said(board: RoutePublisher, gateway: str, have: str, **in_flight: int) -> None:
    board.report(
        GatewayPoll(gateway=gateway, have=have, in_flight=[("m", int(v[1:]), n) for v, n in in_flight.items()])
    )


def test_a_version_is_drained_when_every_gateway_has_the_table_and_nothing_in_flight() -> None:
    board, old, new = RoutePublisher(), table(), table(champion=2)
    board.publish(old)
    said(board, "a", old.etag)
    said(board, "b", old.etag, v1=2)
    assert not board.drained("m", 1)
    board.publish(new)
    said(board, "b", new.etag)
    assert not board.drained("m", 1)  # a may still choose the old one
    said(board, "a", new.etag, v1=1)
    assert not board.drained("m", 1)
    said(board, "a", new.etag, v1=0, v2=3)
    assert board.drained("m", 1) and not board.drained("m", 2)


def test_a_gateway_not_heard_of_no_longer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    board = RoutePublisher()
    board.publish(table())
    said(board, "gone", "old", v1=1)
    assert not board.drained("m", 1)
    from serve.routing import publisher

    later = publisher.time.monotonic() + FORGOTTEN_SECONDS + 1
    monkeypatch.setattr(publisher.time, "monotonic", lambda: later)
    assert board.gateways() == {} and board.drained("m", 1)


def test_a_switch_is_complete_when_the_last_gateway_has_it() -> None:
    board = RoutePublisher()
    board.publish(table())
    assert board.await_switch().complete and board.await_switch().gateways == 0
    said(board, "a", board.etag)
    said(board, "b", "old", v1=3)
    assert not (short := board.await_switch(0.05)).complete and (short.gateways, short.in_flight) == (2, 3)
    threading.Timer(0.05, said, (board, "b", board.etag)).start()
    switch = board.await_switch(5)
    assert switch.complete and switch.gateways == 2 and switch.ms >= 40


def test_a_poll_gets_the_table_once_and_then_waits() -> None:
    board, app = RoutePublisher(), FastAPI()
    app.include_router(create_router(board))
    client = TestClient(app)
    ask = {"gateway": "a", "have": "", "wait_s": 0}
    assert client.post("/internal/routes", json=ask).status_code == 204
    board.publish(table())
    answer = client.post("/internal/routes", json=ask)
    assert RoutingTable.from_json(answer.text) == table()
    assert client.post("/internal/routes", json=ask | {"have": board.etag}).status_code == 204
    many = ask | {"have": board.etag, "in_flight": [["m" * 64, number, 1] for number in range(10_000)]}
    assert client.post("/internal/routes", json=many).status_code == 204
    threading.Timer(0.05, board.publish, (table(0.2),)).start()
    answer = client.post("/internal/routes", json=ask | {"have": board.etag, "wait_s": 5})
    assert RoutingTable.from_json(answer.text) == table(0.2)
    assert board.gateways()["a"].etag == table().etag


def test_keys_are_published_with_the_current_routes_and_routes_with_the_current_keys() -> None:
    board = RoutePublisher()
    board.publish_keys((KEY,))
    assert board.table is None
    board.publish(table())
    wanted = replace(table(), keys=(KEY,))
    assert board.table == wanted and board.etag == wanted.etag
    board.publish_keys(())
    assert board.table == table() and board.etag == table().etag
    board.publish_keys((KEY,))
    board.publish(table(0.2))
    assert board.table == replace(table(0.2), keys=(KEY,))


def keeper(cache: Path) -> RouteSubscriber:
    return RouteSubscriber(session=None, control_url="http://c", name="g", key="", cache=cache)  # type: ignore[arg-type]


def take(made: RouteSubscriber, given: RoutingTable) -> None:
    """Applies a table that came from control."""
    made._apply(given, given.to_json())
    asyncio.run(made._keep_on_disk(given.to_json()))


def test_a_gateway_tells_control_of_its_spool_with_each_poll(tmp_path: Path) -> None:
    sent: list[GatewayPoll] = []

    class Session:
        def post(self, _: str, *, json: dict[str, Any], **__: Any) -> Any:
            sent.append(GatewayPoll.model_validate(json))
            raise OSError("control is away")

    made = RouteSubscriber(
        session=cast(Any, Session()),
        control_url="http://c",
        name="g",
        key="",
        cache=tmp_path / "routes.json",
        spool=lambda: {"unshipped": 7, "dropped": 2},
    )
    with pytest.raises(OSError, match="away"):
        asyncio.run(made._poll())
    board = RoutePublisher()
    board.report(sent[0])
    assert (board.gateways()["g"].unshipped, board.gateways()["g"].dropped) == (7, 2)


def test_the_last_table_is_on_disk_for_the_next_start(tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "routes.json"
    first = keeper(cache)
    first.load_cache()
    with pytest.raises(ControlDown, match="no routing table"):
        _ = first.table
    take(first, table(0.3))
    second = keeper(cache)
    second.load_cache()
    assert second.ready and second.table == table(0.3)


def test_the_keys_are_on_disk_with_the_table_and_none_before_it(tmp_path: Path) -> None:
    first, second = keeper(tmp_path / "routes.json"), keeper(tmp_path / "routes.json")
    assert first.keys == ()
    take(first, replace(table(), keys=(KEY,)))
    second.load_cache()
    assert first.keys == second.keys == (KEY,)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"engines": {}, "models": {"m": {}}}', '{"engines": {}, "models": {}, "keys": [{}]}']
)
def test_a_spoiled_table_on_disk_does_not_keep_the_gateway_down(tmp_path: Path, text: str) -> None:
    (tmp_path / "routes.json").write_text(text)
    made = keeper(tmp_path / "routes.json")
    made.load_cache()
    assert not made.ready


def test_a_table_serves_when_the_disk_does_not_take_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the folder")
    made = keeper(tmp_path / "file" / "routes.json")
    take(made, table())
    assert made.table == table()


def test_following_goes_on_after_every_answer_of_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.routing.subscriber.RETRY_SECONDS", 0)
    made = keeper(tmp_path / "routes.json")
    answers = iter(
        ["[]", '{"engines": 1, "models": {}}', "{", '{"engines": [], "models": {}, "keys": 1}', table().to_json()]
    )

    async def poll() -> list[str]:
        text = next(answers, None)
        if text is None:
            raise asyncio.CancelledError  # as when the gateway ends
        made._apply(RoutingTable.from_json(text), text)
        return []

    async def scene() -> None:
        monkeypatch.setattr(made, "_poll", poll)
        with pytest.raises(asyncio.CancelledError):
            await made.follow()

    asyncio.run(scene())
    assert made.table == table() and made.control_answers


def test_a_model_without_its_retrieval_keeps_its_route_and_holds_nobody_else_back() -> None:
    lacking = Target(2, "base", "b" * 64)
    docs, tweets = table().models["m"], table(champion=3).models["m"]
    before = RoutingTable({}, {"docs": docs, "tweets": tweets})
    new = RoutingTable(
        {}, {"docs": replace(docs, champion=lacking), "tweets": docs, "late": replace(docs, held=lacking)}
    )
    found, waiting = new.usable(lambda _: False, before)
    assert waiting == {"docs", "late"} and found.models == {"docs": docs, "tweets": docs}
    assert new.usable(lambda _: True, before) == (new, set())
    loaded = RoutingTable({}, {"docs": replace(docs, loaded=(*docs.loaded, lacking))})
    assert loaded.usable(lambda _: False, None)[0].models == {"docs": docs}


def test_two_gateways_with_one_name_both_count(caplog: pytest.LogCaptureFixture) -> None:
    board = RoutePublisher()
    board.publish(table())

    def polls(boot: str, have: str) -> None:
        board.report(GatewayPoll(gateway="g", boot=boot, have=have))

    polls("first", board.etag)
    polls("second", board.etag)
    assert len(board.gateways()) == 1 and caplog.text == ""  # a restart
    polls("first", "old")
    assert len(board.gateways()) == 2 and not board.drained("m", 1)
    polls("second", board.etag)
    polls("first", "old")
    assert caplog.text.count("two gateways have the name g") == 1
    polls("third", board.etag)
    assert len(board.gateways()) == 1
