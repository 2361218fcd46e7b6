"""Measure how fast control ingests spools, on an empty store and on one of 10 million interactions.

    python -m bench.ingest

The real shipper sends segments over HTTP to the real control in a process of its own. While it does, the console's
pages are read. The last line is one JSON object; progress goes to stderr. See docs/internals/ingest-benchmark.md.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow as pa
import uvicorn

from bench.processes import cpu_s, free_port, memory_mib
from bench.progress import say
from core.clock import unguessable_id
from core.db.store import Store
from core.model_folder import ModelFolder
from core.record_codec import encode
from core.records import Feedback, Interaction
from core.settings import Settings, build
from core.spool import SpoolWriter, segments
from ops.apps import control as control_app
from serve.gateway.shipping import Shipper

MODEL = "reviews"
START = datetime(2026, 1, 1, tzinfo=UTC)
PAGES = ("/feedback", "/overview", "/promotions", "/runs", "/quarantine", "/models/reviews", "/system")
PAUSE_S = 0.5
KEY = "bench"
# A spool that control refuses would never be empty.
LONGEST_S = 1800
FILL_AT_ONCE = 500_000
FILL = """
INSERT INTO interactions BY NAME SELECT 'chatcmpl-' || printf('%011x', 1700000000000 + n) || md5(n::VARCHAR) AS id,
    TIMESTAMP '2025-10-01' + to_milliseconds(n * 700) AS time, 'reviews' AS model, 1 + n // 1000000 AS version,
    'champion' AS arm, 0.0 AS share, (n % 997) / 997.0 AS bucket, 'user-' || (hash(n) % 100003) AS user_id,
    'chat' AS endpoint, '{"messages":[{"role":"user","content":"' || n || ' ' || asked || '"}]}' AS request,
    answered AS answer, 'stop' AS finish_reason, 200 AS status, 80.0 AS latency_ms, 200 AS prompt_tokens,
    50 AS completion_tokens, FALSE AS streamed, 'shop' AS key_id
FROM range($first, $last) numbers(n) JOIN pieces ON place = hash(n) % 10000
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """Interactions per second, the seconds it took, control's CPU time per interaction in µs with the pages that it
    rendered, bytes that were sent, and page times in ms at the same time."""

    per_s: float
    seconds: float
    cpu_us: float
    bytes: int
    pages_ms: list[float]


def corpus() -> str:
    """Text of many kinds that is on every machine with the project: the documentation of installed packages."""
    root = Path(aiohttp.__file__).parents[1]
    found = [path.read_text(errors="replace") for path in sorted(root.glob("*/METADATA"))]
    found += [path.read_text(errors="replace") for path in sorted(root.glob("transformers/models/*/modeling_*.py"))]
    return "\n".join(found)[:20_000_000]


def write_spool(folder: Path, count: int, text: str, seed: int) -> int:
    """Write interactions of some 1.5 KB as a gateway does; returns their bytes. Each has its own part of the text."""
    draw = random.Random(seed)
    writer, last = SpoolWriter(folder), len(text) - 2000
    for number in range(count):
        asked, answered = draw.randrange(last), draw.randrange(last)
        prompt = text[asked : asked + draw.randint(500, 1300)]
        record = Interaction(
            id=f"chatcmpl-{unguessable_id()}",
            time=START + timedelta(milliseconds=number),
            model=MODEL,
            version=20,
            arm="champion",
            share=0.0,
            bucket=draw.random(),
            user=f"user-{draw.randrange(100_000)}",
            conversation=None,
            endpoint="chat",
            request={"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": 200},
            answer=text[answered : answered + draw.randint(50, 350)],
            finish_reason="stop",
            status=200,
            latency_ms=80.5,
            ttft_ms=None,
            prompt_tokens=220,
            completion_tokens=50,
            streamed=False,
            key_id="shop",
        )
        writer.append(encode(record))
    writer.close()
    return sum(segment.path.stat().st_size for segment in segments(folder))


def fill(data: Path, rows: int, text: str) -> None:
    """Make a store with `rows` interactions, by SQL."""
    plain = "".join(letter if letter.isprintable() and letter not in '"\\' else " " for letter in text)
    store = Store(settings_at(data, 1).store_path)
    starts = [(place, 900 * place) for place in range(10_000)]
    pieces = [(place, plain[start : start + 700], plain[start : start + 200]) for place, start in starts]
    names = ("place", "asked", "answered")
    store._connection.register("pieces", pa.table(dict(zip(names, map(list, zip(*pieces, strict=True)), strict=True))))
    for first in range(0, rows, FILL_AT_ONCE):
        last = min(first + FILL_AT_ONCE, rows)
        store._connection.execute(FILL, {"first": first, "last": last})
        say(f"{last:,} interactions are in the store")
    store.close()


def settings_at(data: Path, port: int) -> Settings:
    """Settings of a control with one model and no engine that answers."""
    return build(
        {
            "data": str(data),
            "access": "open",
            "models": {MODEL: {"labels": ["negative", "neutral", "positive"]}},
            "engine": {"urls": ["http://127.0.0.1:9"]},
            "control": {"listen": f"127.0.0.1:{port}"},
        }
    )


def serve(data: Path, port: int) -> None:
    """Run control's app without its scheduler: the body of the other process."""
    app = control_app.create_app(settings=settings_at(data, port), base=ModelFolder("tiny", data))
    # uvicorn raises the signal again after it has stopped, which would end the process before the store is closed.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(app, port=port, lifespan="off", log_level="error", loop="uvloop", http="httptools")
    app.state.control.store.close()


@contextmanager
def control(data: Path) -> Iterator[tuple[str, int]]:
    """Control in a process of its own: its URL and its process id."""
    port = free_port()
    command = [sys.executable, "-m", "bench.ingest", "--serve", str(port), "--data", str(data)]
    process = subprocess.Popen(command, env=os.environ | {"LORALOOP_INTERNAL_KEY": KEY})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(url)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(timeout=120)


def wait_until_up(url: str) -> None:
    """Wait until control answers. Raises TimeoutError after a minute."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("control did not start within a minute")


async def ship(url: str, pid: int, folder: Path, count: int) -> Rate:
    """Ship a spool to its end, and read the console's pages at the same time."""
    pages_ms: list[float] = []
    writer = SpoolWriter(folder)  # its own segment stays empty: all others are finished
    size = writer.spooled_bytes()
    async with aiohttp.ClientSession() as session:
        shipper = Shipper(session=session, control_url=url, name=f"gateway-{folder.name}", key=KEY, spool=writer)
        reading = asyncio.create_task(read_pages(session, url, pages_ms))
        shipping = asyncio.create_task(shipper.run())
        began, used = time.perf_counter(), cpu_s(pid)
        async with asyncio.timeout(LONGEST_S):
            while shipper.unshipped:
                await asyncio.sleep(0.05)
        seconds, used = time.perf_counter() - began, cpu_s(pid) - used
        for task in (reading, shipping):
            task.cancel()
        await asyncio.gather(reading, shipping, return_exceptions=True)
    writer.close()
    return Rate(count / seconds, seconds, used / count * 1e6, size, pages_ms)


async def read_pages(session: aiohttp.ClientSession, url: str, pages_ms: list[float]) -> None:
    """Read one page after another, with a pause, and note the time of each in ms."""
    while True:
        for page in PAGES:
            began = time.perf_counter()
            async with session.get(url + page) as answer:
                await answer.read()
                assert answer.status == 200, (page, answer.status)
            pages_ms.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PAUSE_S)


async def one_vote_ms(url: str, folder: Path, about: list[str], rounds: int = 40) -> float:
    """The median time from a vote in the spool to its row in the store, with nothing else to ship, in ms."""
    writer, times = SpoolWriter(folder), []
    async with aiohttp.ClientSession() as session:
        shipper = Shipper(session=session, control_url=url, name="votes", key=KEY, spool=writer)
        shipping = asyncio.create_task(shipper.run())
        for number in range(rounds):
            vote = Feedback(f"vote-{number}", START, about[number % len(about)], None, "thumbs", True, user="ann")
            writer.append(encode(vote))
            began = time.perf_counter()
            assert await shipper.flush(30)
            times.append((time.perf_counter() - began) * 1000)
        shipping.cancel()
        await asyncio.gather(shipping, return_exceptions=True)
    writer.close()
    return statistics.median(times)


def percentile_95(values: list[float]) -> float:
    """The 95th percentile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]


def measure(data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Every figure, in order: the empty store, then the large one."""
    text = corpus()
    say(f"writing {options.interactions:,} interactions to a spool")
    write_spool(data / "spool-empty", options.interactions, text, 1)
    with control(data / "empty") as (url, pid):
        empty = asyncio.run(ship(url, pid, data / "spool-empty", options.interactions))
        rss = memory_mib(pid)
    ratio = settings_at(data / "empty", 1).store_path.stat().st_size / empty.bytes
    say(f"empty store: {empty.per_s:,.0f}/s over {empty.seconds:.0f} s, {ratio:.2f} of the raw bytes, {rss} MB")
    say(f"control's CPU time: {empty.cpu_us:.1f} µs per interaction")
    (data / "large").mkdir()
    fill(data / "large", options.rows, text)
    write_spool(data / "spool-large", options.more, text, 2)
    with control(data / "large") as (url, pid):
        large = asyncio.run(ship(url, pid, data / "spool-large", options.more))
        about = [
            f"chatcmpl-{1700000000000 + n:011x}{md5(n)}" for n in range(0, options.rows, max(options.rows // 40, 1))
        ]
        vote = asyncio.run(one_vote_ms(url, data / "spool-votes", about))
        rss = max(rss, memory_mib(pid))
    say(f"{options.rows:,} interactions: {large.per_s:,.0f}/s over {large.seconds:.0f} s; one vote {vote:.1f} ms")
    return {
        "interactions_per_s": round(empty.per_s),
        "at_10m_per_s": round(large.per_s),
        "cpu_us": round(empty.cpu_us, 1),
        "at_10m_cpu_us": round(large.cpu_us, 1),
        "rows": options.rows,
        "one_vote_ms": round(vote, 1),
        "query_p95_ms": round(percentile_95(empty.pages_ms + large.pages_ms), 1),
        "rss_mb": rss,
        "bytes_ratio": round(ratio, 3),
    }


def md5(number: int) -> str:
    """What DuckDB's md5 gives for a number's text."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def main() -> None:
    """Runs the benchmark, or control for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--interactions", type=int, default=3_000_000, help="rows for the empty store; default 3,000,000"
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the large store; default 10,000,000")
    parser.add_argument("--more", type=int, default=500_000, help="rows added to the large store; default 500,000")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.data, options.serve)
        return
    Path("data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-ingest-", dir="data") as folder:
        print(json.dumps(measure(Path(folder), options)))


if __name__ == "__main__":
    main()
