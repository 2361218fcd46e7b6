"""Facts about exports of Langfuse, TensorZero and Open WebUI: what a row becomes, and what is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.formats import CLASSIFY, INFERENCE, RATING, TRACE, prompt, read, refusal, said


def test_a_trace_has_its_user_its_session_and_its_scores() -> None:
    (asked,), (vote,), _ = read(TRACE)
    assert (asked.id, asked.user, asked.conversation, asked.answer) == ("trace-1", "ada", "s-1", "Thanks!")
    assert asked.time == datetime(2026, 2, 1, 10, tzinfo=UTC) and prompt(asked) == (("user", "So good."),)
    assert (vote.id, *said(vote)) == ("sc-1", "trace-1", "thumbs", True, None)
    assert (vote.comment, vote.metadata) == ("kind", {"metric": "user-feedback"})


def test_a_trace_without_text_of_its_own_has_that_of_its_last_generation() -> None:
    (asked,), _, _ = read(TRACE | {"input": None, "output": None})
    assert asked.id == "trace-1" and prompt(asked) == (("user", "So good."),)
    assert refusal(TRACE | {"input": None, "observations": []}).field == "input"


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ({"value": 0, "dataType": "BOOLEAN"}, ("thumbs", False)),
        ({"value": 0.9, "dataType": "NUMERIC"}, ("rating", 0.9)),
        ({"value": 4}, ("rating", 4.0)),
        ({"value": "polite", "dataType": "CATEGORICAL"}, ("comment", "polite")),
        ({"value": 1, "stringValue": "polite", "dataType": "CATEGORICAL"}, ("comment", "polite")),
        ({"name": "label", "value": "good", "dataType": "CATEGORICAL"}, ("label", "good")),
        ({"value": "too long", "dataType": "TEXT"}, ("comment", "too long")),
        ({"name": "output", "value": "Thank you.", "dataType": "CORRECTION"}, ("correction", "Thank you.")),
        ({"name": "output", "stringValue": "GOOD", "dataType": "CORRECTION"}, ("label", "GOOD")),
        ({"name": "hallucination", "value": 1, "dataType": "BOOLEAN"}, ("flag", "hallucination")),
        ({"name": "hallucination", "value": 0, "dataType": "BOOLEAN"}, ("comment", "hallucination: false")),
    ],
)
def test_a_score_becomes_feedback_by_its_type(score: dict[str, Any], expected: tuple[str, Any]) -> None:
    row = {"id": "s", "traceId": "t", "name": "quality"} | score
    _, (vote,), _ = read(row, CLASSIFY)
    assert (vote.interaction_id, vote.type, vote.value) == ("t", *expected)


@pytest.mark.parametrize(
    ("score", "field"),
    [
        ({"value": 2, "dataType": "BOOLEAN"}, "value"),
        ({"value": "x", "dataType": "NUMERIC"}, "value"),
        ({"value": 1, "dataType": "STARS"}, "dataType"),
        ({"name": 5, "value": 1}, "name"),
        ({"value": None}, "value"),
    ],
)
def test_a_wrong_score_is_refused_with_its_field(score: dict[str, Any], field: str) -> None:
    assert refusal({"id": "s", "traceId": "t", "name": "quality"} | score).field == field


def test_scores_of_evaluators_are_left_out_and_those_of_annotators_are_reviewers() -> None:
    score = {"id": "s", "traceId": "t", "name": "quality", "value": 1, "dataType": "BOOLEAN"}
    assert read(score | {"source": "EVAL"})[2] == ["a score of an evaluator, not of a person"]
    _, (vote,), _ = read(score | {"source": "ANNOTATION", "authorUserId": "kim"})
    assert vote.user == "reviewer:kim"


def test_scores_by_name_as_in_the_export_of_a_table_are_read() -> None:
    _, votes, _ = read(TRACE | {"scores": {"helpful": [True, False], "my rating": 4}})
    assert [(vote.id, vote.type, vote.value) for vote in votes] == [
        ("trace-1:helpful:0", "thumbs", True),
        ("trace-1:helpful:1", "thumbs", False),
        ("trace-1:my_rating:0", "rating", 4.0),
    ]


def test_an_inference_has_its_episode_its_user_and_its_feedback() -> None:
    (asked,), (thumb, shown), _ = read(INFERENCE)
    assert prompt(asked) == (("system", "Be brief."), ("user", "So good."))
    assert (asked.id, asked.conversation, asked.user) == (INFERENCE["inference_id"], INFERENCE["episode_id"], "ada")
    assert said(thumb) == (asked.id, "thumbs", True, None) and said(shown)[1:3] == ("correction", "Thank you.")


def test_rows_as_the_database_has_them_are_read() -> None:
    stored = {
        "id": "0195aa37-0000-7000-8000-000000000001",
        "function_name": "draft",
        "variant_name": "v1",
        "input": json.dumps(INFERENCE["input"]),
        "output": json.dumps({"raw": '{"a": 1}', "parsed": {"a": 1}}),
        "dispreferred_outputs": [json.dumps([{"type": "text", "text": "No."}])],
    }
    (asked, worse), (pair,), _ = read(stored)
    assert (asked.answer, worse.answer) == ('{"a": 1}', "No.")
    assert pair.value == {"chosen": asked.id, "rejected": worse.id}
    rows = {
        "thumbs": {"id": "a", "target_id": asked.id, "metric_name": "accepted", "value": True},
        "rating": {"id": "b", "target_id": asked.id, "metric_name": "stars", "value": 4.5},
        "comment": {"id": "c", "target_id": asked.id, "target_type": "inference", "value": "too long"},
        "correction": {"id": "d", "inference_id": asked.id, "value": '[{"type": "text", "text": "Thank you."}]'},
    }
    for kind, row in rows.items():
        _, (vote,), _ = read(row)
        assert (vote.interaction_id, vote.type) == (asked.id, kind)
    _, (vote,), _ = read({"id": "e", "target_id": "ep", "target_type": "episode", "value": "slow"})
    assert (vote.interaction_id, vote.conversation_id) == (None, "ep")


def test_feedback_of_an_evaluator_is_left_out() -> None:
    tags = {"tensorzero::evaluator_inference_id": "x"}
    assert read({"id": "a", "target_id": "b", "metric_name": "m", "value": 1.0, "tags": tags})[2]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "raw_text", "value": "a"}, {"type": "text", "text": "b"}], "a\nb"),
        ([{"type": "template", "name": "t", "arguments": {"a": 1}}], '{"a":1}'),
        ("a", "a"),
    ],
)
def test_blocks_of_a_message_become_its_text(content: Any, text: str) -> None:
    row = INFERENCE | {"input": {"messages": [{"role": "user", "content": content}]}}
    assert prompt(read(row)[0][0]) == (("user", text),)
    picture = INFERENCE | {"input": {"messages": [{"role": "user", "content": [{"type": "image"}]}]}}
    assert refusal(picture).field == "input.messages.0"


def test_a_rating_has_the_answer_of_its_chat() -> None:
    (asked,), (vote,), _ = read(RATING)
    assert (asked.id, asked.user, asked.conversation, asked.answer) == ("m-2", "ada", "c-1", "Thanks!")
    assert prompt(asked) == (("user", "So good."),) and asked.time == datetime(2026, 1, 1, tzinfo=UTC)
    assert (vote.id, *said(vote), vote.comment) == ("9c1f", "m-2", "thumbs", True, "ada", "yes")
    assert vote.metadata == {"reason": "accurate_information", "model": "reviews"}
    assert refusal(RATING | {"data": {"rating": 5}}).field == "data.rating"
    assert refusal(RATING | {"snapshot": None}).field == "snapshot.chat"


def test_a_chat_that_is_a_circle_ends() -> None:
    messages = RATING["snapshot"]["chat"]["chat"]["history"]["messages"] | {
        "m-1": {"parentId": "m-1", "role": "user", "content": "again"}
    }
    row = RATING | {"snapshot": {"chat": {"chat": {"history": {"messages": messages}}}}}
    assert len(prompt(read(row)[0][0])) == 10_000
