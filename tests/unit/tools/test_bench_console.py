"""Facts about the console's benchmark: that its store is the product's own, and every page of it is there."""

import asyncio
from pathlib import Path

from bench.console import measure
from bench.console_store import Size, fill


def test_a_small_store_is_filled_and_every_page_answers(tmp_path: Path):
    size = Size(decisions=30, votes=60, answers=600)
    fill(tmp_path, size)
    found = asyncio.run(measure(tmp_path, size, rounds=1))
    assert found["pages"]["/quarantine"] > 0 and (found["decisions"], found["answers"]) == (30, 600)
