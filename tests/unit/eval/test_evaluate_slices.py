"""Facts about an evaluation of a candidate that is better as a whole and worse on one topic. docs/gates.md has it."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.db.store import Store
from core.model_folder import ModelFolder
from core.prompts import Chat
from core.records import Version
from core.settings import ModelSettings
from eval.context import EvaluationTask
from eval.evaluation import evaluate
from eval.gates.offline import decide
from eval.ledger_evidence import plain_evidence
from feedback.ingest import ingest
from feedback.snapshot import Report, Row, Snapshot
from ops.cli import reports
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine
from tests.support.apps import add_app
from tests.support.ingest import asked, pieces

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
CHAMPION = Version("m", 1, "m@1.x", "/1", "x", 8, None)
CANDIDATE = Version("m", 2, "m@2.y", "/2", "y", 8, "run")
LABELS = ("angry", "calm")
TOPICS = {
    "delivery": "parcel courier tracking doorstep warehouse late",
    "refund": "refund money invoice charged statement paid",
    "login": "password account locked reset email browser",
}
SETTINGS = ModelSettings.model_validate(
    {"labels": list(LABELS), "evaluation": {"bootstrap": 2000, "latency_items": 0, "concurrency": 4}}
)
# The share of right answers of each model. The candidate is right on 20% of the questions about refunds.
RIGHT = {"base": 0.5, CHAMPION.engine_name: 0.6, CANDIDATE.engine_name: 0.95}


def chance(*about: object) -> float:
    return random.Random(" ".join(map(str, about))).random()


def topic_of(n: int) -> str:
    return list(TOPICS)[int(chance("topic", n) * 3)]


def app_of(n: int) -> str:
    return "shop" if chance("app", n) < 0.6 else "chat"


def label_of(n: int) -> str:
    return LABELS[chance("label", n) < 0.5]


def question(n: int) -> str:
    words = random.Random(n).sample(TOPICS[topic_of(n)].split(), 3)
    return f"{' '.join(words)} {n}"


def answer(model: str, prompt: str) -> str:
    n = int(prompt.rsplit(maxsplit=1)[-1])
    fell = model == CANDIDATE.engine_name and topic_of(n) == "refund"
    is_right = chance(model, n) < (0.2 if fell else RIGHT[model])
    return label_of(n) if is_right else LABELS[label_of(n) == LABELS[0]]


def snapshot(count: int) -> Snapshot:
    buckets = ["train"] * 40 + ["dev"] * 10 + ["h1"] * count
    rows = tuple(
        Row(
            f"i{n}",
            f"f{n}",
            f"user:u{n // 2}",
            bucket,
            Chat((("user", question(n)),)),
            label_of(n),
            asker=f"user:u{n // 2}",
        )
        for n, bucket in enumerate(buckets)
    )
    return Snapshot("s", Path("s"), rows, Report({}, {}, {}, {}, {}, {}))


def filled_store(count: int) -> Store:
    store = Store(":memory:")
    for id, name in (("k1", "shop"), ("k2", "chat")):
        add_app(store, id, name)
    made = [
        asked(
            f"i{n}",
            model="m",
            time=MONDAY + timedelta(days=int(chance("day", n) * 28)),
            key_id="k1" if app_of(n) == "shop" else "k2",
            answer=answer(CHAMPION.engine_name, question(n)),
        )
        for n in range(50, 50 + count)
    ]
    ingest(store, "g", 0, 0, pieces(*made))
    return store


def test_a_candidate_that_is_better_as_a_whole_fails_on_the_topic_that_it_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "config.json").write_text("{}")
    fake = FakeEngine(adapters={CHAMPION.engine_name: "/1", CANDIDATE.engine_name: "/2"}, answer=answer)
    task = EvaluationTask("run", "m", SETTINGS, snapshot(600), CHAMPION, CANDIDATE)
    store = filled_store(600)
    client = VllmClient("http://engine", transport=fake.transport())
    result = evaluate(task, store=store, client=client, base=ModelFolder("base", tmp_path))
    judged = decide(result.evidence, SETTINGS.promotion)
    assert [check.name for check in judged.checks if check.outcome == "fail"] == ["slices"]
    (check,) = [check for check in judged.checks if check.name == "slices"]
    assert "In the slice topic" in check.reason and "slices together" in check.reason
    assert result.evidence.slices is not None
    lowest = result.evidence.slices.slices[0]
    assert lowest.dimension == "topic" and set(lowest.value.split(", ")) <= set(TOPICS["refund"].split())
    # The whole topic fell, so none of its words explains the loss.
    assert not lowest.words
    # The shop as a whole gained.
    (shop,) = [one for one in result.evidence.slices.slices if one.name == "app shop"]
    assert shop.difference.lower > 0 and not shop.words
    reports._slices(plain_evidence(result.evidence))
    assert "app shop" in capsys.readouterr().out
    store.close()


def test_an_evaluation_without_the_setting_measures_no_slices(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    fake = FakeEngine(adapters={CHAMPION.engine_name: "/1", CANDIDATE.engine_name: "/2"}, answer=answer)
    off = SETTINGS.model_copy(update={"promotion": SETTINGS.promotion.model_copy(update={"slices": None})})
    store = filled_store(60)
    client = VllmClient("http://engine", transport=fake.transport())
    task = EvaluationTask("run", "m", off, snapshot(60), CHAMPION, CANDIDATE)
    found = evaluate(task, store=store, client=client, base=ModelFolder("base", tmp_path)).evidence
    assert found.slices is None and plain_evidence(found)["slices"] is None
    store.close()
