"""Facts about evaluations: which questions every arm gets, what is kept, and how an interrupted one continues."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.db import evaluations
from core.db.store import Store
from core.errors import EngineDown, InputError
from core.model_folder import ModelFolder, fingerprint
from core.prompts import Chat
from core.records import Version
from core.settings import EngineSettings, JudgeSettings, ModelSettings
from eval.context import EvaluationTask
from eval.evaluation import Result, evaluate
from eval.gates.offline import decide
from eval.llm_judge import LlmJudge
from feedback.ingest import ingest
from feedback.snapshot import Report, Row, Snapshot
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine
from tests.support.ingest import asked as asked_of
from tests.support.ingest import pieces

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TRUTH = ("bad", "good")
CHAMPION = Version("m", 1, "m@1.x", "/1", "x", 8, None)
CANDIDATE = Version("m", 2, "m@2.y", "/2", "y", 8, "run")


def snapshot(said: Callable[[int], str]) -> Snapshot:
    """40 rows to learn from, 10 for dev, 60 held out."""
    buckets = ["train"] * 40 + ["dev"] * 10 + ["h1"] * 60
    rows = tuple(
        Row(f"i{n}", f"f{n}", f"u{n // 2}", bucket, Chat((("user", f"text {n}"),)), said(n))
        for n, bucket in enumerate(buckets)
    )
    return Snapshot("s", Path("s"), rows, Report({}, {}, {}, {}, {}, {}))


@pytest.fixture
def base(tmp_path: Path) -> ModelFolder:
    (tmp_path / "config.json").write_text("{}")
    return ModelFolder("base", tmp_path)


@pytest.fixture
def store() -> Any:
    opened = Store(":memory:")
    yield opened
    opened.close()


def settings(**evaluation: Any) -> ModelSettings:
    common = {"bootstrap": 200, "latency_items": 2, "concurrency": 4}
    return ModelSettings.model_validate({"labels": list(TRUTH), "evaluation": common | evaluation})


def engine() -> FakeEngine:
    return FakeEngine(adapters={CHAMPION.engine_name: "/1", CANDIDATE.engine_name: "/2"})


def run(
    store: Store,
    fake: FakeEngine,
    base: ModelFolder,
    how: ModelSettings,
    *,
    id: str = "run",
    champion: Version = CHAMPION,
    said: Callable[[int], str] = lambda n: TRUTH[n % 2],
) -> Result:
    client = VllmClient("http://engine", transport=fake.transport())
    return evaluate(
        EvaluationTask(id, "m", how, snapshot(said), champion, CANDIDATE), store=store, client=client, base=base
    )


def asked(fake: FakeEngine) -> int:
    return sum(path == "/v1/chat/completions" for path, _ in fake.requests)


def test_four_arms_answer_the_holdout_and_a_second_evaluation_costs_nothing_but_its_latencies(
    store: Store, base: ModelFolder
):
    fake = engine()
    found = run(store, fake, base, settings())
    assert list(found.evidence.arms) == ["base", "rag", "champion", "candidate"]
    assert (found.evidence.n, found.evidence.users, found.evidence.holdout) == (60, 30, "h1")
    assert asked(fake) == 60 * 4 + 2 * 4
    fake.requests.clear()
    again = run(store, fake, base, settings(), id="other")
    assert asked(fake) == 2 * 4
    assert again.evidence.holdout_use == 2
    assert again.evidence.arms["candidate"]["accuracy"] == found.evidence.arms["candidate"]["accuracy"]


def test_what_the_candidate_lost_to_the_champion_is_kept_with_the_evaluation(store: Store, base: ModelFolder):
    fake = engine()
    fake.answer = lambda model, prompt: "who knows" if model == CANDIDATE.engine_name else f"answer {prompt}"
    for _ in range(2):  # one that is done again finds the same
        run(store, fake, base, GENERATE, said=lambda n: f"answer text {n}")
    with store.transaction() as transaction:
        kept = transaction._connection.execute("SELECT * FROM regressions ORDER BY place").fetchall()
    assert len(kept) == 20 and [row[1] for row in kept] == list(range(1, 21))
    assert kept[0][0] == "run" and kept[0][3] == "token_f1" and kept[0][6] == "who knows"


def test_labels_of_wrong_answers_alone_decide_nothing(store: Store, base: ModelFolder):
    """The champion gave the other label each time, which is why users labelled these answers."""
    labelled = range(50, 110)
    ingest(store, "g", 0, 0, pieces(*(asked_of(f"i{n}", model="m", answer=TRUTH[1 - n % 2]) for n in labelled)))
    found = run(store, engine(), base, settings()).evidence
    assert found.selection is not None and (found.selection.right, found.selection.wrong) == (0, 60)
    (check,) = [one for one in decide(found, settings().promotion).checks if one.kind == "selection"]
    assert check.outcome == "inconclusive" and "All 60 labels are of answers that were wrong" in check.reason


def test_a_champion_that_is_the_bare_base_needs_no_requests_of_its_own(store: Store, base: ModelFolder):
    fake = engine()
    found = run(store, fake, base, settings(latency_items=0), champion=Version("m", 0, "base", None, None, 0, None))
    assert asked(fake) == 60 * 3
    assert found.evidence.champion_is_base


def test_other_weights_under_the_same_name_are_queried_again(store: Store, base: ModelFolder):
    fake = engine()
    run(store, fake, base, settings(latency_items=0))
    (base.path / "config.json").write_text('{"changed": true}')
    run(store, fake, base, settings(latency_items=0), id="other")
    assert asked(fake) == 2 * 60 * 4


@pytest.mark.parametrize("changed", [{"dtype": "float32"}, {"extra_args": ["--quantization", "fp8"]}])
def test_an_engine_with_other_numerics_is_queried_again(store: Store, base: ModelFolder, changed: dict[str, Any]):
    fake = engine()
    for name, started in (("one", EngineSettings()), ("two", EngineSettings()), ("three", EngineSettings(**changed))):
        client = VllmClient("http://engine", transport=fake.transport())
        fake.requests.clear()
        evaluate(
            EvaluationTask(name, "m", settings(latency_items=0), snapshot(lambda n: TRUTH[n % 2]), CHAMPION, CANDIDATE),
            store=store,
            client=client,
            base=base,
            engine_settings=started,
        )
        assert asked(fake) == (0 if name == "two" else 60 * 4)


def test_a_guardrail_of_no_suite_is_refused_before_the_first_request(store: Store, base: ModelFolder, tmp_path: Path):
    header = {"name": "paper", "kpi": "invoices", "about": "a", "better": "lower", "source": "me", "licence": "mine"}
    (tmp_path / "suite.json").write_text(json.dumps(header))
    lines = [json.dumps({"prompt": f"q {n}", "pattern": ".*y.*"}) for n in range(40)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    guarded = {"promotion": {"guardrails": [{"kpi": "invoice", "max": 0.1}]}}
    how = ModelSettings.model_validate(settings(suites=[str(tmp_path)]).model_dump() | guarded)
    fake = engine()
    with pytest.raises(InputError, match=r"no suite measures invoice\. Did you mean invoices\?"):
        run(store, fake, base, how)
    assert asked(fake) == 0
    guarded = {"promotion": {"guardrails": [{"kpi": "invoices", "margin": 0.1}]}}
    how = ModelSettings.model_validate(settings(suites=[str(tmp_path)]).model_dump() | guarded)
    found = run(store, fake, base, how).evidence
    assert found.suites["invoices"].better == "lower"
    (check,) = [one for one in decide(found, how.promotion).checks if one.name == "guardrail invoices"]
    # The fake's candidate answers with a y where its champion does not, and here that is worse.
    assert check.outcome == "fail"


def test_a_fingerprint_follows_small_files_and_the_size_of_weights(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"12")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"123")
    assert fingerprint(tmp_path) != first


def test_an_evaluation_that_was_cut_short_goes_on_with_its_own_holdout(store: Store, base: ModelFolder):
    fake = engine()
    answers = []

    def answer(model: str, prompt: str) -> str:
        answers.append(prompt)
        if len(answers) == 150:
            fake.fault = "down"
        return "x"

    fake.answer = answer
    with pytest.raises(EngineDown):
        run(store, fake, base, settings(latency_items=0))
    fake.fault = ""
    fake.requests.clear()
    found = run(store, fake, base, settings(latency_items=0))
    assert found.evidence.holdout_use == 1
    assert asked(fake) < 60 * 4 - 130


def test_suites_and_golden_answers_reach_the_gate_and_the_store(store: Store, base: ModelFolder, tmp_path: Path):
    golden = tmp_path / "golden.jsonl"
    golden.write_text("\n".join(json.dumps({"prompt": f"gold {n}", "label": TRUTH[n % 2]}) for n in range(40)))
    own = tmp_path / "own"
    own.mkdir()
    header = {
        "name": "paper",
        "kpi": "format_validity",
        "about": "a",
        "better": "higher",
        "source": "me",
        "licence": "mine",
    }
    (own / "suite.json").write_text(json.dumps(header))
    (own / "a.jsonl").write_text("\n".join(json.dumps({"prompt": f"q {n}", "pattern": ".*y.*"}) for n in range(40)))
    fake = engine()
    how = settings(golden=str(golden), suites=[str(own)])
    found = run(store, fake, base, how)
    suites = found.evidence.suites
    assert suites.keys() == {"format_validity", "golden_accuracy"}
    assert suites["format_validity"].arms["candidate"].value == 1.0
    assert suites["format_validity"].arms["champion"].value == 0.0
    assert "rag" not in suites["golden_accuracy"].arms
    assert suites["golden_accuracy"].difference is not None
    kept = evaluations.of_run(store, run_id="run")
    assert {row["suite"] for row in kept} == {"holdout h1", "paper", "golden"}
    json.dumps(kept, allow_nan=False)
    plain = json.loads(json.dumps(found.plain()))
    assert plain["suites"]["format_validity"]["arms"]["candidate"]["value"] == 1.0
    checks = {check.name: check.reason for check in decide(found.evidence, how.promotion).checks}
    assert "guardrail golden_accuracy" in checks


def test_a_suite_that_cannot_run_keeps_the_champion(store: Store, base: ModelFolder, tmp_path: Path):
    (tmp_path / "suite.json").write_text(
        json.dumps(
            {
                "name": "twins",
                "kpi": "consistency",
                "about": "a",
                "better": "higher",
                "source": "me",
                "licence": "mine",
                "choices": ["a  b", "a b"],
            }
        )
    )
    (tmp_path / "a.jsonl").write_text('{"prompt": "x", "counts": ["a b"]}')
    found = run(store, engine(), base, settings(suites=[str(tmp_path)]))
    assert found.evidence.suites["consistency"].missing
    judged = decide(found.evidence, settings().promotion)
    reasons = [check.reason for check in judged.checks if check.name == "guardrail consistency"]
    assert len(reasons) == 1 and "same tokens" in reasons[0]


def test_a_wrong_golden_file_ends_an_evaluation_before_its_holdout_is_spent(
    store: Store, base: ModelFolder, tmp_path: Path
):
    golden = tmp_path / "golden.jsonl"
    golden.write_text('{"prompt": "x", "label": "strange"}')
    with pytest.raises(InputError, match="line 1"):
        run(store, engine(), base, settings(golden=str(golden)))
    assert evaluations.holdout_uses(store, model="m") == []


GENERATE = ModelSettings.model_validate(
    {"task": "generate", "evaluation": {"bootstrap": 200, "latency_items": 1, "max_tokens": 9, "concurrency": 4}}
)


def test_answers_in_words_are_compared_with_users_corrections(store: Store, base: ModelFolder):
    fake = engine()
    fake.answer = lambda model, prompt: f"answer {prompt}" if model == CANDIDATE.engine_name else "who knows"
    found = run(store, fake, base, GENERATE, said=lambda n: f"answer text {n}").evidence
    assert found.arms["candidate"]["exact_match"].value == 1.0
    assert found.arms["champion"]["token_f1"].value == 0.0
    assert found.differences["token_f1"]["champion"].lower == 1.0
    assert found.arms["candidate"]["answer_tokens"].value == 3
    assert found.arms["rag"]["prompt_tokens"].value == found.arms["base"]["prompt_tokens"].value
    judged = decide(found, GENERATE.promotion)
    assert judged.outcome == "pass", judged.reason


def test_generation_that_is_no_better_is_not_promoted(store: Store, base: ModelFolder):
    found = run(store, engine(), base, GENERATE, said=lambda n: f"heard text {n}").evidence
    assert decide(found, GENERATE.promotion).outcome != "pass"


def judge_that_says(said: str) -> LlmJudge:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"choices": [{"message": {"content": said}}]})

    return LlmJudge(JudgeSettings(url="http://judge/v1", model="j"), transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(("said", "outcome"), [('{"better": "tie"}', "pass"), ("rubbish", "inconclusive")])
def test_a_judge_has_a_say_and_one_that_fails_keeps_the_champion(
    store: Store, base: ModelFolder, said: str, outcome: str
):
    fake = engine()
    fake.answer = lambda model, prompt: f"answer {prompt}" if model == CANDIDATE.engine_name else "who knows"
    client = VllmClient("http://engine", transport=fake.transport())
    found = evaluate(
        EvaluationTask("r", "m", GENERATE, snapshot(lambda n: f"answer text {n}"), CHAMPION, CANDIDATE),
        store=store,
        client=client,
        base=base,
        judge=judge_that_says(said),
    )
    judged = decide(found.evidence, GENERATE.promotion)
    assert judged.outcome == outcome, judged.reason
    if outcome == "pass":
        assert found.evidence.suites["judge_win_rate"].arms["candidate"].value == 0.5
        assert found.evidence.arms["candidate"]["judge_consistency"].value == 1.0
    else:
        assert "does not have the required form" in judged.reason
