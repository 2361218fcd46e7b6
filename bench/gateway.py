"""What the gateway adds to a request, beside its peers, in one run on one machine.

It owns turns, medians and the report; it must not know how a contender is started or a load made.

    python -m bench.gateway

Every contender stands before the same canned upstream and all are measured in turns, so that a noisy minute
falls on all alike. The last line is one JSON object; progress goes to stderr.
"""

import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import contenders
from bench.contenders import CLIENT
from bench.load import Turn
from core.errors import LoraLoopError

DIRECT, OURS, BARE = "direct", "ours", "fastapi_aiohttp"
CONNECTIONS = (1, 32)
WARM_SECONDS = 1
STREAMS = 10
SPOOL_DISK = Path("data")
Turns = dict[str, dict[int, list[Turn]]]


def say(text: str) -> None:
    """Progress, on stderr so that the last line of stdout stays the result."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def in_turns(names: list[str], turn: int) -> list[str]:
    """The names, begun one further each turn, so that none always follows the same."""
    start = turn % len(names)
    return names[start:] + names[:start]


def measure_whole(urls: Mapping[str, str], rounds: int, seconds: float) -> Turns:
    """Latency and rate of each, measured in turns after one unmeasured turn."""
    turns: Turns = {name: {connections: [] for connections in CONNECTIONS} for name in urls}
    for url in urls.values():
        CLIENT.press(url, CONNECTIONS[-1], WARM_SECONDS)
    for number in range(rounds):
        for connections in CONNECTIONS:
            for name in in_turns(list(urls), number):
                turns[name][connections].append(CLIENT.press(urls[name], connections, seconds))
        latest = {name: (t[1][-1].p50_ms, round(t[32][-1].rps)) for name, t in turns.items()}
        say(f"round {number + 1}: (p50 in ms at 1 connection, requests/s at 32) {latest}")
    return turns


def measure_streams(urls: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Added µs per chunk of each but direct: the median over rounds of its median minus direct's."""
    added: dict[str, list[float]] = {name: [] for name in urls if name != DIRECT}
    for number in range(-1, rounds):
        delays = {name: CLIENT.chunk_delay_us(urls[name], STREAMS) for name in in_turns(list(urls), number)}
        if number >= 0:
            for name, values in added.items():
                values.append(delays[name] - delays[DIRECT])
    return {name: round(statistics.median(values), 1) for name, values in added.items()}


def summarize(turns: Turns) -> dict[str, dict[str, float]]:
    """Medians over rounds for each but direct; what is added is taken within the round."""
    direct = turns[DIRECT][1]
    return {
        name: {
            "c1_p50_added_ms": round(
                statistics.median(a.p50_ms - b.p50_ms for a, b in zip(own[1], direct, strict=True)), 3
            ),
            "c32_rps": round(statistics.median(turn.rps for turn in own[32])),
        }
        for name, own in turns.items()
        if name != DIRECT
    }


def report(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Each contender beside the bare proxy, on stderr."""
    for name, own in figures.items():
        added, rate = (own[key] / figures[BARE][key] for key in ("c1_p50_added_ms", "c32_rps"))
        say(f"{name}: {dict(own)}; of {BARE}'s: {added:.2f} of the latency, {rate:.2f} of the rate")


def whole(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The figures of whole answers, by contender."""
    with ExitStack() as stack:
        upstream = stack.enter_context(contenders.nginx(folder))
        urls = {DIRECT: upstream}
        urls[OURS] = stack.enter_context(contenders.ours(upstream, folder / "whole"))
        urls[BARE] = stack.enter_context(contenders.bare(upstream, folder))
        figures = summarize(measure_whole(urls, options.rounds, options.seconds))
        say(f"ours counted: {contenders.check_ours(urls[OURS])}")
    report(figures)
    return figures


def streamed(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Added µs per chunk, by contender."""
    with ExitStack() as stack:
        upstream = stack.enter_context(contenders.streams(folder))
        urls = {DIRECT: upstream}
        urls[OURS] = stack.enter_context(contenders.ours(upstream, folder / "streamed"))
        urls[BARE] = stack.enter_context(contenders.bare(upstream, folder))
        added = measure_streams(urls, options.rounds)
    say(f"added to a streamed chunk, in µs: {added}")
    return added


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The whole result."""
    figures = whole(folder, options)
    chunks = streamed(folder, options)
    own = figures.pop(OURS) | {"stream_chunk_us": chunks[OURS]}
    return {"ours": own, "peers": {"litellm": None, "vllm_router": None} | figures, "engine_ratio": None}


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog="It needs nginx and wrk: apt-get install -y nginx-light wrk. See docs/bench-gateway.md.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of which the median is taken")
    parser.add_argument("--seconds", type=float, default=3, help="length of one measurement with wrk")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    missing = [program for program in ("nginx", "wrk") if shutil.which(program) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} cannot be found. On Debian: apt-get install -y nginx-light wrk")
    # As on Ctrl-C: every block is left, and with it end the processes that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    SPOOL_DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SPOOL_DISK, prefix="bench-") as name:
        try:
            result = run(Path(name).resolve(), options)
        except LoraLoopError as error:
            sys.exit(str(error))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
