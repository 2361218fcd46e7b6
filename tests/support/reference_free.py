"""A model that generates, its held-out votes, and an evaluation of a candidate by them before the fake engine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core.db.store import Store
from core.model_folder import ModelFolder
from core.prompts import Chat
from core.record_codec import encode
from core.records import Feedback, Version
from core.settings import ModelSettings
from core.spool import frame
from eval.context import EvaluationTask
from eval.evaluation import Result, evaluate
from eval.gates.offline import decide
from eval.gates.result import GateResult
from eval.kpis.evidence import Evidence
from eval.llm_judge import LlmJudge
from feedback.ingest import ingest
from feedback.pairs import pairs_of
from feedback.snapshot import Report, Row, Snapshot, curate_pairs_of
from feedback.split import bucket_of
from serve.engines.control_client import VllmClient
from serve.engines.fake import FakeEngine
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CHAMPION = Version("m", 1, "m@1.x", "/1", "x", 8, None)
CANDIDATE = Version("m", 2, "m@2.y", "/2", "y", 8, "run")
HELD = [user for user in (f"u{n}" for n in range(1000)) if bucket_of(f"user:{user}", train=0.6, dev=0.1) == "h1"]


def settings(*guardrails: dict[str, Any], kpi: str = "token_f1", **evaluation: Any) -> ModelSettings:
    common = {"bootstrap": 300, "latency_items": 2, "max_tokens": 9, "concurrency": 4}
    promotion = {"primary": {"kpi": kpi}, "guardrails": list(guardrails)}
    return ModelSettings.model_validate({"task": "generate", "evaluation": common | evaluation, "promotion": promotion})


def snapshot() -> Snapshot:
    rows = [Row(f"t{n}", f"ft{n}", "user:t", "train", Chat((("user", f"learn {n}"),)), "answer it") for n in range(9)]
    rows += [
        Row(f"i{n}", f"f{n}", f"user:{HELD[n // 2]}", "h1", Chat((("user", f"text {n}"),)), f"answer text {n}")
        for n in range(60)
    ]
    return Snapshot("s", Path("s"), tuple(rows), Report({}, {}, {}, {}, {}, {}))


def engine() -> FakeEngine:
    """A candidate that answers as users would, and finds kind words likelier than anybody else does."""
    fake = FakeEngine(adapters={CHAMPION.engine_name: "/1", CANDIDATE.engine_name: "/2"})
    fake.answer = lambda model, prompt: f"answer {prompt}" if model == CANDIDATE.engine_name else "who knows"
    fake.likes = lambda model, word: -0.8 if (model, word) == (CANDIDATE.engine_name, "kind") else -1.0
    return fake


def voted(store: Store, count: int, *, offset: int = 0) -> None:
    """Held-out users who saw a kind and a dull answer and liked the kind one, and said so by thumbs too."""
    data = b""
    for n in range(offset, offset + count):
        user = HELD[n % 20]
        for side, said in (("a", "kind"), ("b", "dull")):
            data += frame(
                encode(
                    interaction(
                        f"p{n}{side}",
                        time=NOW,
                        user=user,
                        answer=f"{said} words",
                        request={"messages": [{"role": "user", "content": f"question {n}"}]},
                    )
                )
            )
            up = Feedback(f"t{n}{side}", NOW, f"p{n}{side}", None, "thumbs", side == "a", user=user)
            data += frame(encode(up))
        value = {"chosen": f"p{n}a", "rejected": f"p{n}b"}
        data += frame(encode(Feedback(f"v{n}", NOW + timedelta(seconds=n), None, None, "preference", value, user=user)))
    ingest(store, f"g{offset}", 1, 0, data)


def with_pairs(store: Store, how: ModelSettings) -> Snapshot:
    """The snapshot with the pairs that curation makes of the store."""
    curated = curate_pairs_of(store, "m", how)
    pairs = tuple(pairs_of(curated.pairs))
    return replace(snapshot(), pairs=pairs, report=Report({}, {}, {}, {}, {}, {}, pairs={"left_out": curated.left_out}))


def run(
    store: Store,
    fake: FakeEngine,
    base: ModelFolder,
    how: ModelSettings,
    *,
    id: str = "run",
    champion: Version = CHAMPION,
    judge: LlmJudge | None = None,
    whole: Snapshot | None = None,
) -> Result:
    client = VllmClient("http://engine", transport=fake.transport())
    return evaluate(
        EvaluationTask(id, "m", how, with_pairs(store, how) if whole is None else whole, champion, CANDIDATE),
        store=store,
        client=client,
        base=base,
        judge=judge,
    )


def judged(evidence: Evidence, how: ModelSettings) -> tuple[GateResult, dict[str, str]]:
    found = decide(evidence, how.promotion)
    return found, {check.name: f"{check.outcome}: {check.reason}" for check in found.checks}
