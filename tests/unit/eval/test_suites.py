"""Facts about suites: what ships is large, varied and the same every time; what users write is checked by line."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from core.errors import InputError
from core.prompts import Chat, subject
from core.settings import ModelSettings, ShippedSuite
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, QueryRunner
from eval.kpis.direction import better
from eval.suites import files, shipped
from eval.suites.refusal import REFUSALS
from eval.suites.run import run_suite, suite_evidence
from eval.suites.suite import Choice, Suite, Writing, choice
from eval.suites.templates import sample_texts
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine


@pytest.mark.parametrize("name", shipped.BUILDERS)
def test_a_shipped_suite_has_500_units_and_no_prompt_twice(name: str):
    suite = shipped.shipped_suite(name)
    assert len(suite.units) >= 500
    assert len({item.prompt for item in suite.items}) == len(suite.items)
    assert suite.source == "written for LoraLoop" and suite.licence == "Apache-2.0"
    assert shipped.BUILDERS[name]() == suite


@pytest.mark.parametrize("name", shipped.BUILDERS)
def test_every_choice_of_a_shipped_suite_can_fall_both_ways(name: str):
    for item in shipped.shipped_suite(name).items:
        assert subject(item.prompt).count("{") == subject(item.prompt).count("}")
        if isinstance(item, Choice):
            counting = {item.kinds[item.choices.index(text)] for text in item.counts}
            assert counting and set(item.kinds) - counting


def test_what_is_made_up_is_never_the_right_answer_and_often_tempts():
    items = [item for item in shipped.shipped_suite("hallucination").items if isinstance(item, Choice)]
    tempting = sum(item.counts[0] in subject(item.prompt).split("\n")[0] for item in items)
    assert 0.2 < tempting / len(items) < 0.8


def test_a_pair_of_opinions_is_opposite_and_about_one_question():
    items = [item for item in shipped.shipped_suite("sycophancy").items if isinstance(item, Choice)]
    for first, second in zip(items[::2], items[1::2], strict=True):
        assert first.group == second.group
        assert subject(first.prompt).split(". ")[-1] == subject(second.prompt).split(". ")[-1]
        assert {first.counts[0], second.counts[0]} == {"yes", "no"}


def test_templates_share_the_places_evenly_as_far_as_they_go():
    texts = sample_texts(["a {x}", "b {x}{y}"], {"x": "12", "y": "123456789"}, 12, seed=1)
    assert sum(text.startswith("a") for text in texts) == 2 and len(texts) == 12


def one_suite(measure: Any, items: list[Any]) -> Suite:
    return Suite("own", "own", "own", measure, "higher", tuple(items))


def outcomes(suite: Suite, engine: FakeEngine | None = None) -> dict[str, list[float]]:
    client = VllmClient("http://engine", transport=(engine or FakeEngine()).transport())
    found = run_suite(EngineContext(QueryRunner(client, concurrency=4), "base"), [Arm("base", "base")], suite)
    return {arm: values.tolist() for arm, values in found.outcomes.items()}


def test_an_item_counts_when_its_likeliest_answer_does():
    items = [choice(f"g{n}", f"question {n}", ("yes", "no"), "yes") for n in range(40)]
    turned = [choice(f"g{n}", f"question {n}", ("yes", "no"), "no") for n in range(40)]
    yes, no = outcomes(one_suite("share", items))["base"], outcomes(one_suite("share", turned))["base"]
    assert 0 < sum(yes) < 40
    assert [a + b for a, b in zip(yes, no, strict=True)] == [1.0] * 40


def test_groups_agree_or_follow_as_a_whole():
    same = [choice(f"g{n // 2}", f"question {n // 2}", ("yes", "no"), "yes") for n in range(20)]
    assert outcomes(one_suite("agreement", same))["base"] == [1.0] * 10
    pairs = [choice(f"g{n // 2}", f"question {n}", ("yes", "no"), "yes") for n in range(80)]
    single = outcomes(one_suite("share", [choice(str(n), f"question {n}", ("yes", "no"), "yes") for n in range(80)]))
    pairs_of = np.array(single["base"]).reshape(-1, 2)
    assert outcomes(one_suite("every", pairs))["base"] == pairs_of.min(1).tolist()
    assert outcomes(one_suite("agreement", pairs))["base"] == (pairs_of[:, 0] == pairs_of[:, 1]).tolist()


def test_openings_of_one_meaning_are_summed():
    suite = shipped.shipped_suite("refusal")
    few = Suite("few", "safety", "", "share", "higher", suite.items[:30])
    found = outcomes(few)["base"]
    assert set(found) <= {0.0, 1.0}
    assert all(set(REFUSALS) == set(item.counts) for item in few.items if isinstance(item, Choice))


@pytest.mark.parametrize(
    ("item", "answer", "right"),
    [
        (Writing("g", Chat((("user", "x"),)), 9, schema='{"type": "object", "required": ["a"]}'), '{"a": 1}', 1.0),
        (Writing("g", Chat((("user", "x"),)), 9, schema='{"type": "object", "required": ["a"]}'), '{"b": 1}', 0.0),
        (Writing("g", Chat((("user", "x"),)), 9, schema='{"type": "object"}'), "[" * 9000, 0.0),
        (Writing("g", Chat((("user", "x"),)), 9, schema='{"type": "object"}'), "Sure! {}", 0.0),
        (Writing("g", Chat((("user", "x"),)), 9, pattern=r"\d+"), " 42\n", 1.0),
        (Writing("g", Chat((("user", "x"),)), 9, pattern=r"\d+"), "42 apples", 0.0),
        (Writing("g", Chat((("user", "x"),)), 9, reference="Paris"), "paris.", 1.0),
    ],
)
def test_words_count_when_they_have_the_form(item: Writing, answer: str, right: float):
    assert outcomes(one_suite("share", [item]), FakeEngine(answer=lambda *_: answer))["base"] == [right]


def test_length_is_in_tokens():
    item = Writing("g", Chat((("user", "x"),)), 9)
    assert outcomes(one_suite("length", [item]), FakeEngine(answer=lambda *_: "three short words"))["base"] == [3.0]


@pytest.mark.parametrize(("ours", "theirs", "blind"), [("a b c", "a b c", True), ("a b c", "a", False)])
def test_lengths_that_were_cut_on_both_sides_are_no_measurement(ours: str, theirs: str, blind: bool):
    suite = one_suite("length", [Writing(f"g{n}", Chat((("user", f"x {n}"),)), 3) for n in range(4)])
    engine = FakeEngine(adapters={"c-1": "/c"}, answer=lambda model, *_: ours if model == "c-1" else theirs)
    client = VllmClient("http://engine", transport=engine.transport())
    found = run_suite(
        EngineContext(QueryRunner(client, concurrency=1), "base"),
        [Arm("champion", "base"), Arm("candidate", "c-1")],
        suite,
    )
    evidence = suite_evidence(found, ModelSettings(labels=["a", "b"]))
    assert ("were cut" in evidence.missing) is blind


def test_a_suite_that_the_engine_cannot_tell_apart_is_missing_with_the_reason():
    suite = one_suite("share", [choice("g", "x", ("a  b", "a b"), "a b")])
    client = VllmClient("http://engine", transport=FakeEngine().transport())
    found = run_suite(EngineContext(QueryRunner(client, concurrency=1), "base"), [Arm("base", "base")], suite)
    assert found.outcomes == {} and "same tokens" in found.missing


HEADER = {"name": "own", "kpi": "own", "about": "a", "better": "higher", "source": "me", "licence": "mine"}


def write(folder: Path, lines: list[Any], **header: Any) -> Path:
    (folder / "suite.json").write_text(json.dumps(HEADER | header))
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "items.jsonl").write_text(text)
    return folder


def test_a_users_suite_is_read_unchanged(tmp_path: Path):
    lines = [
        {"prompt": "one", "counts": ["yes"]},
        "",
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "choices": ["a", "b"]},
        {"prompt": "json", "json_schema": {"type": "object"}, "max_tokens": 5},
        {"prompt": "text", "pattern": "a+"},
    ]
    suite = files.read_suite(write(tmp_path, lines, choices=["yes", "no"], stop=["\n"]))
    assert [type(item) for item in suite.items] == [Choice, Choice, Writing, Writing]
    first, second, third, _ = suite.items
    assert isinstance(first, Choice) and first.choices == ("yes", "no") and first.counts == ("yes",)
    assert second.prompt == Chat((("system", "s"), ("user", "u")))
    assert isinstance(third, Writing) and third.max_tokens == 5 and third.stop == ("\n",)
    assert len(suite.units) == 4
    assert files.find_suites([str(tmp_path)])[0].name == "own"


@pytest.mark.parametrize(
    ("lines", "header", "words"),
    [
        (["{"], {}, "items.jsonl line 1: Invalid JSON"),
        ([{"prompt": "x", "counts": ["a"]}, "", {"prompt": 3}], {"choices": ["a", "b"]}, "items.jsonl line 3: prompt"),
        ([{"prompt": "x", "strange": 1}], {}, "strange: Extra inputs"),
        ([{"prompt": "x", "messages": [{"role": "user", "content": "u"}]}], {}, "either prompt or messages"),
        ([{"messages": [{"role": "assistant", "content": "u"}]}], {}, "the last one must be the user's"),
        ([{"prompt": "x", "counts": ["c"]}], {"choices": ["a", "b"]}, "counts: 'c' is not one of the choices"),
        ([{"prompt": "x", "choices": ["a", "a"]}], {}, "choices: give two or more"),
        ([{"prompt": "x"}], {}, "line 1: give choices, or json_schema, or pattern"),
        ([{"prompt": "x", "pattern": "("}], {}, "line 1: pattern: "),
        ([{"prompt": "x", "json_schema": {"type": 3}}], {}, "line 1: json_schema: "),
        ([{"prompt": "x", "group": "g"}], {"choices": ["a", "b"], "measure": "agreement"}, "'g' has only one item"),
        ([{"prompt": "x", "json_schema": {"$ref": "http://x/y"}}], {}, "refers to another document"),
        ([], {}, "has no items"),
        ([], {"name": "No Name"}, "suite.json: name"),
        ([], {"measure": "vibes"}, "suite.json: measure"),
        ([], {"kpi": "safety", "better": "lower"}, "better: safety is better when higher, not better when lower"),
        ([], {"kpi": "hallucination"}, "better: hallucination is better when lower, not better when higher"),
        ([], {"kpi": "mean_length"}, "better: mean_length is best when the same"),
        ([], {"kpi": "forgetting", "better": "lower"}, "kpi: forgetting is what a training measures"),
    ],
)
def test_what_is_wrong_with_a_users_suite_is_said_with_its_line(
    tmp_path: Path, lines: list[Any], header: dict[str, Any], words: str
):
    with pytest.raises(InputError) as caught:
        files.read_suite(write(tmp_path, lines, **header))
    assert words in str(caught.value)


def test_a_folder_without_a_header_and_a_name_of_nothing_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"suite\.json cannot be read"):
        files.read_suite(tmp_path)
    with pytest.raises(InputError, match="There is no suite 'vibes'"):
        files.find_suites(["vibes"])


def test_two_suites_of_one_kpi_are_refused(tmp_path: Path):
    own = write(tmp_path, [{"prompt": "x", "choices": ["a", "b"]}], kpi="safety")
    with pytest.raises(InputError, match="refusal and own both measure safety"):
        files.find_suites(["refusal", str(own)])


def test_a_golden_file_is_a_suite_of_its_labels_or_references(tmp_path: Path):
    file = tmp_path / "golden.jsonl"
    file.write_text('{"prompt": "fine day", "label": "good"}\n{"prompt": "rain", "label": "bad"}\n')
    suite = files.read_golden_file(file, ["good", "bad"], 9)
    assert suite.kpi == "golden_accuracy" and [item.choices for item in suite.items if isinstance(item, Choice)] == [
        ("good", "bad"),
        ("good", "bad"),
    ]
    file.write_text('{"prompt": "capital of France?", "reference": "Paris"}\n')
    (item,) = files.read_golden_file(file, [], 9).items
    assert isinstance(item, Writing) and item.counts("paris") and item.max_tokens == 9


@pytest.mark.parametrize(
    ("text", "labels", "words"),
    [
        ('{"prompt": "x", "label": "a"}\n{"prompt": "y", "label": "z"}', ["a", "b"], "line 2: label 'z' is not one of"),
        ('{"prompt": "x"}', ["a", "b"], "line 1: label None"),
        ('{"prompt": "x", "label": "a"}', [], "line 1: reference is missing"),
        ("", ["a", "b"], "has no lines"),
        ('{"prompt": "", "label": "a"}', ["a", "b"], "line 1: prompt"),
    ],
)
def test_what_is_wrong_with_a_golden_file_is_said_with_its_line(
    tmp_path: Path, text: str, labels: list[str], words: str
):
    file = tmp_path / "golden.jsonl"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        files.read_golden_file(file, labels, 9)
    assert words in str(caught.value)


def test_the_settings_know_the_shipped_suites_and_none_contradicts_its_kpi():
    assert get_args(ShippedSuite) == tuple(shipped.BUILDERS)
    suites = [shipped.shipped_suite(name) for name in shipped.BUILDERS]
    assert all(better(suite.kpi) == suite.better for suite in suites)
