"""Facts about the KPIs of answers that are JSON or calls of tools."""

import math
from typing import Any

import numpy as np
import pytest

from core.answers import as_canonical, canonical_calls
from core.prompts import Chat, Prompt, read_request
from core.settings import ModelSettings
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, QueryRunner
from eval.gates.offline import decide
from eval.kpis.bootstrap import BootstrapPlan
from eval.kpis.structured import STRUCTURED, equal_values
from eval.kpis.tools import TOOL_F1, tool_calls
from eval.ledger_evidence import kpi_rows
from eval.measure.texts import answer_limit, compare_texts, score_answers, write_answers
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine

TOOL = {"name": "refund", "parameters": {"properties": {"order": {}, "why": {}}}}
TOOLS: dict[str, Any] = {"tools": [{"type": "function", "function": TOOL}], "tool_choice": "required"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}


def asked(text: str = "hi", **more: Any) -> Prompt:
    found = read_request("chat", {"messages": [{"role": "user", "content": text}], **more})
    assert isinstance(found, Chat)
    return found


def call(name: str, **arguments: Any) -> str:
    return as_canonical(canonical_calls([{"name": name, "arguments": arguments}]))


def scores(prompt: Prompt, answer: str, reference: str) -> dict[str, float]:
    found = {kpi: score(prompt, answer, reference) for kpi, score in STRUCTURED.items()}
    return {kpi: value for kpi, value in found.items() if not math.isnan(value)}


@pytest.mark.parametrize(
    ("answer", "valid", "fits"),
    [('{"a": 1}', 1, 1), ('{"a": "1"}', 1, 0), ('{"a": 1', 0, 0), ("", 0, 0), ('Sure: {"a": 1}', 0, 0)],
)
def test_json_is_judged_by_the_schema_of_the_request(answer: str, valid: float, fits: float) -> None:
    assert scores(asked(**FORMAT), answer, '{"a":1}') == {"valid_json": valid, "schema_match": fits}
    any_json = asked(response_format={"type": "json_object"})
    assert scores(any_json, answer, "{}") == {"valid_json": valid}
    assert scores(asked(), answer, "{}") == {}


def with_schema(schema: dict[str, Any]) -> Prompt:
    return asked(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


NESTED = {"type": "array", "items": {"$ref": "#"}}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        (NESTED, "[" * 800 + "]" * 800),
        ({"items": {"multipleOf": 0.1}}, f"[1{'0' * 400}]"),
        ({"items": {"$ref": "#/$defs/missing"}}, "[1]"),
    ],
)
def test_an_answer_that_breaks_the_check_of_its_schema_does_not_fit(schema: dict[str, Any], answer: str) -> None:
    assert scores(with_schema(schema), answer, "[]") == {"valid_json": 1, "schema_match": 0}
    assert scores(with_schema(schema), "[]", "[]")["schema_match"] == 1


@pytest.mark.parametrize("answer", ["[1]", "no JSON"])
def test_a_schema_that_is_none_judges_no_answer(answer: str) -> None:
    for schema in ({"type": 7}, {"properties": []}, {"pattern": "("}):
        assert "schema_match" not in scores(with_schema(schema), answer, "[]")


@pytest.mark.parametrize(
    ("answer", "name", "arguments", "fields"),
    [
        (call("refund", order=7, why="late"), 1, 1, 1),
        (call("refund", order=7.0, why="late"), 1, 1, 1),
        (call("refund", order=7, why="lost"), 1, 0, 1 / 3),
        (call("refund", order=7), 1, 0, 1 / 2),
        (call("cancel", order=7, why="late"), 0, 0, 0),
        ("I refund it.", 0, 0, 0),
    ],
)
def test_calls_are_judged_by_name_arguments_and_fields(
    answer: str, name: float, arguments: float, fields: float
) -> None:
    wanted = call("refund", order=7, why="late")
    found = scores(asked(**TOOLS), answer, wanted)
    assert found == {"tool_name": name, "tool_arguments": arguments, "tool_fields": pytest.approx(fields)}


def test_where_no_call_is_right_a_call_is_wrong() -> None:
    assert scores(asked(**TOOLS), "Hello!", "Hi.") == {"tool_name": 1}
    assert scores(asked(**TOOLS), call("refund"), "Hi.") == {"tool_name": 0}
    assert scores(asked(**TOOLS), call("refund"), call("refund"))["tool_fields"] == 1


@pytest.mark.parametrize(
    ("answer", "reference", "equal"),
    [
        ('{"b": 2, "a": 1.0}', '{"a":1,"b":2}', 1),
        ('{"a": true}', '{"a":1}', 0),
        ("[1, 2]", "[2, 1]", 0),
        (" text ", "text", 1),
    ],
)
def test_json_values_are_equal_whatever_their_spelling(answer: str, reference: str, equal: float) -> None:
    assert equal_values(answer, reference) == equal
    assert score_answers([(asked(**FORMAT), answer, reference)])["exact_match"][0] == equal


def test_the_f1_of_tools_counts_every_tool_alike() -> None:
    items = [(asked(**TOOLS), call(said), call(wanted)) for said, wanted in ("aa", "aa", "ab", "bb")]
    found = tool_calls([*items, (asked(), "x", "y")])
    assert found is not None and list(found.items) == [0, 1, 2, 3]
    # a: 2 right, 1 too many: 4/5. b: 1 right, 1 missing: 2/3.
    assert found.value == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert tool_calls([(asked(), "x", "y")]) is None


def test_free_text_is_bounded_by_the_settings_and_values_by_their_request() -> None:
    assert [answer_limit(asked(), 64), answer_limit(asked(max_tokens=16), 64)] == [64, 16]
    assert answer_limit(asked(max_tokens=500), 64) == 64
    assert [answer_limit(asked(**FORMAT), 64), answer_limit(asked(max_tokens=300, **TOOLS), 64)] == [1024, 300]


@pytest.mark.parametrize("primary", ["tool_name", TOOL_F1, "tool_arguments", "tool_fields", "exact_match"])
def test_a_candidate_that_calls_the_right_tool_is_promoted_by_it(primary: str) -> None:
    engine, bodies = FakeEngine(adapters={"good": "/x", "poor": "/y"}), []

    def answered(model: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        bodies.append(body)
        if body.get("tool_choice") == "none":
            return [{"content": "x"}]
        number = int(body["messages"][-1]["content"].split()[-1])
        right = model == "good" or number % 4 == 0
        function = {
            "name": ("refund", "cancel")[number % 2 if right else 0],
            "arguments": f'{{"order": {number * right}}}',
        }
        return [{"tool_calls": [{"id": "1", "type": "function", "function": function}]}]

    engine.messages = answered
    client = VllmClient("http://engine", transport=engine.transport())
    context = EngineContext(QueryRunner(client, concurrency=2), "base")
    arms = [Arm("base", "base"), Arm("champion", "poor"), Arm("candidate", "good")]
    items = [(asked(f"order {n}", **TOOLS), call(("refund", "cancel")[n % 2], order=n)) for n in range(40)]
    items += [(asked(f"order {n}", **FORMAT), '{"a":1}') for n in range(30)]
    texts = write_answers(context, arms, items, max_tokens=8, latency_items=3)
    judged = [body for body in bodies if body["max_tokens"] != 1]
    assert {body["max_tokens"] for body in judged} == {1024}
    assert all(body.get("tool_choice") == "required" or "response_format" in body for body in judged)
    evidence = compare_texts(np.arange(70), texts, BootstrapPlan(0.05, 2000))
    settings = ModelSettings.model_validate(
        {
            "task": "generate",
            "promotion": {
                "primary": {"kpi": primary},
                "must_beat": ["base"],
                "guardrails": [{"kpi": "valid_json", "margin": 1.5}, {"kpi": "tool_arguments", "min": 0.5}],
            },
        }
    ).promotion
    verdict = decide(evidence, settings)
    assert verdict.outcome == "pass", verdict.reason
    assert primary in verdict.reason
    assert {row["kpi"] for row in kpi_rows(evidence, verdict)} >= {primary, "tool_fields", "valid_json", TOOL_F1}
