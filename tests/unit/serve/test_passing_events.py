"""Facts about the events of a stream on their way to the client, however the engine and the network cut them."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serve.gateway.answer_names import AnswerNames
from serve.gateway.capture import StreamRecorder
from serve.gateway.passing_events import PlainEvents

HEAD = {"id": "chatcmpl-engine", "object": "chat.completion.chunk", "created": 7, "model": "reviews-7"}
RIGHT = {"id": "chatcmpl-ours", "model": "reviews@7"}


def delta(text: str, **more: Any) -> dict[str, Any]:
    return HEAD | {"choices": [{"index": 0, "delta": {"content": text}}]} | more


EVENTS: Any = st.one_of(
    st.text(max_size=9).map(delta),
    st.just(delta("x", usage={"total_tokens": 3})),
    st.just(HEAD | {"choices": [], "usage": {"total_tokens": 3}}),
    st.just(delta('"model":"reviews-7"', created=8)),
    st.just(delta("other", id="chatcmpl-other")),
    st.just({"choices": []} | HEAD),  # another order: another beginning
)


def wire(event: dict[str, Any], spaced: bool) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(event, separators=separators).encode() + b"\n\n"


def cut(content: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(content) + 1) for place in places} | {0, len(content)})
    return [content[begin:end] for begin, end in pairwise(ends)]


@settings(deadline=None, max_examples=200)
@given(st.lists(EVENTS, min_size=1, max_size=12), st.booleans(), st.lists(st.integers(0, 5000), max_size=12))
@example([delta("a"), delta("b"), delta("c")], False, [])
def test_every_event_passes_with_the_right_names_and_is_captured(
    events: list[dict[str, Any]], spaced: bool, places: list[int]
) -> None:
    tee = StreamRecorder()
    passing = PlainEvents(
        AnswerNames(identity=RIGHT["id"], model=RIGHT["model"], hides_prompt=False), tee, shows_usage=True
    )
    parts = [wire(event, spaced) for event in events]
    chunks = parts if not places else cut(b"".join(parts), places)
    sent = b"".join(passing.take(chunk) for chunk in chunks) + passing.end()
    found = [json.loads(part.removeprefix(b"data: ")) for part in sent.split(b"\n\n")[:-1]]
    known = events[0]["id"]
    assert found == [event | RIGHT if event["id"] == known else event | {"model": RIGHT["model"]} for event in events]
    assert tee.text == "".join(c["delta"]["content"] for event in events for c in event["choices"])
    assert (tee.usage != {}) is any("usage" in event for event in events)


@pytest.mark.parametrize(
    "odd",
    [
        b": a comment\n\n",
        b"event: x\ndata: {}\n\n",
        b"data: {torn\n\n",
        b"data: []\n\n",
        b"data:\n\n",
    ],
)
def test_an_odd_event_between_usual_ones_passes_as_it_came(odd: bytes) -> None:
    tee = StreamRecorder()
    passing = PlainEvents(
        AnswerNames(identity=RIGHT["id"], model=RIGHT["model"], hides_prompt=False), tee, shows_usage=True
    )
    sent = [passing.take(part) for part in (wire(delta("a"), False), odd, wire(delta("b"), False))]
    assert sent == [wire(delta("a") | RIGHT, False), odd, wire(delta("b") | RIGHT, False)]
    assert passing.take(b"data: [DONE]\n\n") == b"data: [DONE]\n\n" and passing.done
    assert tee.text == "ab"


def test_usage_and_errors_between_usual_events_are_seen() -> None:
    tee = StreamRecorder()
    names = AnswerNames(identity=RIGHT["id"], model=RIGHT["model"], hides_prompt=False)
    passing = PlainEvents(names, tee, shows_usage=False)
    passing.take(wire(delta("a"), False))
    assert passing.take(wire(HEAD | {"choices": [], "usage": {"total_tokens": 3}}, False)) == b""
    assert b"error" in passing.take(wire(HEAD | {"error": {"message": "x"}}, False))
    assert tee.usage == {"total_tokens": 3} and tee.failed


def test_the_prompt_is_taken_out_of_every_event() -> None:
    names = AnswerNames(identity=RIGHT["id"], model=RIGHT["model"], hides_prompt=True)
    passing = PlainEvents(names, StreamRecorder(), shows_usage=False)
    for _ in range(3):
        sent = passing.take(wire(delta("a", prompt_token_ids=[1, 2]), False))
        assert json.loads(sent.removeprefix(b"data: ")) == delta("a") | RIGHT
