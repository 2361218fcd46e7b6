"""Facts about preferences and thumbs: whom an arm agrees with, how surely, and that too few of them say nothing."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from core.prompts import Chat, with_system
from eval.arm_definitions import Arm
from eval.engine_queries import EngineContext, QueryRunner
from eval.kpis.bootstrap import BootstrapPlan
from eval.measure.preferences import (
    ACCURACY,
    LEAST_PAIRS,
    LEAST_USERS,
    MARGIN,
    MOST_PAIRS,
    PreferenceResult,
    compare_preferences,
    thumbs_auc,
    wins,
)
from feedback.heldout_votes import Thumb
from feedback.pairs import Pair
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine

ARMS = (Arm("base", "base"), Arm("champion", "m@1.x"), Arm("candidate", "m@2.y"))
PLAN = BootstrapPlan(0.05, 500)


def asker(taste: dict[str, float]) -> EngineContext:
    """Arms by name in the engine: how much likelier than others each finds the word "kind"."""
    engine = FakeEngine(adapters={"m@1.x": "/1", "m@2.y": "/2"})
    engine.likes = lambda model, word: -2.0 + (taste.get(model, 0.0) if word == "kind" else 0.0)
    client = VllmClient("http://engine", transport=engine.transport())
    return EngineContext(QueryRunner(client, concurrency=4), "base")


def pair(user: str, prompt: Chat, chosen: str, rejected: str) -> Pair:
    return Pair("a", "b", "f", user, "h1", prompt, chosen, rejected, "preference")


def preferred(
    engine: EngineContext,
    arms: Sequence[Arm],
    found: Sequence[Pair],
    left_out: Mapping[str, int],
    plan: BootstrapPlan,
    kpi: str = ACCURACY,
) -> PreferenceResult:
    return compare_preferences(engine, arms, found, left_out, plan)[kpi]


def pairs(count: int, *, users: int = 20) -> list[Pair]:
    return [
        pair(f"user:{n % users}", Chat((("user", f"text {n}"),)), "kind word", "word of other words")
        for n in range(count)
    ]


def test_a_candidate_that_finds_the_chosen_answers_likelier_agrees_with_users() -> None:
    found = preferred(asker({"m@2.y": 1.0, "m@1.x": -1.0}), ARMS, pairs(60), {}, PLAN)
    assert {arm: measure.value for arm, measure in found.suite.arms.items()} == {
        "base": 0.5,
        "champion": 0.0,
        "candidate": 1.0,
    }
    assert found.suite.difference is not None and found.suite.difference.value == 1.0
    assert {arm: gain.value for arm, gain in found.differences.items()} == {"base": 0.5, "champion": 1.0}
    assert (found.suite.n, found.suite.users) == (60, 20)


def test_a_longer_answer_is_not_the_less_likely_for_its_length() -> None:
    # Both answers have -2 a token: a sum would call the shorter one likelier.
    found = preferred(asker({}), ARMS, pairs(60), {}, PLAN)
    assert {measure.value for measure in found.suite.arms.values()} == {0.5}


def test_the_margin_is_what_each_answer_gains_on_the_base_model_and_the_base_model_gains_nothing() -> None:
    # To all of them the chosen answer is less likely. The candidate finds it a little less unlikely than the base does.
    taste = {"base": -3.0, "m@1.x": -4.0, "m@2.y": -2.0}
    margin = preferred(asker(taste), ARMS, pairs(60), {}, PLAN, MARGIN)
    assert {arm: measure.value for arm, measure in margin.suite.arms.items()} == {
        "base": 0.5,
        "champion": 0.0,
        "candidate": 1.0,
    }
    assert {arm: gain.value for arm, gain in margin.differences.items()} == {"base": 0.5, "champion": 1.0}
    accuracy = preferred(asker(taste), ARMS, pairs(60), {}, PLAN)
    assert {measure.value for measure in accuracy.suite.arms.values()} == {0.0}


def test_the_margin_is_a_sum_and_not_a_mean_over_tokens() -> None:
    # The chosen answer gains 1 on one token; the rejected one gains 0.4 on each of four.
    engine = FakeEngine(adapters={"m@1.x": "/1", "m@2.y": "/2"})
    gains = {"short": 1.0, "long": 0.4}
    engine.likes = lambda model, word: -2.0 + (gains.get(word, 0.0) if model == "m@2.y" else 0.0)
    client = VllmClient("http://engine", transport=engine.transport())
    context = EngineContext(QueryRunner(client, concurrency=4), "base")
    some = [pair(f"user:{n % 20}", Chat((("user", f"text {n}"),)), "short", "long long long long") for n in range(60)]
    assert preferred(context, ARMS, some, {}, PLAN, MARGIN).suite.arms["candidate"].value == 0.0
    assert preferred(context, ARMS, some, {}, PLAN).suite.arms["candidate"].value == 1.0


def test_an_arm_with_another_prompt_is_compared_with_the_base_model_on_the_apps_own() -> None:
    arms = (*ARMS, Arm("rag", "base", lambda prompt: with_system(prompt, "be kind")))
    engine = asker({"m@2.y": 1.0})
    found = preferred(engine, arms, pairs(60), {}, PLAN, MARGIN)
    # The engine scores an answer's words alone, so that retrieval gains nothing here either.
    assert found.suite.arms["rag"].value == 0.5 and found.differences["rag"].value == 0.5


def test_ties_count_half_and_what_is_no_number_makes_none() -> None:
    likely = np.array([-1.0, -2.0, -2.0, -1.0, -1.0, -1.0, np.nan, -1.0, -np.inf, -np.inf])
    assert wins(likely)[[0, 1, 2, 4]].tolist() == [1.0, 0.0, 0.5, 0.5]
    assert np.isnan(wins(likely)[3])


def test_the_interval_is_over_users_and_not_over_their_votes() -> None:
    rng = np.random.default_rng(0)
    likes = rng.random(24) < 0.5
    found = [
        pair(
            f"user:{user}",
            Chat((("user", f"text {user} {n}"),)),
            *(("kind", "dull") if likes[user] else ("dull", "kind")),
        )
        for user in range(24)
        for n in range(10)
    ]
    measure = preferred(asker({"m@2.y": 1.0}), ARMS, found, {}, PLAN).suite.arms["candidate"]
    # Of 240 independent votes it would be some 0.13 wide.
    assert measure.value == pytest.approx(likes.mean()) and measure.high - measure.low > 0.35


@pytest.mark.parametrize(("count", "users"), [(0, 1), (LEAST_PAIRS - 1, 20), (60, LEAST_USERS - 1)])
def test_too_few_pairs_or_users_are_no_measurement_and_send_no_request(count: int, users: int) -> None:
    asked = asker({"m@2.y": 1.0})
    found = preferred(asked, ARMS, pairs(count, users=users), {"both are odd": 2}, PLAN)
    assert not found.suite.arms and not found.differences
    assert (
        f"{count} preferences from {min(count, users)} users; it needs 30 preferences from 20 users"
        in found.suite.missing
    )
    assert "(left out: 2 both are odd)" in found.suite.missing


def test_of_very_many_pairs_the_newest_are_measured() -> None:
    found = preferred(asker({}), ARMS, pairs(MOST_PAIRS + 40), {}, PLAN)
    assert found.suite.n == MOST_PAIRS


def test_a_pair_that_cannot_be_scored_makes_it_no_measurement() -> None:
    broken = [*pairs(60), pair("user:1", Chat((("user", "x"),)), "kind", " ")]
    found = preferred(asker({}), ARMS, broken, {}, PLAN)
    assert found.suite.missing and not found.differences


def thumbs(count: int, up: int) -> list[Thumb]:
    return [
        Thumb(f"user:{n % 9}", Chat((("user", f"text {n}"),)), "kind word" if n % 3 else "other word", n % 4 < up)
        for n in range(count)
    ]


def test_the_auc_of_thumbs_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    votes = [
        Thumb(vote.user, vote.prompt, vote.answer, vote.up or vote.answer.startswith("kind")) for vote in thumbs(60, 1)
    ]
    found = thumbs_auc(asker({"m@2.y": 1.0}), ARMS, votes, PLAN)
    expected = roc_auc_score([vote.up for vote in votes], [vote.answer.startswith("kind") for vote in votes])
    assert found.arms["candidate"].value == pytest.approx(float(expected))
    assert found.arms["candidate"].low < expected < 1.0
    assert found.arms["base"].value == 0.5
    assert (found.n, found.users) == (60, 9)


@pytest.mark.parametrize(
    ("up", "count", "reason"),
    [(4, 12, "all 12 thumbs are up"), (0, 12, "all 12 thumbs are down"), (2, 0, "the holdout has no thumbs")],
)
def test_thumbs_of_one_kind_tell_nothing(up: int, count: int, reason: str) -> None:
    found = thumbs_auc(asker({}), ARMS, thumbs(count, up), PLAN)
    assert found.missing == reason and not found.arms
