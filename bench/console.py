"""Time the console's pages over a store of several years: 10,000 decisions, 1,000,000 votes, 10,000,000 answers.

The store is filled by SQL through the real schema, and each page comes from the real control app.
`--keep FOLDER` keeps the store and uses it again in the next run.
"""

import argparse
import asyncio
import json
import math
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from bench.console_store import QUARANTINES, Size, fill, settings_at
from bench.progress import say
from core.model_folder import ModelFolder
from ops.apps import control as control_app

ROUNDS = 20


def pages(size: Size) -> Iterator[str]:
    """Every page, with filters, far down the lists, and the twins of some."""
    middle = f"dec-{size.decisions // 2:06d}"
    yield from (
        "/overview",
        "/promotions",
        "/promotions?verdict=kept&model=notes",
        f"/promotions?before={size.decisions // 2}",
        "/promotions.json",
        f"/promotions/{middle}",
        f"/promotions/{middle}.json",
        "/models/reviews",
        "/models/movies.json",
        "/models/reviews/compare?first=1&second=2",
        "/overview.json",
        "/requests",
        "/requests?model=notes&outcome=failed",
        "/requests?user=nobody",
        "/feedback",
        "/feedback?model=reviews&kind=label",
        "/feedback?words=number+777",
        "/feedback/queue?model=reviews",
        "/feedback/agreement?model=reviews",
        "/quarantine",
        "/quarantine/quar-0",
        f"/quarantine/quar-{QUARANTINES}",
        "/usage",
        "/usage?by=month",
        "/plan?model=reviews",
        "/keys",
        "/metrics",
        f"/feedback/chatcmpl-{size.answers // 2:012d}",
        "/runs",
        f"/runs/run-{size.decisions // 2:06d}",
        "/system",
    )


@asynccontextmanager
async def visited(data: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of control's app without its scheduler, so that no background work competes with the pages."""
    app = control_app.create_app(settings=settings_at(data), base=ModelFolder("tiny", data))
    control = app.state.control
    say("reading the ledger whole")
    begun = time.perf_counter()
    control.ledger.walk()
    say(f"{control.ledger.report()['reason']} {time.perf_counter() - begun:.1f} s, once per hour in production")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client
    control.store.close()


async def measure(data: Path, size: Size, rounds: int = ROUNDS) -> dict[str, Any]:
    """The 95th percentile of each page's server time in ms, and the bytes of the largest."""
    times: dict[str, list[float]] = {path: [] for path in pages(size)}
    sizes = dict.fromkeys(times, 0)
    async with visited(data) as client:
        for number in range(rounds + 1):
            for path, own in times.items():
                begun = time.perf_counter()
                answer = await client.get(path)
                took = (time.perf_counter() - begun) * 1000
                answer.raise_for_status()
                if number:  # the first round reads the file
                    own.append(took)
                sizes[path] = len(answer.content)
            if number % 5 == 0:
                say(f"round {number} of {rounds}")
    p95 = {path: round(sorted(own)[math.ceil(0.95 * len(own)) - 1], 1) for path, own in times.items()}
    return {"pages": p95, "worst_ms": max(p95.values()), "bytes": max(sizes.values()), **asdict(size)}


def main() -> None:
    """Fills the store, measures, and prints one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder of the store, which is used again if it is there")
    keep = parser.parse_args().keep
    for name in [name for name in os.environ if name.startswith("LORALOOP_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="console-") as scratch:
        data = keep or Path(scratch)
        if not settings_at(data).store_path.exists():
            fill(data, Size())
        print(json.dumps(asyncio.run(measure(data, Size()))))


if __name__ == "__main__":
    main()
