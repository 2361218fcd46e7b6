"""Time the query of one canary analysis over 1,000,000 requests by 100,000 users: `python -m bench.canary_query`.

The query is the product's own, on a store in a file.
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.progress import say
from core.db import live_tests
from core.db.store import Store
from rollout.live_monitor import BLANKS

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
# Half of the users meet the canary; a fifth of the requests is rated, one in a thousand flagged. As many requests
# are of another model and of the time before, which a look must pass over; an answer in 300 is none of the labels.
ROWS = """
INSERT INTO interactions (id, time, model, version, arm, share, bucket, user_id, conversation_id, endpoint, request,
    answer, finish_reason, status, latency_ms, ttft_ms, prompt_tokens, completion_tokens, streamed, key_id, cause)
SELECT 'chatcmpl-' || md5(i::VARCHAR), TIMESTAMP '2026-01-01' + to_seconds(i // 12) - CASE WHEN i % 4 = 3 THEN
        INTERVAL 60 DAY ELSE INTERVAL 0 DAY END,
    CASE WHEN i % 4 = 1 THEN 'other' ELSE 'reviews' END, 7 + (hash(i // 2 % {users}) % 2)::INTEGER, 'champion',
    0.5, 0.3, 'user-' || (i // 2 % {users}), NULL, 'chat', '{{"messages": []}}',
    CASE WHEN i % 300 = 0 THEN repeat('an answer ', 12) ELSE 'positive' END, 'stop',
    CASE WHEN i % 5000 = 0 THEN 502 ELSE 200 END, 120.0, 30.0, 200, 30, false, 'shop', 'answered'
FROM range({requests} * 2) t(i);
INSERT INTO feedback (id, time, interaction_id, conversation_id, type, value, comment, user_id, metadata, revoked_at)
SELECT 'fb-' || md5(i::VARCHAR), TIMESTAMP '2026-01-01' + to_seconds(i // 12), 'chatcmpl-' || md5(i::VARCHAR), NULL,
    CASE WHEN i % 1000 = 0 THEN 'flag' ELSE 'thumbs' END,
    CASE WHEN i % 1000 = 0 THEN '"unsafe"' WHEN hash(i) % 10 < 7 THEN 'true' ELSE 'false' END, NULL, NULL, '{{}}', NULL
FROM range({requests} * 2) t(i) WHERE hash(i) % 5 = 0 OR i % 1000 = 0
"""


def seconds(requests: int = 1_000_000, users: int = 100_000, looks: int = 5) -> float:
    """The median time of a look, in seconds."""
    with tempfile.TemporaryDirectory(prefix="look-") as folder:
        store = Store(Path(folder) / "store.duckdb")
        with store._cursor() as cursor:
            cursor.execute(ROWS.format(requests=requests, users=users))
        times, arms = [], []
        for _ in range(looks):
            started = time.perf_counter()
            arms = live_tests.count_arms(
                store,
                model="reviews",
                control=7,
                candidate=8,
                since=SINCE,
                labels=["negative", "positive"],
                blanks=BLANKS,
                harm_voters=3,
            )
            times.append(time.perf_counter() - started)
        store.close()
    say(f"looks: {', '.join(f'{one:.3f}' for one in times)} s; {arms}")
    return round(statistics.median(times), 3)


def main() -> None:
    """Measures it; the last line of output is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100_000)
    options = parser.parse_args()
    print(json.dumps({"look_s": seconds(options.requests, options.users)}))


if __name__ == "__main__":
    main()
