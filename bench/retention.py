"""Measure a deletion by age: finding what is old, deleting it in pieces, and rewriting the store's file.

python -m bench.retention --rows 1000000

Half of the interactions are old; one in ten has a vote. Texts are of random words, 1.3 kB each.
The last line is one JSON object. Seconds are of the CPU, because the
machine may have other work. `longest_piece_ms` is wall time: how long other writers wait.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.db.store import Store
from core.settings import RetentionSettings
from feedback.retention import delete_rows, find_rows

DAYS = 365
AT_ONCE = 100_000
FILL = """
INSERT INTO interactions (id, time, model, version, arm, share, user_id, endpoint, request, answer, status, latency_ms,
    streamed, key_id)
SELECT printf('%011x', n) || md5(n::VARCHAR), $start::TIMESTAMP + to_seconds(n * $step), 'reviews', 1, 'champion', 0.0,
    'user-' || (hash(n) % 100003), 'chat', '{"messages":[{"role":"user","content":"' ||
    list_aggregate([printf('%x', hash(n * 200 + place) % 200000) FOR place IN range(150)], 'string_agg', ' ') || '"}]}',
    list_aggregate([printf('%x', hash(n * 31 + place) % 200000) FOR place IN range(60)], 'string_agg', ' '),
    200, 80.0, FALSE, 'shop'
FROM range($first, $last) numbers(n)
"""
VOTES = """
INSERT INTO feedback (id, time, interaction_id, type, value, user_id, metadata, model, version, arrived)
SELECT 'f-' || id, time, id, 'thumbs', 'true', user_id, '{}', model, version, time FROM interactions
WHERE hash(id) % 10 = 0
"""


def timed(work: Callable[[], object]) -> float:
    """CPU seconds that the work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(folder: Path, rows: int) -> dict[str, float]:
    """The figures of one store."""
    store = Store(folder / "loraloop.duckdb")
    now = datetime.now(UTC).replace(microsecond=0)
    start, step = now - timedelta(days=2 * DAYS), 2 * DAYS * 86_400 / rows
    with store.transaction() as transaction:
        execute = transaction._connection.execute
        for first in range(0, rows, AT_ONCE):
            last = min(first + AT_ONCE, rows)
            execute(FILL, {"first": first, "last": last, "start": start.replace(tzinfo=None), "step": step})
        execute(VOTES)
    store._connection.execute("CHECKPOINT")
    before = (folder / "loraloop.duckdb").stat().st_size
    settings = RetentionSettings(texts=DAYS, unrated_texts=DAYS, votes=DAYS)
    figures = {"rows": float(rows), "file_mb": before / 1e6}
    figures["find_s"] = timed(lambda: find_rows(store, settings, now))
    for kind in ("unrated_texts", "votes", "texts"):
        pieces: list[float] = []
        deleted, began = 0, time.process_time()
        work = delete_rows(store, kind, DAYS, now)
        while True:
            one = time.perf_counter()
            count = next(work, None)
            pieces.append(time.perf_counter() - one)
            if count is None:
                break
            deleted += count
        figures[f"{kind}_rows"] = float(deleted)
        figures[f"{kind}_s"] = time.process_time() - began
        figures[f"{kind}_longest_piece_ms"] = 1000 * max(pieces)
    figures["find_again_s"] = timed(lambda: find_rows(store, settings, now))
    figures["rewrite_s"] = timed(store.rewrite)
    figures["file_after_mb"] = (folder / "loraloop.duckdb").stat().st_size / 1e6
    store.close()
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), asked.rows)))


if __name__ == "__main__":
    main()
