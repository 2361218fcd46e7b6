"""Facts about what is kept of an answer."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.gateway.answers import Answer as Told
from serve.gateway.answers import read_answer
from serve.gateway.capture import StreamRecorder

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def event(body: Any) -> bytes:
    return json.dumps(body).encode()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(texts, st.booleans(), st.integers(0, 1)), max_size=10), st.integers(0, 40))
def test_a_tee_gathers_texts_up_to_its_bound(pieces: list[Any], limit: int) -> None:
    tee = StreamRecorder(limit)
    wanted, left = ["", ""], limit
    for text, _, index in pieces:
        assert tee.take(event({"choices": [{"index": index, "delta": {"content": text}}]})) is False
        wanted[index], left = wanted[index] + text[: max(left, 0)], left - len(text)
    answer = tee.answer()
    assert tee.text == (wanted[0] if any(index == 0 for *_, index in pieces) else wanted[1])
    assert any(choice.get("cut") for choice in answer.choices or ()) is tee.is_cut is (left < 0)


def test_a_tee_tells_usage_from_content() -> None:
    tee = StreamRecorder()
    usage = {"prompt_tokens": 3}
    choice = {"index": 0, "delta": {"content": None}, "finish_reason": "length"}
    assert tee.take(event({"choices": [choice], "usage": usage})) is False
    assert tee.take(event({"choices": [], "usage": usage})) is True
    assert tee.take(event({"choices": [], "usage": None})) is False
    assert (tee.usage, tee.answer(), tee.failed) == (usage, Told(None, "length"), False)


@pytest.mark.parametrize("noise", [b"", b"ping", b"[DONE]", b"{torn", b'{"error"', b'["usage"]'])
def test_a_tee_lets_by_what_it_does_not_read(noise: bytes) -> None:
    tee = StreamRecorder()
    assert tee.take(noise) is False and not tee.failed
    tee.take(event({"error": {"message": "x"}}))
    assert tee.failed


def test_a_plain_answer_is_its_text_and_finish_reason() -> None:
    message = {"role": "assistant", "content": "a", "refusal": None, "tool_calls": [], "reasoning": None}
    assert read_answer([]) == Told()
    assert read_answer([{"index": 0, "message": message, "logprobs": None}]) == Told("a")
    assert read_answer([{"text": "a", "finish_reason": "stop"}]) == Told("a", "stop")


CALL = {"id": "t1", "type": "function", "function": {"name": "rate", "arguments": '{"a":1}'}}


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [CALL]},
        {"content": None, "refusal": "I cannot help with that."},
        {"content": "4", "reasoning_content": "2 and 2"},
    ],
)
def test_what_is_more_than_text_is_kept_whole(message: dict[str, Any]) -> None:
    kept = {name: part for name, part in message.items() if part is not None}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    found = read_answer([choice])
    assert found == Told(message["content"], "tool_calls", [{**choice, "message": kept}])


def test_a_text_in_parts_is_kept_whole_and_an_empty_one_is_no_text() -> None:
    parts = [{"type": "text", "text": "a"}]
    assert read_answer([{"message": {"content": parts}}]) == Told(None, None, [{"message": {"content": parts}}])
    assert read_answer([{"message": {"content": []}}]) == Told()
    assert read_answer([{"message": {"content": [], "refusal": "No."}}]).choices == [{"message": {"refusal": "No."}}]


@pytest.mark.parametrize("choices", [None, {"a": 1}, "text", 3])
def test_choices_that_are_no_list_are_an_error(choices: Any) -> None:
    with pytest.raises(TypeError):
        read_answer(choices)


def test_every_choice_is_kept_with_its_log_probabilities() -> None:
    scores = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": []}]}
    choices = [{"index": n, "message": {"content": text}, "logprobs": scores} for n, text in enumerate("ab")]
    assert read_answer(choices) == Told("a", None, choices)


def test_an_answer_above_the_limit_loses_its_log_probabilities_first_and_is_then_cut() -> None:
    choice: dict[str, Any] = {"index": 0, "message": {"content": "x" * 200}, "logprobs": {"content": ["y" * 200]}}
    fewer = {"index": 0, "message": {"content": "x" * 200}}
    assert read_answer([choice, choice | {"index": 1}], 700).choices == [fewer, fewer | {"index": 1}]
    (cut,) = read_answer([choice], 100).choices or ()
    assert cut["cut"] is True and cut["message"]["content"] == "x" * 100
    assert read_answer([{"text": "x" * 200}], 100).text == "x" * 100


pieces_of_calls = st.lists(st.tuples(st.integers(0, 2), st.text(max_size=5)), max_size=8)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(texts, texts, pieces_of_calls), min_size=1, max_size=3))
def test_a_stream_gives_the_answer_that_the_response_gives(answers: list[Any]) -> None:
    tee, choices = StreamRecorder(), []
    for index, (content, reasoning, calls) in enumerate(answers):
        for name, text in (("content", content), ("reasoning", reasoning)):
            for letter in text:
                tee.take(event({"choices": [{"index": index, "delta": {name: letter}}]}))
        begun: dict[int, str] = {}
        for place, text in calls:
            function = {"arguments": text} | ({} if place in begun else {"name": f"tool{place}"})
            call = {"index": place, "function": function} | ({} if place in begun else {"id": f"c{place}"})
            tee.take(event({"choices": [{"index": index, "delta": {"tool_calls": [call]}}]}))
            begun[place] = begun.get(place, "") + text
        tee.take(event({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}))
        whole = [
            {"id": f"c{n}", "type": "function", "function": {"name": f"tool{n}", "arguments": text}}
            for n, text in sorted(begun.items())
        ]
        parts = {"role": "assistant", "content": content or None, "reasoning": reasoning or None, "tool_calls": whole}
        choices.append({"index": index, "message": parts, "finish_reason": "stop"})
    assert tee.answer() == read_answer(choices)
