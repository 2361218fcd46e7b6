"""Facts about what held-out items are cut by: labels, length, script, app, day and topic."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.db.store import Store
from core.prompts import Chat, Text
from core.settings import ModelSettings
from eval.kpis.bootstrap import BootstrapPlan
from eval.kpis.evidence import ArmScores, SliceEvidence, SuiteEvidence
from eval.kpis.slices import LABEL_F1
from eval.ledger_evidence import plain_slices
from eval.measure.preferences import PreferenceResult
from eval.measure.texts import ArmTexts
from eval.slices import lengths, measure_slices, preference_slices, script_of
from feedback.ingest import ingest
from feedback.pairs import Pair
from feedback.snapshot import Row
from tests.support.apps import add_app
from tests.support.ingest import asked, pieces

PLAN = BootstrapPlan(0.05, 500)
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
CLASSIFY = ModelSettings(task="classify", labels=["bad", "good"])
GENERATE = ModelSettings.model_validate({"task": "generate"})
TOPICS = ("parcel courier tracking doorstep warehouse", "refund money invoice charged statement")


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    for id, name in (("k1", "shop"), ("k2", "shop"), ("k3", "chat")):
        add_app(opened, id, name)
    yield opened
    opened.close()


def question(n: int) -> str:
    drawn = random.Random(n)
    return " ".join(drawn.sample(TOPICS[n % 2].split(), 3)) + f" {drawn.randrange(10**6)}"


def rows(count: int, label: str | None = None) -> list[Row]:
    return [
        Row(
            f"i{n}",
            f"f{n}",
            f"u{n}",
            "h1",
            Chat((("user", question(n)),)),
            label or ("bad", "good")[n % 3 % 2],
            asker=f"u{n}",
        )
        for n in range(count)
    ]


def scores(right: Sequence[bool], held: Sequence[Row], tokens: Sequence[int] | None = None) -> ArmScores:
    truth = np.array([CLASSIFY.labels.index(row.label) for row in held], dtype=np.int64)
    said = np.where(np.array(right, dtype=bool), truth, 1 - truth)
    counted = np.array(tokens if tokens is not None else [10] * len(held), dtype=np.int64)
    return ArmScores(np.eye(2)[said], np.ones(len(held)), counted)


def keep(store: Store, count: int, **changes: Any) -> None:
    """Interactions i0, i1, … whose fields may depend on their number."""
    made = [
        asked(f"i{n}", model="m", **{name: value(n) if callable(value) else value for name, value in changes.items()})
        for n in range(count)
    ]
    ingest(store, "g", 0, 0, pieces(*made))


def by_name(found: SliceEvidence | None) -> dict[str, tuple[int, float]]:
    assert found is not None
    return {one.name: (one.n, round(one.difference.value, 3)) for one in found.slices}


def test_rows_are_cut_by_label_length_app_day_and_topic(store: Store):
    keep(store, 240, time=lambda n: MONDAY + timedelta(days=n % 14), key_id=lambda n: ("k1", "k2", "k3", None)[n % 4])
    held = rows(240)
    fell = [n % 2 == 1 and n % 4 == 1 for n in range(240)]
    tokens = [10 + n // 80 * 10 for n in range(240)]
    champion, candidate = scores([True] * 240, held, tokens), scores([not lost for lost in fell], held, tokens)
    found = measure_slices(store, held, {"champion": champion, "candidate": candidate}, CLASSIFY, PLAN)
    shown = by_name(found)
    # Half of 40 items with the label good and of 80 with bad. F1: 2·20/(40 + 20 + 40) and 2·40/(80 + 40 + 20).
    assert shown["app shop"] == (120, -0.486)
    assert shown["app chat"] == (60, 0.0) and shown["app without a key"] == (60, 0.0)
    assert {name for name in shown if name.startswith("length")} == {
        "length up to 10 tokens",
        "length 11 to 20 tokens",
        "length over 20 tokens",
    }
    assert {name for name in shown if name.startswith("label")} == {"label bad", "label good"}
    topics = {name: values for name, values in shown.items() if name.startswith("topic")}
    assert {n for n, _ in topics.values()} == {120} and len(topics) == 2
    assert {value for _, value in topics.values()} == {0.0, -0.486}
    assert found is not None and found.small == 14 - 7  # every day of the week has 34 or 35 items
    assert {one.kpi for one in found.slices if one.dimension == "label"} == {LABEL_F1}


def test_a_prompt_that_an_arm_refused_has_its_length_from_the_others(store: Store):
    """The candidate refuses the longest prompts, and every arm refuses one. Retrieval makes the champion's longer."""
    held = rows(180)
    tokens = [100 + n // 60 * 100 for n in range(180)]
    base = [0 if n == 179 else count for n, count in enumerate(tokens)]
    champion = [0 if n == 179 else count + n % 7 for n, count in enumerate(tokens)]
    candidate = [0 if count == 300 else count for count in tokens]
    arms = {
        arm: scores([True] * 180, held, counted)
        for arm, counted in (("base", base), ("champion", champion), ("candidate", candidate))
    }
    shown = by_name(measure_slices(store, held, arms, CLASSIFY, PLAN))
    assert {name: n for name, (n, _) in shown.items() if name.startswith("length")} == {
        "length up to 100 tokens": 60,
        "length 101 to 200 tokens": 60,
        "length over 200 tokens": 59,
    }


def test_the_words_of_the_slices_that_fell_most_are_those_of_lost_items(store: Store):
    keep(store, 240, key_id=lambda n: "k1" if n < 120 else "k3")
    held = rows(240)
    candidate = scores([not (n < 120 and n % 2) for n in range(240)], held)
    found = measure_slices(
        store, held, {"champion": scores([True] * 240, held), "candidate": candidate}, CLASSIFY, PLAN
    )
    assert found is not None
    shop = next(one for one in found.slices if one.name == "app shop")
    assert {word.word for word in shop.words} == set(TOPICS[1].split())
    assert all(word.of_lost == 60 and word.of_rest == 60 for word in shop.words)
    plain = plain_slices(found)
    assert plain["judged"][0]["words"][0].keys() == {"word", "lost", "of_lost", "rest", "of_rest"}
    assert not any(text in str(plain) for text in ("4711", *(question(n) for n in range(240))))


def test_words_that_all_items_of_a_slice_have_do_not_explain_its_loss(store: Store):
    """The candidate loses half of one topic without regard to its words."""
    held = rows(240)
    candidate = scores([n % 4 != 1 for n in range(240)], held)
    arms = {"champion": scores([True] * 240, held), "candidate": candidate}
    found = measure_slices(store, held, arms, CLASSIFY, PLAN)
    assert found is not None
    lowest = found.slices[0]
    assert lowest.dimension == "topic" and lowest.difference.upper < 0 and not lowest.words


def test_dates_are_days_within_a_week_and_days_of_the_week_after_it(store: Store):
    held = rows(120)
    arms = {"champion": scores([True] * 120, held), "candidate": scores([True] * 120, held)}
    keep(store, 120, time=lambda n: MONDAY + timedelta(days=n % 2))
    assert {"day 2026-03-02", "day 2026-03-03"} <= by_name(measure_slices(store, held, arms, CLASSIFY, PLAN)).keys()
    weekly = Store(":memory:")
    keep(weekly, 120, time=lambda n: MONDAY + timedelta(days=n % 2 + 7 * (n % 5)))
    assert {"day Monday", "day Tuesday"} <= by_name(measure_slices(weekly, held, arms, CLASSIFY, PLAN)).keys()


def test_interactions_that_are_not_kept_have_no_app_and_no_day(store: Store):
    held = rows(120)
    arms = {"champion": scores([True] * 120, held), "candidate": scores([True] * 120, held)}
    found = by_name(measure_slices(store, held, arms, CLASSIFY, PLAN))
    assert found and not any(name.startswith(("app", "day")) for name in found)


def test_no_rows_have_no_slices(store: Store):
    arms = {"champion": scores([], []), "candidate": scores([], [])}
    found = measure_slices(store, [], arms, CLASSIFY, PLAN)
    assert found == SliceEvidence((), 0, 50, 0.05)


def test_without_the_setting_nothing_is_measured(store: Store):
    off = ModelSettings.model_validate({"labels": ["bad", "good"], "promotion": {"slices": None}})
    held = rows(120)
    arms = {"champion": scores([True] * 120, held), "candidate": scores([True] * 120, held)}
    assert measure_slices(store, held, arms, off, PLAN) is None


def test_probabilities_that_are_not_numbers_are_seen(store: Store):
    held = rows(120)
    broken = scores([True] * 120, held)
    broken.probabilities[5] = np.nan
    found = measure_slices(store, held, {"champion": scores([True] * 120, held), "candidate": broken}, CLASSIFY, PLAN)
    assert found is not None and not found.slices[0].is_measured


def written(values: Sequence[float], kpi: str = "token_f1") -> ArmTexts:
    tokens = np.ones(len(values), dtype=np.int64)
    scores = {"token_f1": np.ones(len(values)), kpi: np.array(values)}
    return ArmTexts(("x",) * len(values), scores, tokens, tokens, np.zeros(0))


def test_answers_in_words_are_compared_by_the_primary_kpi_of_single_answers(store: Store):
    held = rows(120, "the answer")
    arms = {"champion": written([1.0] * 120), "candidate": written([1.0 - n % 2 / 2 for n in range(120)])}
    shown = by_name(measure_slices(store, held, arms, GENERATE, PLAN))
    assert set(shown.values()) == {(60, 0.0), (60, -0.5)} and all(name.startswith("topic") for name in shown)


def test_items_that_have_no_such_kpi_are_in_no_slice(store: Store):
    how = ModelSettings.model_validate({"task": "generate", "promotion": {"primary": {"kpi": "valid_json"}}})
    held = rows(240, "{}")
    kept = [float("nan") if n >= 120 else 1.0 for n in range(240)]
    lost = [float("nan") if n >= 120 else 1.0 - n % 2 for n in range(240)]
    arms = {"champion": written(kept, "valid_json"), "candidate": written(lost, "valid_json")}
    shown = by_name(measure_slices(store, held, arms, how, PLAN))
    assert set(shown.values()) == {(60, 0.0), (60, -1.0)}
    # A score that only one arm has is missing, and seen.
    arms = {
        "champion": written(kept, "valid_json"),
        "candidate": written([1.0] * 119 + [float("nan")] * 121, "valid_json"),
    }
    found = measure_slices(store, held, arms, how, PLAN)
    assert found is not None and not found.slices[0].is_measured


def test_a_kpi_that_single_answers_do_not_have_is_replaced(store: Store):
    how = ModelSettings.model_validate({"task": "generate", "promotion": {"primary": {"kpi": "tool_name_f1"}}})
    held = rows(120, "{}")
    found = measure_slices(
        store,
        held,
        {arm: written([1.0] * 120, "tool_name") for arm in ("champion", "candidate")},
        how,
        PLAN,
    )
    assert found is not None and {one.kpi for one in found.slices} == {"tool_name"}
    found = measure_slices(store, held, {arm: written([1.0] * 120) for arm in ("champion", "candidate")}, how, PLAN)
    assert found is not None and {one.kpi for one in found.slices} == {"token_f1"}


def test_preferences_are_cut_too(store: Store):
    keep(store, 120, key_id=lambda n: "k1" if n < 60 else "k3")
    pairs = [
        Pair(f"i{n}", "", f"f{n}", f"u{n}", "h1", Text("?"), "a", "b", "preference", asker=f"u{n}") for n in range(120)
    ]
    outcomes = {"champion": np.ones(120), "candidate": np.repeat([0.5, 1.0], 60), "base": np.full(120, 0.5)}
    result = PreferenceResult(SuiteEvidence("preference_margin", 120, {}), {}, pairs, outcomes)
    shown = by_name(preference_slices(store, result, GENERATE, PLAN))
    assert shown == {"app shop": (60, -0.5), "app chat": (60, 0.0)}
    missing = replace(result, pairs=(), outcomes={})
    assert preference_slices(store, missing, GENERATE, PLAN) == SliceEvidence((), 0, 50, 0.05)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], []),
        ([5, 5, 5], ["up to 5 tokens"] * 3),
        ([1, 2, 3], ["up to 1 tokens", "2 to 2 tokens", "over 2 tokens"]),
        ([1, 1, 1, 1, 9], ["up to 1 tokens"] * 4 + ["over 1 tokens"]),
        ([1, 0, 2, 3], ["up to 1 tokens", None, "2 to 2 tokens", "over 2 tokens"]),
        ([0, 0], [None, None]),
    ],
)
def test_lengths_are_thirds_and_equal_lengths_stay_together(tokens: list[int], expected: list[str | None]):
    assert lengths(np.array(tokens, dtype=np.int64)) == expected


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Wo ist mein Paket?", "Latin"),
        ("Где моя посылка? (DHL)", "Cyrillic"),
        ("我的包裹在哪里", "Han"),
        ("荷物はどこですか", "Japanese"),
        ("내 소포는 어디", "Hangul"),
        ("أين طردي", "Arabic"),
        ("4711 :-) 👍", "no letters"),
        ("", "no letters"),
    ],
)
def test_a_script_is_that_of_most_letters(text: str, script: str):
    assert script_of(Chat((("user", text),))) == script
