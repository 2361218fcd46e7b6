"""Facts about judging by the margin: held-out preferences alone decide, and only those that nothing taught."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.db.store import Store
from core.model_folder import ModelFolder
from core.prompts import Chat
from core.settings import ModelSettings
from feedback.pairs import Pair
from feedback.snapshot import Row, Snapshot
from tests.support.reference_free import CANDIDATE, HELD, engine, judged, run, settings, snapshot, voted, with_pairs


@pytest.fixture
def base(tmp_path: Path) -> ModelFolder:
    (tmp_path / "config.json").write_text("{}")
    return ModelFolder("base", tmp_path)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def without_rows(store: Store, how: ModelSettings) -> Snapshot:
    return replace(with_pairs(store, how), rows=())


def test_held_out_preferences_alone_can_judge_without_any_correction(store: Store, base: ModelFolder):
    voted(store, 60)
    how = settings(kpi="preference_margin")
    result = run(store, engine(), base, how, whole=without_rows(store, how))
    found = result.evidence
    assert {arm: found.arms[arm]["preference_margin"].value for arm in found.arms} == {
        "base": 0.5,
        "rag": 0.5,
        "champion": 0.5,
        "candidate": 1.0,
    }
    judgement, reasons = judged(found, how)
    assert judgement.outcome == "pass", judgement.reason
    assert reasons["holdout"] == "pass: 60 preferences from 20 users; use 1 of 5."
    assert "preference_margin is 0.500 higher than the champion's" in judgement.reason
    assert "on 60 held-out votes from 20 users" in judgement.reason
    # Answers are compared with chosen ones, so that drift, latency and texts are measured too.
    assert found.n == 60 and "token_f1" in found.arms["candidate"] and found.suites["kl_to_base"].n == 60


def test_a_candidate_that_prefers_what_users_rejected_fails_by_the_margin(store: Store, base: ModelFolder):
    voted(store, 60)
    how = settings(kpi="preference_margin")
    fake = engine()
    fake.likes = lambda model, word: -1.0 - 0.2 * ((model, word) == (CANDIDATE.engine_name, "kind"))
    judgement, reasons = judged(run(store, fake, base, how, whole=without_rows(store, how)).evidence, how)
    assert judgement.outcome == "fail"
    assert "preference_margin is 0.500 lower than the champion's" in reasons["preference_margin against champion"]


def test_preferences_of_prompts_in_training_rows_do_not_judge(store: Store, base: ModelFolder):
    voted(store, 60)
    how = settings(kpi="preference_margin")
    known = with_pairs(store, how)
    learnt = tuple(Row("t", "t", "user:t", "train", Chat((("user", f"question {n}"),)), "x") for n in range(40))
    found = run(store, engine(), base, how, whole=replace(known, rows=learnt)).evidence
    judgement, reasons = judged(found, how)
    assert judgement.outcome == "inconclusive"
    missing = reasons["preference_margin against champion"]
    assert "the holdout has 20 preferences from" in missing and "40 same text as one to learn from" in missing


def test_users_of_one_prompt_are_enough_to_bound_the_drift(store: Store, base: ModelFolder):
    how = settings(kpi="preference_margin")
    users = sorted({pair.user for pair in pairs_of_one_prompt()})
    fake = engine()
    found = run(store, fake, base, how, whole=replace(snapshot(), rows=(), pairs=pairs_of_one_prompt())).evidence
    assert len(users) == 20 and found.suites["kl_to_base"].n == 20
    judgement, reasons = judged(found, how)
    assert judgement.outcome == "pass", judgement.reason
    assert reasons["guardrail kl_to_base"].startswith("pass")
    seeds = [body["seed"] for path, body in fake.requests if body.get("seed") is not None]
    assert len(set(seeds)) == 20


def pairs_of_one_prompt() -> tuple[Pair, ...]:
    prompt = Chat((("user", "text of all"),))
    return tuple(
        Pair(f"a{n}", f"b{n}", f"f{n}", f"user:{HELD[n % 20]}", "h1", prompt, f"kind {n}", f"dull {n}", "preference")
        for n in range(60)
    )
