"""Measure snapshots and pages on a store of 10 million interactions with a million votes.

    python -m bench.store

SQL fills a store through the real schema. A process of its own makes each snapshot, so that its memory is that of the
snapshot. The console's pages come from the real control app. The last line is one JSON object; progress goes to stderr.
"""

import argparse
import asyncio
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from bench.ingest import corpus
from bench.progress import say
from core.clock import utc_now
from core.db.store import Store
from core.model_folder import ModelFolder
from core.settings import Settings, build
from feedback.brigades import find_brigades
from feedback.snapshot import create_snapshot
from ops.apps import control as control_app
from retrain.triggers import count_new

MODEL = "reviews"
LABELS = ("negative", "neutral", "positive")
DAYS = 90
ROUNDS = 20
FILL_AT_ONCE = 500_000
# Rows of a snapshot per interaction, and votes of the second snapshot: 100,000 and 10,000 at full size.
ROWS_SHARE, MORE_SHARE = 0.01, 0.001
# A text has three of these parts, so that hardly any two texts share more than one.
PARTS, PART_LENGTH = 60_000, 330
# Each 30th answer with a vote has nearly the same text as the one before.
SEED = "CASE WHEN n // $every % 30 = 1 AND n % $every = 0 THEN n - $every ELSE n END"
TRUTH = f"$labels[1 + (hash({SEED}, 4) % 3)::INTEGER]"
ANSWER = f"CASE WHEN hash(n, 5) % 10 < 7 THEN {TRUTH} ELSE $labels[1 + (hash(n, 6) % 3)::INTEGER] END"
USER = "CASE WHEN hash(n, 7) % 50 = 0 THEN 'busy-' || hash(n, 8) % 20 ELSE 'user-' || hash(n, 9) % 100003 END"
ID = "'chatcmpl-' || printf('%011x', 1700000000000 + n) || md5(n::VARCHAR)"
FILL_ANSWERS = f"""
INSERT INTO interactions BY NAME
SELECT {ID} AS id, $start + to_microseconds(n * $step) AS time, '{MODEL}' AS model,
    (1 + n * 20 // $rows)::INTEGER AS version, 'champion' AS arm, 0.0 AS share, (n % 997) / 997.0 AS bucket,
    {USER} AS user_id, 'chat' AS endpoint,
    '{{"messages":[{{"role":"system","content":"Is this text positive, neutral or negative? Answer with one word."}},'
    '{{"role":"user","content":"' || a.text || ' ' || b.text || ' ' || c.text || CASE WHEN seed < n THEN '!' ELSE '' END
    || '"}}],"max_tokens":5}}' AS request,
    {ANSWER} AS answer, 'stop' AS finish_reason, 200 AS status, 80.0 AS latency_ms, 250 AS prompt_tokens,
    2 AS completion_tokens, FALSE AS streamed, 'shop' AS key_id
FROM (SELECT n, {SEED} AS seed FROM range($first, $last) numbers(n))
JOIN parts a ON a.place = hash(seed, 1) % {PARTS} JOIN parts b ON b.place = hash(seed, 2) % {PARTS}
JOIN parts c ON c.place = hash(seed, 3) % {PARTS}
"""
# Of ten votes one is a label, eight are thumbs, and one is another one. Each label is true with a chance of 80 %.
FILL_VOTES = f"""
INSERT INTO feedback BY NAME
SELECT printf('fb-%012d', $offset + vote) AS id, $start + to_microseconds(n * $step + 60000000) AS time,
    {ID} AS interaction_id, type, CASE type
        WHEN 'label' THEN '"' || CASE WHEN hash(n, 10) % 10 < 7 THEN {TRUTH}
            ELSE $labels[1 + (hash(n, 11) % 3)::INTEGER] END || '"'
        WHEN 'thumbs' THEN CASE WHEN {TRUTH} = {ANSWER} THEN 'true' ELSE 'false' END
        WHEN 'comment' THEN '"the parcel number ' || n || ' came late"'
        ELSE '"other"' END AS value,
    CASE WHEN hash(n, 12) % 3 = 0 THEN {USER} END AS user_id, '{{}}' AS metadata, '{MODEL}' AS model,
    (1 + n * 20 // $rows)::INTEGER AS version, 'shop' AS key_id, 'champion' AS arm, $arrived::TIMESTAMP AS arrived
FROM (SELECT vote, vote * $every + $shift AS n, [
    'label', 'thumbs', 'thumbs', 'thumbs', 'thumbs', 'thumbs', 'thumbs', 'thumbs', 'thumbs', 'comment', 'flag'
][1 + (hash(vote, 13) % 11)::INTEGER] AS type FROM range($votes) numbers(vote))
"""
FILL_USAGE = """
INSERT INTO usage_daily SELECT model, coalesce(key_id, ''), CAST(time AS DATE), count(*),
    count(*) FILTER (WHERE status >= 500), sum(prompt_tokens), sum(completion_tokens) FROM interactions GROUP BY ALL
"""
FILL_TRAFFIC = """
INSERT INTO traffic_daily SELECT model, version, arm, CAST(time AS DATE), count(*), 0,
    sum(prompt_tokens + completion_tokens) FROM interactions GROUP BY ALL
"""
PAGES = (
    "/overview",
    "/promotions",
    f"/models/{MODEL}",
    "/feedback",
    f"/feedback?model={MODEL}&kind=label",
    "/feedback?words=number+777",
    f"/feedback/queue?model={MODEL}",
    "/quarantine",
    "/runs",
    "/system",
    "/metrics",
)


def settings_at(data: Path, rows: int) -> Settings:
    """One model with a maximum number of rows for its only key, and no engine that answers."""
    trust = {"rows_per_key": max(1, round(rows * ROWS_SHARE)), "duplicate_similarity": 0.8}
    models = {MODEL: {"labels": list(LABELS), "trust": trust}}
    return build({"data": str(data), "access": "open", "models": models, "engine": {"urls": ["http://127.0.0.1:9"]}})


def parts(text: str) -> pa.Table:
    """Parts of texts by number, without what JSON would have to quote."""
    plain = "".join(letter if letter.isprintable() and letter not in '"\\' else " " for letter in text)
    step = max(1, (len(plain) - PART_LENGTH) // PARTS)
    return pa.table({"place": range(PARTS), "text": [plain[n * step : n * step + PART_LENGTH] for n in range(PARTS)]})


def fill(data: Path, rows: int, votes: int) -> None:
    """Make the store."""
    store = Store(settings_at(data, rows).store_path)
    connection = store._connection
    connection.register("parts", parts(corpus()))
    given = common(rows, votes)
    answers = {name: given[name] for name in ("start", "step", "rows", "labels", "every")}
    for first in range(0, rows, FILL_AT_ONCE):
        connection.execute(FILL_ANSWERS, answers | {"first": first, "last": min(first + FILL_AT_ONCE, rows)})
        say(f"{min(first + FILL_AT_ONCE, rows):,} interactions are in the store")
    arrived = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    connection.execute(FILL_VOTES, given | {"votes": votes, "offset": 0, "shift": 0, "arrived": arrived})
    connection.execute(FILL_TRAFFIC)
    connection.execute(FILL_USAGE)
    say(f"{votes:,} votes are in the store")
    store.close()


def add_votes(data: Path, rows: int, votes: int) -> None:
    """Add votes on the newest answers that have none."""
    more = max(1, round(rows * MORE_SHARE))
    store = Store(settings_at(data, rows).store_path)
    given = common(rows, votes)
    shift = rows - more * given["every"] + 1
    now = datetime.now(UTC).replace(tzinfo=None)
    store._connection.execute(FILL_VOTES, given | {"votes": more, "offset": votes, "shift": shift, "arrived": now})
    store.close()
    say(f"{more:,} more votes are in the store")


def common(rows: int, votes: int) -> dict[str, Any]:
    """The parameters of each filling statement."""
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=DAYS)
    step = DAYS * 86_400_000_000 // rows
    return {"start": start, "step": step, "rows": rows, "labels": list(LABELS), "every": rows // votes}


def snapshot(data: Path, rows: int) -> dict[str, Any]:
    """What a run does before it trains: look for brigades, then make the snapshot. The body of another process."""
    settings = settings_at(data, rows)
    store = Store(settings.store_path)
    own = settings.models[MODEL]
    began = time.perf_counter()
    count_new(store, MODEL, own)
    counted = time.perf_counter()
    held = sum(len(burst.predicates) for burst in find_brigades(store, MODEL, own))
    searched, busy = time.perf_counter(), time.process_time()
    made = create_snapshot(store, MODEL, own, run_id=f"run-{began}", folder=data / "snapshots", clock=utc_now)
    done = time.perf_counter()
    store.close()
    return {
        "rows": len(made.rows),
        "left_out": made.report.left_out,
        "duplicates": made.report.duplicates,
        "suspects": held,
        "count_s": round(counted - began, 2),
        "brigades_s": round(searched - counted, 2),
        "snapshot_s": round(done - searched, 2),
        "cpu_s": round(time.process_time() - busy, 2),
        "rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


async def read_pages(data: Path, rows: int, rounds: int = ROUNDS) -> dict[str, float]:
    """The 95th percentile of each page's time in ms, of all of them, and of their time on all cores."""
    app = control_app.create_app(settings=settings_at(data, rows), base=ModelFolder("tiny", data))
    app.state.control.promotion.sync_models([MODEL])
    times: dict[str, list[float]] = {page: [] for page in PAGES}
    busy: list[float] = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
        for number in range(rounds + 1):
            for page, own in times.items():
                began, before = time.perf_counter(), time.process_time()
                (await client.get(page)).raise_for_status()
                if number:  # the first round reads the file
                    own.append((time.perf_counter() - began) * 1000)
                    busy.append((time.process_time() - before) * 1000)
    app.state.control.store.close()
    return {page: percentile_95(own) for page, own in times.items()} | {
        "all": percentile_95([one for own in times.values() for one in own]),
        "cpu": percentile_95(busy),
    }


def percentile_95(values: list[float]) -> float:
    """The 95th percentile, to a tenth."""
    return round(sorted(values)[math.ceil(0.95 * len(values)) - 1], 1)


def in_process(part: str, data: Path, rows: int) -> dict[str, Any]:
    """The result of one part of the benchmark, from a process of its own."""
    command = [sys.executable, "-m", "bench.store", "--part", part, "--data", str(data), "--rows", str(rows)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    say(f"{part}: {found.stdout.strip()}")
    return dict(json.loads(found.stdout))


def measure(data: Path, rows: int, votes: int) -> dict[str, Any]:
    """Fill the store and run each part."""
    fill(data, rows, votes)
    first = in_process("snapshot", data, rows)
    pages = in_process("pages", data, rows)
    add_votes(data, rows, votes)
    second = in_process("snapshot", data, rows)
    every, busy = pages.pop("all"), pages.pop("cpu")
    return {
        "rows": rows,
        "votes": votes,
        "snapshot_rows": first["rows"],
        "snapshot_s": first["snapshot_s"],
        "snapshot_cpu_s": first["cpu_s"],
        "brigades_s": first["brigades_s"],
        "incremental_s": second["snapshot_s"],
        "incremental_cpu_s": second["cpu_s"],
        "rss_gb": max(first["rss_gb"], second["rss_gb"]),
        "query_p95_ms": every,
        "query_cpu_p95_ms": busy,
        "slowest_page": max(pages, key=lambda page: pages[page]),
        "slowest_page_p95_ms": max(pages.values()),
    }


def main() -> None:
    """Runs the benchmark, or one part of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="interactions; default 10,000,000")
    parser.add_argument("--votes", type=int, help="votes; default one per ten interactions")
    parser.add_argument("--part", choices=["snapshot", "pages"], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help="a folder in which the store stays; default a temporary one")
    options = parser.parse_args()
    match options.part:
        case "snapshot":
            print(json.dumps(snapshot(options.data, options.rows)))
            return
        case "pages":
            print(json.dumps(asyncio.run(read_pages(options.data, options.rows))))
            return
    Path("data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir="data") as folder:
        print(json.dumps(measure(options.data or Path(folder), options.rows, options.votes or options.rows // 10)))


if __name__ == "__main__":
    main()
