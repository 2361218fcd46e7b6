"""Facts about the benchmark of the store: snapshots of its votes, the second with those that were added, and pages."""

import asyncio
from pathlib import Path

from bench.store import add_votes, fill, read_pages, snapshot

ROWS, VOTES = 4000, 2000


def test_a_small_store_has_snapshots_with_every_rule_and_pages(tmp_path: Path):
    fill(tmp_path, ROWS, VOTES)
    first = snapshot(tmp_path, ROWS)
    assert first["rows"] == ROWS // 100
    assert {"a thumbs-down", "over trust.rows_per_key"} <= set(first["left_out"])
    add_votes(tmp_path, ROWS, VOTES)
    second = snapshot(tmp_path, ROWS)
    counted = [found["rows"] + sum(found["left_out"].values()) for found in (first, second)]
    assert counted == [VOTES, VOTES + ROWS // 1000]
    assert asyncio.run(read_pages(tmp_path, ROWS, rounds=1))["/feedback"] > 0
