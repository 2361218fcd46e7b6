"""Facts about signals: what each type takes, and that a refusal names the field."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.record_codec import decode, encode
from feedback.schema import MAX_BATCH, VALUES, parse

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
GOOD: list[tuple[str, Any]] = [
    ("thumbs", True),
    ("thumbs", False),
    ("rating", 4),
    ("rating", -1.5),
    ("rating", 0),
    ("label", "positive"),
    ("correction", "Better: …"),
    ("comment", "x" * 100_000),
    ("flag", "unsafe"),
    ("flag", "other"),
    ("preference", {"chosen": "i1", "rejected": "i2"}),
]
BAD: list[tuple[str, Any, str]] = [
    ("thumbs", 1, "thumbs takes true or false"),
    ("thumbs", "true", "thumbs takes"),
    ("thumbs", None, "thumbs takes"),
    ("rating", True, "finite number"),
    ("rating", "4", "finite number"),
    ("rating", 1e9, "finite number"),
    ("rating", float("nan"), "finite number"),
    ("rating", float("inf"), "finite"),
    ("rating", 10**400, "finite number"),
    ("rating", None, "finite number"),
    ("label", "", "1 to 100,000"),
    ("label", "  ", "text"),
    ("label", 5, "text"),
    ("label", ["a"], "text"),
    ("correction", None, "text"),
    ("comment", "x" * 100_001, "1 to 100,000"),
    ("flag", "bad", "unsafe, hallucination, private, other"),
    ("flag", ["unsafe"], "one of"),
    ("flag", None, "one of"),
    ("preference", "i1", "chosen"),
    ("preference", {"chosen": "a"}, "rejected"),
    ("preference", {"chosen": "a", "rejected": "a"}, "same interaction"),
    ("preference", {"chosen": "a", "rejected": "b", "by": 1}, "chosen"),
    ("preference", {"chosen": "a b", "rejected": "b"}, "chosen"),
]


def signal(kind: str, value: Any, **fields: Any) -> dict[str, Any]:
    about = {} if kind == "preference" else {"interaction_id": "i1"}
    return {"type": kind, "value": value} | about | fields


def refusal(body: Any) -> str:
    with pytest.raises(InputError) as caught:
        parse(body, lambda: NOW)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_a_good_value_becomes_a_record_that_survives_the_wire(kind: str, value: Any) -> None:
    (record,) = parse(signal(kind, value, user="ada", comment="why"), lambda: NOW)
    assert (record.type, record.value, record.user, record.time) == (kind, value, "ada", NOW)
    assert decode(encode(record)) == record


@pytest.mark.parametrize(("kind", "value", "words"), BAD)
def test_a_bad_value_is_refused_with_what_the_type_takes(kind: str, value: Any, words: str) -> None:
    assert words in refusal(signal(kind, value))


def test_every_type_is_tried_here() -> None:
    assert {kind for kind, _ in GOOD} == {kind for kind, _, _ in BAD} == set(VALUES)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"typ": "x"}, "typ: no such field. Fields: id, interaction_id"),
        ({"type": "stars"}, "type: "),
        ({"interaction_id": None}, "exactly one of interaction_id and conversation_id"),
        ({"conversation_id": "c"}, "exactly one of interaction_id and conversation_id"),
        ({"interaction_id": ""}, "interaction_id: "),
        ({"interaction_id": "a b"}, "interaction_id: "),
        ({"interaction_id": "a\n"}, "interaction_id: "),
        ({"interaction_id": "x" * 129}, "interaction_id: "),
        ({"interaction_id": 5}, "interaction_id: "),
        ({"id": "ü"}, "id: "),
        ({"user": "a\0"}, "user: has a NUL character at position 2"),
        ({"user": "x" * 513}, "user: is 513 characters long, the limit is 512"),
        ({"metadata": {"a": "\ud800"}}, "metadata.a: has half of a surrogate pair (U+D800) at position 1"),
        ({"metadata": {"\ud800": "a"}}, "metadata: has half of a surrogate pair"),
        ({"comment": "x" * 10_001}, "comment: "),
        ({"metadata": {"a": 1}}, "metadata.a: "),
        ({"metadata": {"a": "x" * 513}}, "metadata.a: "),
        ({"metadata": {"k" * 65: "x"}}, "metadata."),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata: "),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], words: str) -> None:
    assert words in refusal(signal("thumbs", True) | fields)


def test_a_preference_names_its_interactions_in_its_value_only() -> None:
    pair = {"chosen": "i1", "rejected": "i2"}
    assert "leave interaction_id" in refusal({"type": "preference", "value": pair, "interaction_id": "i1"})


def test_a_batch_names_the_entry_that_is_wrong() -> None:
    good = signal("thumbs", True)
    assert len(parse([good] * MAX_BATCH, lambda: NOW)) == MAX_BATCH
    assert refusal([good, good, good | {"foo": 1}]).startswith("2.foo: no such field")
    assert refusal([good, {"type": "thumbs", "value": True}]).startswith("1: name exactly one")
    assert f"1 to {MAX_BATCH}" in refusal([good] * (MAX_BATCH + 1))
    assert f"1 to {MAX_BATCH}" in refusal([])


@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "value", "interaction_id", "id", "x"]), inner, max_size=3)
        ),
    )
)
def test_anything_else_is_refused_and_never_a_crash(body: Any) -> None:
    refusal(body)


def test_ids_are_made_where_none_is_given() -> None:
    records = parse([signal("thumbs", True)] * 5, lambda: NOW)
    assert len({record.id for record in records}) == 5
    assert all(record.id.startswith("fb-") for record in records)


def test_a_label_is_kept_in_one_form() -> None:
    (record,) = parse(signal("label", "tre\u0300s bien"), lambda: NOW)
    assert record.value == "tr\u00e8s bien"


@pytest.mark.parametrize("value", [1, 1.5, True])
def test_a_label_that_is_no_text_is_refused_with_the_fix(value: Any) -> None:
    assert f'write the label in quotes: "{value}"' in refusal(signal("label", value))


def test_nobody_is_named_by_an_empty_user_as_in_a_completion() -> None:
    (record,) = parse(signal("thumbs", True, user=""), lambda: NOW)
    assert record.user is None


CALL = {"name": "refund", "arguments": {"why": "late", "order": 7}}
CANONICAL = {"tool_calls": [{"arguments": {"order": 7, "why": "late"}, "name": "refund"}]}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"tool_calls": [CALL]}, CANONICAL),
        ({"tool_calls": [{"id": "1", "type": "function", "function": CALL}]}, CANONICAL),
        ({"tool_calls": [{"function": CALL | {"arguments": '{"why": "late", "order": 7}'}}]}, CANONICAL),
        ({"tool_calls": [{"name": "ping"}]}, {"tool_calls": [{"arguments": {}, "name": "ping"}]}),
        ({"b": [1, {"d": None, "c": 1.5}], "a": "é"}, {"a": "é", "b": [1, {"c": 1.5, "d": None}]}),
        ([1, 2], [1, 2]),
        ("text", "text"),
    ],
)
def test_a_correction_may_be_calls_of_tools_or_json_in_one_form(value: Any, kept: Any) -> None:
    (found,) = parse({"interaction_id": "i", "type": "correction", "value": value}, lambda: NOW)
    assert found.value == kept and json.dumps(found.value) == json.dumps(kept)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"tool_calls": []}, "tool_calls takes a list of calls"),
        ({"tool_calls": "x"}, "tool_calls takes a list of calls"),
        ({"tool_calls": [{"arguments": {}}]}, "tool_calls.0 has no name"),
        ({"tool_calls": [CALL, {"name": "x", "arguments": "[1]"}]}, "tool_calls.1.arguments is not a JSON object"),
        ({}, "takes a text"),
        (7, "takes a text"),
        ({"a": "x" * 100_001}, "takes a text of 1 to 100,000 characters"),
    ],
)
def test_a_wrong_correction_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse({"interaction_id": "i", "type": "correction", "value": value}, lambda: NOW)
    assert error.value.field == "value"
