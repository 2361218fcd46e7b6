"""Facts about stored completions: what an app finds again with OpenAI's own client, and what nobody else does."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from core.api_keys import Scope
from core.db import curation
from core.records import StoredCompletion
from core.settings import ModelSettings
from feedback.curation import Curated
from feedback.snapshot import curate_store
from serve.gateway.capture import StreamRecorder
from tests.support.responses_world import World

MESSAGES: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "so good"}]
ANSWER = "reviews-7 heard so good"


@pytest.fixture
def world(gateway: Any) -> Iterator[World]:
    made = World(gateway)
    yield made
    made.close()


def ask(client: openai.OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(**{"model": "reviews", "messages": MESSAGES, "store": True} | options)


def ids(found: Any) -> list[str]:
    return [completion.id for completion in found]


def test_what_was_stored_is_found_at_once_as_it_was_given(world: World) -> None:
    client = world.client()
    made = ask(client, metadata={"page": "cart"}, temperature=0.5, user="ada")
    found: Any = client.chat.completions.retrieve(made.id)
    assert (found.id, found.choices, found.usage, found.model) == (made.id, made.choices, made.usage, made.model)
    assert (found.metadata, found.temperature, found.request_id) == ({"page": "cart"}, 0.5, made.id)
    assert (found.input_user, found.seed, found.object) == ("ada", None, "chat.completion")


def test_nothing_is_kept_of_what_was_not_asked_to_be(world: World) -> None:
    client = world.client()
    for options in ({"store": False}, {"store": openai.omit}):
        made = ask(client, **options)
        with pytest.raises(openai.NotFoundError, match="There is no stored completion"):
            client.chat.completions.retrieve(made.id)
    world.gateway.engine.fault = "error"
    with pytest.raises(openai.InternalServerError):
        ask(client)
    world.gateway.engine.fault = ""
    client.completions.create(model="reviews", prompt="x", extra_body={"store": True})
    assert client.chat.completions.list().data == []


def test_a_stream_is_stored_like_a_whole_answer(world: World) -> None:
    client = world.client()
    identity = next(iter({chunk.id for chunk in ask(client, stream=True)}))
    streamed, whole = client.chat.completions.retrieve(identity), client.chat.completions.retrieve(ask(client).id)
    assert streamed.choices[0].message.content == ANSWER
    alike = {"choices", "usage", "model", "object", "metadata"}
    assert streamed.model_dump(include=alike, exclude={"choices": {0: {"logprobs"}}}) == whole.model_dump(
        include=alike, exclude={"choices": {0: {"logprobs"}}}
    )


def test_a_broken_stream_is_not_stored(world: World) -> None:
    client = world.client()
    world.gateway.engine.fault = "break"
    with pytest.raises(openai.APIError):
        list(ask(client, stream=True))
    assert client.chat.completions.list().data == []


def test_pages_follow_each_other_in_either_order_also_after_one_that_was_deleted(world: World) -> None:
    client = world.client()
    made = [ask(client).id for _ in range(5)]
    first = client.chat.completions.list(limit=2)
    assert (ids(first.data), first.has_more) == (made[:2], True)
    assert ids(client.chat.completions.list(limit=2)) == made
    assert ids(client.chat.completions.list(limit=2, order="desc")) == made[::-1]
    client.chat.completions.delete(made[1])
    assert ids(client.chat.completions.list(after=made[1]).data) == made[2:]
    assert ids(client.chat.completions.list(after=made[1], order="desc").data) == made[:1]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.list(after="chatcmpl-none")
    for wrong in ({"limit": 0}, {"limit": 101}, {"order": "up"}):
        with pytest.raises(openai.UnprocessableEntityError):
            client.chat.completions.list(**wrong)  # type: ignore[arg-type]


def test_a_list_is_of_one_model_or_has_such_metadata(world: World) -> None:
    client = world.client()
    cart = ask(client, metadata={"page": "cart", "a[b]": "%"})
    shop = ask(client, metadata={"page": "shop"})
    bare = ask(client)
    for name in ("reviews", "reviews@7", cart.model):
        assert ids(client.chat.completions.list(model=name)) == [cart.id, shop.id, bare.id]
    assert ids(client.chat.completions.list(model="poems")) == []
    assert ids(client.chat.completions.list(metadata={"page": "cart"})) == [cart.id]
    assert ids(client.chat.completions.list(metadata={"page": "cart", "a[b]": "%"})) == [cart.id]
    assert ids(client.chat.completions.list(metadata={"page": "shop", "a[b]": "%"})) == []
    assert ids(client.chat.completions.list(metadata={"page": "' OR 1=1 --"})) == []


def test_the_messages_are_those_that_were_answered(world: World) -> None:
    client = world.client()
    parts = [{"type": "text", "text": "so"}, {"type": "text", "text": "good"}]
    made = ask(client, messages=[*MESSAGES, {"role": "user", "content": parts}])
    found = client.chat.completions.messages.list(made.id)
    assert [(m.id, m.role, m.content) for m in found.data] == [
        (f"{made.id}-0", "system", "Be brief."),
        (f"{made.id}-1", "user", "so good"),
        (f"{made.id}-2", "user", None),
    ]
    assert [part.model_dump(exclude_none=True) for part in found.data[2].content_parts or ()] == parts
    assert [m.id[-1] for m in client.chat.completions.messages.list(made.id, limit=1)] == ["0", "1", "2"]
    assert [m.id[-1] for m in client.chat.completions.messages.list(made.id, limit=1, order="desc")] == ["2", "1", "0"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.messages.list(made.id, after="nowhere")


def test_metadata_is_replaced_whole(world: World) -> None:
    client = world.client()
    made = ask(client, metadata={"page": "cart", "old": "1"})
    assert client.chat.completions.update(made.id, metadata={"page": "shop"}).metadata == {"page": "shop"}
    assert client.chat.completions.retrieve(made.id).metadata == {"page": "shop"}
    assert client.chat.completions.update(made.id, metadata=None).metadata == {}


LONG: list[tuple[Any, str]] = [
    ({str(n): "" for n in range(17)}, "16 pairs"),
    ({"n" * 65: "x"}, "64 characters"),
    ({"n": "x" * 513}, "512"),
    ({"n": 1}, "takes a string"),
    ({"n": None}, "takes a string"),
    ([], "an object"),
    ("x", "an object"),
]


def test_metadata_that_openai_would_refuse_is_refused_by_name_on_both_ways_in(world: World) -> None:
    client = world.client()
    made = ask(client, metadata={"n" * 64: "x" * 512})
    before = len(world.gateway.engine.requests)
    for metadata, words in LONG:
        with pytest.raises(openai.UnprocessableEntityError, match=words):
            ask(client, metadata=metadata)
        with pytest.raises(openai.UnprocessableEntityError, match=words):
            client.chat.completions.update(made.id, metadata=metadata)
    with pytest.raises(openai.UnprocessableEntityError, match="Only metadata"):
        client.post(f"/chat/completions/{made.id}", body={"metadata": {}, "model": "x"}, cast_to=object)
    assert len(world.gateway.engine.requests) == before


def test_a_key_sees_changes_and_deletes_nothing_of_another_key(world: World) -> None:
    mine, theirs = world.client(), world.client(Scope.INFER, Scope.FEEDBACK)
    made = ask(mine)
    chats = theirs.chat.completions
    calls = (
        lambda: chats.retrieve(made.id),
        lambda: chats.messages.list(made.id),
        lambda: chats.delete(made.id),
        lambda: chats.update(made.id, metadata={}),
        lambda: chats.list(after=made.id),
    )
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    assert chats.list().data == []
    assert mine.chat.completions.retrieve(made.id).id == made.id


def test_readers_of_operations_see_all_keys_completions_and_only_writers_change_them(world: World) -> None:
    app, reader = world.client(), world.client(Scope.INFER, Scope.OPS_READ)
    writer, elsewhere = world.client(Scope.OPS_WRITE), world.client(Scope.ADMIN, models=("poems",))
    made = ask(app)
    assert ids(reader.chat.completions.list()) == [made.id]
    with pytest.raises(openai.NotFoundError):
        reader.chat.completions.delete(made.id)
    with pytest.raises(openai.PermissionDeniedError):
        writer.chat.completions.retrieve(made.id)
    for call in (elsewhere.chat.completions.retrieve, elsewhere.chat.completions.delete):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    assert writer.chat.completions.delete(made.id).deleted


def learnt(world: World) -> Curated:
    return curate_store(world.store, "reviews", ModelSettings(labels=["a", "b"]))


def test_a_deleted_one_is_gone_with_its_text_and_trains_nothing_but_its_counts_stay(world: World) -> None:
    client = world.client(Scope.INFER, Scope.FEEDBACK)
    made = ask(client, user="ada")
    world.gateway.http.post(
        "/v1/feedback",
        json={"interaction_id": made.id, "type": "label", "value": "a"},
        headers={"Authorization": f"Bearer {client.api_key}"},
    )
    world.gateway.until(lambda: curation.votes(world.store, model="reviews", with_answers=True).num_rows == 1)
    assert len(learnt(world).rows) == 1
    gone = client.chat.completions.delete(made.id)
    assert gone.model_dump() == {"id": made.id, "object": "chat.completion.deleted", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.delete(made.id)
    found = learnt(world)
    assert len(found.rows) == 0 and found.reasons() == {"the prompt is not kept": 1}
    with world.store.transaction() as transaction:
        for table in ("interactions", "stored_completions", "feedback"):
            text = str(transaction._connection.execute(f"SELECT * FROM {table}").fetchall())
            assert "so good" not in text and "heard" not in text and made.id in text


def test_with_control_dead_it_is_503_and_what_is_stored_then_is_not_lost(world: World) -> None:
    client = world.client()
    world.control.close()
    made = ask(client)
    assert made.choices[0].message.content == ANSWER
    for call in (client.chat.completions.list, lambda: client.chat.completions.retrieve(made.id)):
        with pytest.raises(openai.InternalServerError) as caught:
            call()
        assert caught.value.status_code == 503 and caught.value.response.headers["retry-after"] == "2"
        assert caught.value.code == "control_down"
    _, stored = world.gateway.spooled()[-2:]
    assert isinstance(stored, StoredCompletion) and stored.id == made.id


def test_a_page_or_an_id_of_any_shape_reaches_nothing_else(world: World) -> None:
    client = world.client()
    ask(client)
    for odd in ("%2e%2e%2fpage", "x%00", "é", "a" * 5000, "%25", "..%2F..%2Finternal%2Froutes"):
        answer = world.gateway.http.get(
            f"/v1/chat/completions/{odd}", headers={"Authorization": f"Bearer {client.api_key}"}
        )
        assert answer.status_code == 404, odd


def piece(**delta: Any) -> bytes:
    return json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta}]}).encode()


def test_tool_calls_choices_and_scores_are_put_together_from_their_pieces() -> None:
    tee = StreamRecorder()
    call = {"index": 0, "id": "t1", "type": "function", "function": {"name": "rate", "arguments": ""}}
    for event in (
        piece(role="assistant", content=""),
        piece(tool_calls=[call]),
        piece(reasoning="hm"),
        piece(tool_calls=[{"index": 0, "function": {"arguments": '{"a":'}}]),
        b"{torn",
        b"ping",
        piece(tool_calls=[{"index": 1, "id": "t2", "function": {"name": "other", "arguments": "{}"}}]),
        piece(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
        b'{"choices": [{"index": 1, "delta": {"content": "hi"}, "finish_reason": "stop", '
        b'"logprobs": {"content": [{"token": "hi"}]}}]}',
        b'{"choices": [], "usage": {"total_tokens": 3}}',
    ):
        tee.take(event)
    found = tee.completion()
    assert found is not None and found["usage"] == {"total_tokens": 3}
    first, second = found["choices"]
    assert first["message"] == {
        "role": "assistant",
        "content": None,
        "reasoning": "hm",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "rate", "arguments": '{"a":1}'}},
            {"id": "t2", "type": "function", "function": {"name": "other", "arguments": "{}"}},
        ],
    }
    assert (second["message"]["content"], second["finish_reason"]) == ("hi", "stop")
    assert second["logprobs"] == {"content": [{"token": "hi"}]}


def test_a_stream_above_the_bound_is_not_stored() -> None:
    tee = StreamRecorder(28)
    for _ in range(10):
        tee.take(piece(content="word"))
    assert tee.completion() is None and tee.text == "word" * 7
