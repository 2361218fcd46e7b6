"""Facts about judging a model that generates by likelihoods and votes: what the gate makes of them, and of none."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from core.db import evaluations
from core.db.store import Store
from core.errors import EngineDown, NotReady
from core.model_folder import ModelFolder
from core.prompts import Chat
from core.records import Version
from core.settings import JudgeSettings, ModelSettings
from eval.context import EvaluationTask
from eval.evaluation import evaluate
from eval.ledger_evidence import kpi_rows
from eval.llm_judge import LlmJudge
from feedback.snapshot import Row
from ops import views
from serve.engines.control_client import VllmClient
from tests.support.reference_free import CANDIDATE, CHAMPION, engine, judged, run, settings, snapshot, voted, with_pairs


@pytest.fixture
def base(tmp_path: Path) -> ModelFolder:
    (tmp_path / "config.json").write_text("{}")
    return ModelFolder("base", tmp_path)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def test_a_candidate_may_be_promoted_for_agreeing_with_held_out_preferences(store: Store, base: ModelFolder):
    voted(store, 60)
    how = settings(kpi="preference_accuracy")
    result = run(store, engine(), base, how)
    found = result.evidence
    assert {arm: found.arms[arm]["preference_accuracy"].value for arm in found.arms} == {
        "base": 0.5,
        "rag": 0.5,
        "champion": 0.5,
        "candidate": 1.0,
    }
    judgement, _ = judged(found, how)
    assert judgement.outcome == "pass", judgement.reason
    assert "preference_accuracy is 0.500 higher than the champion's" in judgement.reason
    assert "on 60 held-out votes from 20 users" in judgement.reason
    assert result.cost_benefit is not None
    assert "preference_accuracy +0.500 over retrieval" in result.cost_benefit.reason
    row = next(row for row in kpi_rows(found, judgement) if row["kpi"] == "preference_accuracy")
    assert (row["n"], row["users"], row["checks"][0]["verdict"]) == (60, 20, "pass")
    shown = views.primary(json.loads(json.dumps(result.plain())) | {"primary": "preference_accuracy"})
    assert shown is not None and (shown["n"], shown["users"], shown["candidate"]["value"]) == (60, 20, 1.0)
    kept = {(row["suite"], row["arm"], row["kpi"]): row for row in evaluations.of_run(store, run_id="run")}
    assert kept["preference_accuracy", "candidate", "preference_accuracy"]["users"] == 20
    assert ("holdout h1", "candidate", "preference_accuracy") not in kept


def test_the_level_of_a_primary_is_spent_and_that_of_a_guardrail_is_not(store: Store, base: ModelFolder):
    voted(store, 60)
    run(store, engine(), base, settings())
    primary = run(store, engine(), base, settings(kpi="preference_accuracy"), id="second").evidence
    other = run(store, engine(), base, settings(), id="third").evidence
    assert primary.differences["preference_accuracy"]["base"].level < 0.01
    assert other.differences["preference_accuracy"]["base"].level == 0.05
    assert "rag" not in other.differences["preference_accuracy"]


@pytest.mark.parametrize("pairs", [0, 29])
def test_too_few_preferences_are_never_a_pass_as_primary_or_guardrail(store: Store, base: ModelFolder, pairs: int):
    voted(store, pairs)
    with pytest.raises(NotReady, match=f"h1 has {pairs} preferences from"):
        run(store, engine(), base, settings(kpi="preference_accuracy"))
    result = run(store, engine(), base, settings())
    assert views.primary(result.plain() | {"primary": "preference_accuracy"}) is None
    guarded = settings({"kpi": "preference_accuracy", "margin": 0.05})
    judgement, reasons = judged(result.evidence, guarded)
    assert judgement.outcome == "inconclusive"
    missing = reasons["guardrail preference_accuracy"]
    assert "could not be measured" in missing and f"the holdout has {pairs} preferences from" in missing
    # No guardrail names it, so it has no limit.
    judgement, reasons = judged(result.evidence, settings())
    assert judgement.outcome == "pass" and "guardrail preference_accuracy" not in reasons


def test_a_candidate_that_disagrees_with_users_more_than_the_champion_does_is_held_back(
    store: Store, base: ModelFolder
):
    voted(store, 60)
    fake = engine()
    fake.likes = lambda model, word: -1.0 - 0.2 * ((model, word) == (CANDIDATE.engine_name, "kind"))
    guarded = settings({"kpi": "preference_accuracy", "margin": 0.05})
    judgement, reasons = judged(run(store, fake, base, guarded).evidence, guarded)
    assert judgement.outcome == "fail"
    assert "a loss of at least 0.500" in reasons["guardrail preference_accuracy"]


def test_the_auc_of_thumbs_is_reported_and_decides_nothing(store: Store, base: ModelFolder):
    voted(store, 60)
    fake = engine()
    fake.likes = lambda model, word: -1.0 - 0.2 * ((model, word) == (CANDIDATE.engine_name, "kind"))
    found = run(store, fake, base, settings()).evidence
    assert found.suites["thumbs_auc"].arms["candidate"].value == 0.0
    assert found.suites["thumbs_auc"].arms["champion"].value == 0.5
    judgement, reasons = judged(found, settings())
    assert judgement.outcome == "pass" and not any("thumbs_auc" in name for name in reasons)
    assert found.suites["thumbs_auc"].n == 120


@pytest.mark.parametrize(("liked", "outcome"), [(-0.6, "pass"), (-0.4, "fail")])
def test_a_candidate_that_has_drifted_far_from_the_base_is_held_back_by_default(
    store: Store, base: ModelFolder, liked: float, outcome: str
):
    fake = engine()
    fake.likes = lambda model, word: liked if model == CANDIDATE.engine_name else -1.0
    judgement, reasons = judged(run(store, fake, base, settings()).evidence, settings())
    assert judgement.outcome == outcome
    assert f"kl_to_base is {liked + 1:.3f}, upper bound {liked + 1:.3f}; at most" in reasons["guardrail kl_to_base"]


def test_a_drift_without_measure_keeps_the_champion(store: Store, base: ModelFolder):
    fake = engine()
    fake.likes = lambda model, word: -9999.0 if model == "base" else -1.0
    judgement, reasons = judged(run(store, fake, base, settings()).evidence, settings())
    assert judgement.outcome == "inconclusive"
    assert "some answers have no likelihood" in reasons["guardrail kl_to_base"]


def test_the_base_prompt_is_chosen_by_what_its_answers_say_where_the_primary_is_of_votes(
    store: Store, base: ModelFolder
):
    voted(store, 60)
    how = settings(kpi="preference_accuracy")
    how = how.model_copy(update={"baselines": how.baselines.model_copy(update={"prompts": ["Be brief."]})})
    dev = tuple(Row(f"d{n}", f"fd{n}", f"user:d{n}", "dev", Chat((("user", f"dev {n}"),)), "who") for n in range(9))
    fake = engine()
    fake.answer = lambda model, prompt: "who"
    known = with_pairs(store, how)
    whole = replace(known, rows=(*known.rows, *dev))
    client = VllmClient("http://engine", transport=fake.transport())
    found = evaluate(EvaluationTask("run", "m", how, whole, CHAMPION, CANDIDATE), store=store, client=client, base=base)
    assert found.base_prompt == "" and found.evidence.arms["base"]["preference_accuracy"].value == 0.5


def test_a_model_that_classifies_is_not_measured_on_it_and_misses_nothing(store: Store, base: ModelFolder):
    how = ModelSettings.model_validate(
        {"labels": ["bad", "good"], "evaluation": {"bootstrap": 200, "latency_items": 0, "concurrency": 4}}
    )
    truths = tuple(replace(row, label=("bad", "good")[n % 2]) for n, row in enumerate(snapshot().rows))
    client = VllmClient("http://engine", transport=engine().transport())
    found = evaluate(
        EvaluationTask("run", "m", how, replace(snapshot(), rows=truths), CHAMPION, CANDIDATE),
        store=store,
        client=client,
        base=base,
    ).evidence
    assert not found.suites
    assert not any("kl_to_base" in name for name in judged(found, how)[1])
    named = how.model_copy(update={"promotion": settings({"kpi": "kl_to_base", "max": 0.5}).promotion})
    assert "kl_to_base was not measured" in judged(found, named)[1]["guardrail kl_to_base"]


def test_latencies_of_answers_in_words_are_compared_between_two_adapters_alone(store: Store, base: ModelFolder):
    how = settings({"kpi": "p95_latency_ms", "ratio": 1.1}, latency_items=24)
    found = run(store, engine(), base, how).evidence
    assert found.relative["p95_latency_ms"].level == 0.05
    assert "times the champion's" in judged(found, how)[1]["guardrail p95_latency_ms"]
    bare = run(store, engine(), base, how, id="other", champion=Version("m", 0, "base", None, None, 0, None)).evidence
    assert "no ratio of" in judged(bare, how)[1]["guardrail p95_latency_ms"]


def test_a_run_that_was_cut_short_pays_no_judge_and_asks_no_likelihood_twice(store: Store, base: ModelFolder):
    voted(store, 60)
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["messages"][-1]["content"])
        if len(asked) == 25:
            raise SystemExit
        return httpx.Response(200, json={"choices": [{"message": {"content": '{"better": "first"}'}}]})

    def judge() -> LlmJudge:
        about = JudgeSettings(url="http://judge/v1", model="j")
        return LlmJudge(about, transport=httpx.MockTransport(answer), fence=lambda: "f", store=store)

    fake = engine()
    with pytest.raises(SystemExit):
        run(store, fake, base, settings(latency_items=0), judge=judge())
    before = len(asked)
    fake.requests.clear()
    found = run(store, fake, base, settings(latency_items=0), judge=judge()).evidence
    assert found.suites["judge_win_rate"].arms["candidate"].value == 0.5
    assert not any(path.startswith("/v1") for path, _ in fake.requests)
    # Those that were under way when it ended, and no others, are sent again.
    assert 120 < len(asked) <= 120 + 4 and before < 120


def test_an_evaluation_that_an_engine_cut_short_asks_no_likelihood_again(store: Store, base: ModelFolder):
    voted(store, 60)
    fake = engine()
    likes = fake.likes
    read = []

    def cut(model: str, word: str) -> float:
        read.append(word)
        if len(read) == 900:
            fake.fault = "down"
        return likes(model, word)

    fake.likes = cut
    with pytest.raises(EngineDown):
        run(store, fake, base, settings(latency_items=0))
    first = [path for path, _ in fake.requests].count("/v1/completions")
    fake.fault = ""
    fake.requests.clear()
    run(store, fake, base, settings(latency_items=0))
    whole = 60 * 2 * 3 + 60 * 2  # the base model's likelihoods serve as reference too
    again = [path for path, _ in fake.requests].count("/v1/completions")
    assert 100 < first < whole and again <= whole - first + 8
