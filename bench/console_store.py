"""A store of several years for the benchmark of the console: decisions, votes, answers, quarantines, snapshots.

It is filled by SQL through the real schema.
"""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.progress import say
from core.db import quarantines, routes, runs, versions
from core.db.store import Store, Transaction
from core.ledger import append
from core.records import Decision, Verdict
from core.settings import Settings, build

MODELS = ("reviews", "notes", "movies")
LABELS = ("negative", "neutral", "positive")
# Quarantines of so many users each, and one of a key for a day; each second one is released. One in three votes names
# no user, and of one in nine the answer names none either.
QUARANTINES = 20
HELD_USERS = 5
# Rows of the snapshot of each champion.
SNAPSHOT_ROWS = 50_000
DAYS = 120
# Whole batches, so that DuckDB's index on ids grows within its memory.
BATCH = 1_000_000
KPIS = ("accuracy", "macro_f1", "weighted_f1", "roc_auc", "brier")

FILL_ANSWERS = """
INSERT INTO interactions (id, time, model, version, arm, share, bucket, user_id, conversation_id, endpoint, request,
    answer, finish_reason, status, latency_ms, ttft_ms, prompt_tokens, completion_tokens, streamed, key_id, cause)
SELECT printf('chatcmpl-%012d', n), $start + to_microseconds(n * $step), $models[1 + n % 3],
    CAST(n // 200000 AS INTEGER), 'champion', 0.0, (n % 997) / 997.0,
    CASE WHEN n % 90 > 0 THEN 'user-' || (n % 100003) END, NULL, 'chat',
    '{"messages":[{"role":"user","content":"the parcel number ' || n || ' came late and the box was torn"}]}',
    $labels[1 + n % 3], 'stop', CASE WHEN n % 5003 = 0 THEN 502 ELSE 200 END, 80.0, NULL, 60, 2, FALSE, 'shop',
    'answered'
FROM range($first, $last) numbers(n)
"""
FILL_VOTES = """
INSERT INTO feedback (id, time, interaction_id, conversation_id, type, value, comment, user_id, metadata, revoked_at,
    model, version, key_id, arm, arrived, asker)
SELECT printf('fb-%012d', n), $start + to_microseconds((n * 10 + 5) * $step),
    printf('chatcmpl-%012d', n * 10), NULL, CASE WHEN n % 4 = 0 THEN 'label' ELSE 'thumbs' END,
    CASE WHEN n % 4 = 0 THEN '"' || $labels[1 + n % 3] || '"' WHEN n % 5 = 0 THEN 'false' ELSE 'true' END,
    CASE WHEN n % 11 = 0 THEN 'it should say number ' || n ELSE NULL END,
    CASE WHEN n % 3 > 0 THEN 'user-' || (n * 10 % 100003) END, '{}',
    CASE WHEN n % 50 = 0 THEN $start + to_microseconds((n * 10 + 500) * $step) END,
    $models[1 + (n * 10) % 3], CAST((n * 10) // 200000 AS INTEGER), 'shop', 'champion',
    $start + to_microseconds((n * 10 + 5) * $step),
    CASE WHEN n % 3 = 0 AND n % 9 > 0 THEN 'user-' || (n * 10 % 100003) END
FROM range($last) numbers(n)
"""
FILL_STEPS = """
INSERT INTO run_metrics SELECT id, started + to_seconds(10 * n), 'training', n, 20, '{"loss": ' || (2 / (1 + n)) || '}'
FROM runs, range(20) steps(n)
"""
FILL_LOOKS = """
INSERT INTO canary_looks SELECT id, n, started + to_minutes(n), 'wait', 'So far.', $body FROM runs, range(1, 6) looks(n)
"""
FILL_CANARIES = """
INSERT INTO canaries (run_id, model, control, candidate, share, started, finished, score_sd, plan, decision)
SELECT id, model, 0, 1, 0.5, started, started + INTERVAL 1 DAY, 0.5, '{}', '{}' FROM runs
"""
FILL_SNAPSHOTS = """
UPDATE runs SET snapshot = 'snapshot-' || r.model FROM (
    SELECT v.run_id, v.model FROM versions v JOIN routes r ON r.model = v.model AND r.champion = v.version
    QUALIFY row_number() OVER (PARTITION BY r.model ORDER BY r.rev DESC) = 1
) r WHERE runs.id = r.run_id;
INSERT INTO snapshot_rows BY NAME
SELECT 'snapshot-' || model AS snapshot, interaction_id, id AS feedback_id, 'train' AS bucket FROM feedback
QUALIFY row_number() OVER (PARTITION BY model ORDER BY time DESC) <= $most ORDER BY snapshot
"""
ARM = {"users": 200, "requests": 600, "score_mean": 0.1, "score_sd": 0.5, "rate_mean": 0.4, "rate_sd": 0.3, "harmed": 1}
LOOK = {
    "control": ARM,
    "canary": ARM,
    "difference": 0.02,
    "half_width": 0.1,
    "line": -0.05,
    "ln_harm": None,
    "sample_ratio_p": 0.6,
    "share": 0.5,
}
FILL_USAGE = """
INSERT INTO usage_daily SELECT model, coalesce(key_id, ''), CAST(time AS DATE), count(*),
    count(*) FILTER (WHERE status >= 500), sum(prompt_tokens), sum(completion_tokens) FROM interactions GROUP BY ALL
"""
FILL_TRAFFIC = """
INSERT INTO traffic_daily
SELECT model, version, arm, CAST(time AS DATE), count(*), count(*) FILTER (WHERE status >= 500),
    sum(prompt_tokens + completion_tokens) FROM interactions GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows the store has; each tenth answer may have a vote."""

    decisions: int = 10_000
    votes: int = 1_000_000
    answers: int = 10_000_000


def settings_at(data: Path) -> Settings:
    """Three models and no engine that answers."""
    models = {
        name: {"labels": list(LABELS), "retrain": {"schedule": "0 3 1 1 *", "min_new_feedback": 10**9}}
        for name in MODELS
    }
    return build({"data": str(data), "access": "open", "models": models, "engine": {"urls": ["http://127.0.0.1:9"]}})


def fill(data: Path, size: Size) -> None:
    """Makes the store."""
    store = Store(settings_at(data).store_path)
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=DAYS)
    step = DAYS * 86_400_000_000 // size.answers
    common = {"start": start, "step": step, "labels": list(LABELS), "models": list(MODELS)}
    connection = store._connection
    for first in range(0, size.answers, BATCH):
        last = min(first + BATCH, size.answers)
        connection.execute(FILL_ANSWERS, common | {"first": first, "last": last})
        connection.execute("CHECKPOINT")
        say(f"{last:,} answers")
    connection.execute(FILL_VOTES, common | {"last": size.votes})
    connection.execute(FILL_TRAFFIC)
    connection.execute(FILL_USAGE)
    say(f"{size.votes:,} votes")
    with store.transaction() as transaction:
        for number in range(size.decisions):
            decision(transaction, number, start.replace(tzinfo=UTC) + timedelta(days=DAYS) * (number / size.decisions))
        for number in range(QUARANTINES):
            users = [quarantines.Predicate(user=f"user-{100 * number + user}") for user in range(HELD_USERS)]
            quarantine(transaction, number, size.decisions * number // QUARANTINES, start.replace(tzinfo=UTC), users)
        held = quarantines.Predicate("shop", None, start + timedelta(days=DAYS - 2), start + timedelta(days=DAYS - 1))
        quarantine(transaction, QUARANTINES, 0, start.replace(tzinfo=UTC), [held])
    connection.execute(FILL_STEPS)
    connection.execute(FILL_LOOKS, {"body": json.dumps(LOOK)})
    connection.execute(FILL_CANARIES)
    for statement in FILL_SNAPSHOTS.split(";"):
        connection.execute(statement, {"most": SNAPSHOT_ROWS} if "$most" in statement else {})
    connection.execute("CHECKPOINT")
    say(f"{size.decisions:,} decisions")
    store.close()


def decision(transaction: Transaction, number: int, moment: datetime) -> None:
    """One run with its version and decision, and a change of the route where it was promoted."""
    model, version = MODELS[number % 3], 1 + number // 3
    promoted = number % 2 == 0
    run_id = f"run-{number:06d}"
    row = Decision(
        id=f"dec-{number:06d}",
        time=moment,
        model=model,
        from_version=version - 1,
        to_version=version,
        verdict=Verdict.PROMOTED if promoted else Verdict.KEPT,
        reason="macro_f1 +0.012, needs more than +0.000.",
        trigger="schedule 0 3 * * *",
        actor="scheduler",
        run_id=run_id,
        evidence=evidence(number),
        lineage={
            "base_model": "smollm2-135m-instruct",
            "adapter_sha256": f"{number:064x}",
            "snapshot": f"{number:064x}",
            "rows": {"train": 500 + number, "h1": 330},
            "users": {"train": 400},
            "signals": {"label": 1730},
            "left_out": {},
            "training": {"rank": 16, "seed": 0},
        },
    )
    append(transaction, row)
    runs.add(
        transaction, id=run_id, model=model, trigger="schedule", state="training", started=moment, feedback_until=moment
    )
    runs.set_state(transaction, id=run_id, state="finished", time=moment + timedelta(minutes=20), reason=row.reason)
    versions.add(
        transaction,
        model=model,
        version=version,
        engine_name=f"{model}@{version}",
        path="/nowhere",
        sha256=f"{number:064x}",
        rank=16,
        run_id=run_id,
        time=moment,
        kind="adapter",
    )
    if promoted:
        routes.add(
            transaction,
            model=model,
            rev=number + 2,
            time=moment,
            champion=version,
            canary=None,
            share=0.0,
            previous=version - 1,
            salt="s",
            decision_id=row.id,
            holdback=0.0,
        )


def quarantine(
    transaction: Transaction, number: int, of_decision: int, moment: datetime, predicates: list[quarantines.Predicate]
) -> None:
    """A quarantine of votes after a decision."""
    id, model = f"quar-{number}", MODELS[of_decision % 3]
    quarantines.add(transaction, id=id, model=model, version=None, decision_id=f"dec-{of_decision:06d}", time=moment)
    quarantines.add_predicates(transaction, id=id, predicates=predicates)
    if number % 2:
        later = moment + timedelta(days=DAYS)
        quarantines.set_outcome(transaction, id=id, state="released", time=later, actor="ann", comment="")


def evidence(number: int) -> dict[str, Any]:
    """An evaluation's evidence, as large as a real one."""
    value = 0.6 + 0.2 * math.sin(number / 500)

    def measures(plus: float) -> dict[str, Any]:
        return {kpi: {"value": value + plus, "low": value + plus - 0.04, "high": value + plus + 0.04} for kpi in KPIS}

    arms = {
        arm: measures(plus) for arm, plus in (("base", -0.1), ("rag", -0.05), ("champion", 0.0), ("candidate", 0.03))
    }
    difference = {"value": 0.03, "lower": 0.01, "upper": 0.05, "level": 0.03}
    gate = [
        {
            "name": f"{kpi} against champion",
            "outcome": "pass",
            "reason": f"{kpi}: +0.030, needs more than +0.000.",
            "value": 0.03,
            "bound": 0.01,
            "threshold": 0.0,
        }
        for kpi in KPIS
    ]
    return {
        "n": 330,
        "users": 121,
        "holdout": "h1",
        "holdout_use": 1,
        "base_prompt": "Answer with one word.",
        "arms": arms,
        "tfidf_logreg": measures(-0.02),
        "gate": gate,
        "primary": "macro_f1",
        "labels": list(LABELS),
        "differences": {kpi: dict.fromkeys(("champion", "base", "rag"), difference) for kpi in KPIS},
        "confusion": {arm: [[90, 12, 8], [14, 80, 16], [5, 11, 94]] for arm in arms},
    }
