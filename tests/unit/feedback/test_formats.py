"""Facts about files of examples and preferences: what a row becomes, and what is refused with its field."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.record_codec import decode, encode
from feedback.formats.metrics import Metrics, text_of
from feedback.formats.registry import Format, guess, parts_of
from feedback.formats.source import LeftOut, Target
from tests.support.formats import (
    ASKED,
    CHAT,
    CLASSIFY,
    GENERATE,
    INFERENCE,
    NOW,
    PAIR,
    RATING,
    SUPERVISED,
    TRACE,
    prompt,
    read,
    refusal,
    said,
)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (SUPERVISED, Format.OPENAI),
        (PAIR, Format.OPENAI),
        (CHAT, Format.PREFERENCES),
        ({"prompt": "a", "completion": "b", "label": True}, Format.PREFERENCES),
        (TRACE, Format.LANGFUSE),
        (TRACE["observations"][1] | {"startTime": "2026-02-01T10:00:00Z"}, Format.LANGFUSE),
        (TRACE["scores"][0], Format.LANGFUSE),
        (INFERENCE, Format.TENSORZERO),
        ({"id": "a", "target_id": "b", "metric_name": "m", "value": 1.0}, Format.TENSORZERO),
        (RATING, Format.OPEN_WEBUI),
        ({"id": "f", "type": "rating", "value": 3, "interaction_id": "i"}, Format.LORALOOP),
    ],
)
def test_the_fields_of_a_row_show_its_format(row: dict[str, Any], expected: Format) -> None:
    assert guess([(1, InputError("bad line")), (2, row)]).format is expected


def test_a_file_of_no_known_format_is_refused_with_the_names() -> None:
    with pytest.raises(InputError, match=r"Line 3 has the fields a, b.*--format: loraloop, openai"):
        guess([(3, {"a": 1, "b": 2})])


def test_every_format_names_a_row_that_is_not_its_own() -> None:
    for name in Format:
        with pytest.raises(InputError, match=f"does not have the fields of {name}"):
            parts_of(name)({"x": 1}, GENERATE)


@pytest.mark.parametrize("row", [SUPERVISED, PAIR, CHAT, TRACE, INFERENCE, RATING])
def test_a_row_makes_the_same_ids_each_time_and_feedback_meets_its_interaction(row: dict[str, Any]) -> None:
    target = CLASSIFY if row is SUPERVISED else GENERATE
    interactions, votes, _ = read(row, target)
    again = read(json.loads(json.dumps(row)), target)
    assert ([each.id for each in interactions], [each.id for each in votes]) == (
        [each.id for each in again[0]],
        [each.id for each in again[1]],
    )
    known = {each.id for each in interactions}
    for vote in votes:
        assert {vote.interaction_id} <= known or set(vote.value.values()) == known


def test_a_supervised_example_is_a_label_or_a_correction_by_the_model() -> None:
    (asked,), (vote,), _ = read(SUPERVISED, CLASSIFY)
    assert prompt(asked) == (("system", "Be brief."), ("user", "So good."))
    assert (asked.model, asked.answer, asked.arm, asked.time) == ("reviews", None, "pinned", NOW)
    assert said(vote) == (asked.id, "label", "Good", None)
    _, (vote,), _ = read(SUPERVISED | {"user": "ada"}, GENERATE)
    assert (vote.type, vote.value, vote.user) == ("correction", "Good", "ada")


def test_an_example_that_is_no_label_or_has_no_answer_to_learn_from_is_refused() -> None:
    wrong = {"messages": [ASKED, {"role": "assistant", "content": "Great"}]}
    assert "'Great' is not a label of reviews. Labels: good, bad." in str(refusal(wrong, CLASSIFY))
    assert "not an assistant's answer" in str(refusal({"messages": [ASKED]}))
    unweighted = {"messages": [ASKED, {"role": "assistant", "content": "Good", "weight": 0}]}
    assert "not an assistant's answer" in str(refusal(unweighted))
    assert refusal({"messages": [ASKED, "text"]}).field == "messages.1"
    called = {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"id": "1"}]}]}
    assert "messages: has no text" in str(refusal(called))


def test_a_pair_is_two_interactions_and_a_preference() -> None:
    for row in (PAIR, CHAT, {"prompt": "So good.", "chosen": "Thanks!", "rejected": "OK."}):
        (better, worse), (vote,), _ = read(row)
        assert prompt(better) == prompt(worse) == (("user", "So good."),)
        assert (better.answer, worse.answer) == ("Thanks!", "OK.")
        assert (vote.type, vote.value) == ("preference", {"chosen": better.id, "rejected": worse.id})
    same = PAIR | {"non_preferred_output": PAIR["preferred_output"]}
    assert "the same text" in str(refusal(same))
    assert refusal({"input": {}, "preferred_output": []}).field == "non_preferred_output"


def test_a_dialogue_as_one_text_is_split_into_turns() -> None:
    before = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: So good.\n\nAssistant:"
    (better, _), _, _ = read({"chosen": f"{before} Thanks!", "rejected": f"{before} OK."})
    assert (
        prompt(better) == (("user", "Hi"), ("assistant", "Hello"), ("user", "So good.")) and better.answer == "Thanks!"
    )
    assert refusal({"chosen": "no turns", "rejected": "none"}).field == "chosen"


def test_chosen_and_rejected_of_two_prompts_are_refused() -> None:
    other = [{"role": "user", "content": "Other"}, {"role": "assistant", "content": "OK."}]
    assert "different prompts" in str(refusal(CHAT | {"rejected": other}))


def test_a_completion_with_a_label_is_a_thumb_and_without_one_the_right_answer() -> None:
    (asked,), (vote,), _ = read({"prompt": [ASKED], "completion": "Thanks!", "label": False})
    assert asked.answer == "Thanks!" and said(vote) == (asked.id, "thumbs", False, None)
    _, (vote,), _ = read({"prompt": "So good.", "completion": "good", "label": None}, CLASSIFY)
    assert (vote.type, vote.value) == ("label", "good")
    assert refusal({"prompt": "a", "completion": "b", "label": "yes"}).field == "label"


def test_the_field_of_the_user_can_be_named() -> None:
    target = Target("support", (), GENERATE.metrics, NOW, "annotator")
    _, (vote,), _ = read(CHAT | {"annotator": 17}, target)
    assert vote.user == "17"


def test_the_settings_decide_what_a_metric_means() -> None:
    metrics = Metrics.of({"escalated": "thumbs_inverted", "topic": "label", "speed": "comment"}, [])
    assert metrics.signal("escalated", True) == {"type": "thumbs", "value": False}
    assert metrics.signal("topic", "billing") == {"type": "label", "value": "billing"}
    assert metrics.signal("speed", 3) == {"type": "comment", "value": "speed: 3"}
    with pytest.raises(InputError, match="value: escalated takes true or false"):
        metrics.signal("escalated", "maybe")
    with pytest.raises(InputError, match="value: rating takes a number"):
        metrics.signal("rating", True)
    with pytest.raises(InputError, match="value: label takes a text"):
        metrics.signal("label", 5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ({"role": "assistant", "content": "a"}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"choices": [{"message": {"content": "a"}}]}, "a"),
        ([], None),
        ({"content": None}, None),
        (5, None),
    ],
)
def test_the_text_of_an_answer_in_every_form(value: Any, text: str | None) -> None:
    assert text_of(value) == text


SAMPLES = [SUPERVISED, PAIR, CHAT, {"prompt": "a", "completion": "b", "label": True}, TRACE, INFERENCE, RATING]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "id", "messages", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in inner:
        yield (*path, name)
        yield from places(value, (*path, name))


@settings(deadline=None, max_examples=400)
@given(st.sampled_from(SAMPLES).flatmap(lambda row: st.tuples(st.just(row), st.sampled_from(list(places(row))))), JSON)
def test_whatever_a_field_holds_a_row_is_read_or_refused(chosen: tuple[Any, tuple[Any, ...]], value: Any) -> None:
    sample, path = chosen
    row = copy.deepcopy(sample)
    node = row
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    read = parts_of(guess([(1, sample)]).format)
    try:
        found = read(row, GENERATE)
    except InputError:
        return
    assert all(isinstance(decode(encode(part)), type(part)) for part in found if not isinstance(part, LeftOut))
