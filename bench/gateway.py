"""Measure what the gateway adds to a request, compared with its peers, in one run on one machine.

    python -m bench.gateway

Every system has the same stub upstream, and rounds alternate between systems, so that a noisy minute affects all.
The last line is one JSON object; progress goes to stderr. See docs/internals/gateway-benchmark.md.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import systems
from bench.gateway_workers import compare_workers
from bench.progress import say
from bench.rounds import (
    BARE,
    CHAT,
    DIRECT,
    OURS,
    STREAMS,
    Figures,
    compare,
    measure_apis,
    measure_decoding,
    measure_streams,
    measure_whole,
    summarize,
)
from bench.systems import CLIENT, StartFailed
from core.errors import LoraLoopError

PEERS = {"litellm": systems.litellm, "vllm_router": systems.vllm_router}
# The gateway's spool must lie on a disk, which a folder for temporary files may not be.
SPOOL_DISK = Path("data")
Ratios = dict[str, float]


def answer_whole(folder: Path, options: argparse.Namespace) -> tuple[Figures, Ratios]:
    """(latency and rate of whole answers by contender, the ratio to chat of each other API)."""
    with ExitStack() as stack:
        upstream = stack.enter_context(systems.nginx(folder))
        urls = {DIRECT: upstream}
        urls[OURS] = stack.enter_context(systems.ours(upstream, folder / "whole"))
        urls[BARE] = stack.enter_context(systems.bare(upstream, folder))
        if not options.no_peers:
            urls |= start_peers(stack, upstream, folder, options.peers / "bin")
        figures = summarize(measure_whole(CLIENT, urls, options.rounds, options.seconds))
        say(f"ours counted: {systems.check_ours(urls[OURS])}")
        ratios = measure_apis(partial(p50_ms, urls, options.seconds), options.rounds)
    for line in compare(figures):
        say(line)
    say(f"added latency of other APIs, as a multiple of chat's: {ratios}")
    return figures, ratios


def p50_ms(urls: Mapping[str, str], seconds: int, api: str) -> float:
    """Latency of an API through our gateway at one connection, or of chat at the upstream."""
    url, api = (urls[DIRECT], CHAT) if api == DIRECT else (urls[OURS], api)
    return CLIENT.press(url, 1, seconds, api).p50_ms


def chunk_us(urls: Mapping[str, str], api: str) -> float:
    """Delay of a chunk in an API's stream through our gateway, or in chat's at the upstream."""
    url, api = (urls[DIRECT], CHAT) if api == DIRECT else (urls[OURS], api)
    return CLIENT.chunk_delay_us(url, STREAMS, api)


def start_peers(stack: ExitStack, upstream: str, folder: Path, binaries: Path) -> dict[str, str]:
    """The URLs of those peers that could be started; why another could not goes to stderr."""
    urls = {}
    for name, start in PEERS.items():
        say(f"starting {name}")
        try:
            urls[name] = stack.enter_context(start(upstream, folder, binaries))
        except StartFailed as error:
            say(f"{name} is left out: {error}")
    return urls


def answer_streams(folder: Path, rounds: int) -> tuple[float, Ratios]:
    """(what ours adds to a streamed chunk, in µs, the ratio to chat of each other API)."""
    with ExitStack() as stack:
        upstream = stack.enter_context(systems.streams(folder))
        urls = {DIRECT: upstream}
        urls[OURS] = stack.enter_context(systems.ours(upstream, folder / "streamed"))
        urls[BARE] = stack.enter_context(systems.bare(upstream, folder))
        added = measure_streams(CLIENT, urls, rounds)
        ratios = measure_apis(partial(chunk_us, urls), rounds)
    say(f"added to a streamed chunk, in µs: {added}; of other APIs, as a multiple of chat's: {ratios}")
    return added[OURS], ratios


def answer_by_engine(folder: Path, rounds: int) -> float:
    """The real engine's tokens/s through our gateway over its tokens/s direct."""
    say("starting the real engine")
    with ExitStack() as stack:
        url, model = stack.enter_context(systems.engine(folder))
        gateway = stack.enter_context(systems.ours(url, folder / "engine", (model, model)))
        sides = {DIRECT: (url, model), OURS: (gateway, CLIENT.model)}
        measure_decoding(CLIENT, sides, rounds, stream=True)
        return measure_decoding(CLIENT, sides, rounds, stream=False)


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The whole result."""
    if options.workers:
        return compare_workers(folder, options.workers, options.rounds, options.seconds)
    figures, whole = answer_whole(folder, options)
    added, streamed = answer_streams(folder, options.rounds)
    ratio = None if options.no_engine else answer_by_engine(folder, options.rounds)
    return {
        "ours": figures[OURS] | {"stream_chunk_us": added},
        "peers": {name: figures.get(name) for name in (BARE, *PEERS)},
        "engine_ratio": ratio,
        **whole,
        **{f"{api}_streamed": found for api, found in streamed.items()},
    }


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        epilog="Needs nginx and wrk (apt-get install -y nginx-light wrk). A full run takes some 7 minutes on 2 cores; "
        "--no-peers --no-engine some 90 seconds.",
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the result is their median; default 5")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement with wrk; default 3")
    parser.add_argument(
        "--workers", type=int, help="compare only our gateway: with this number of workers, and with one process"
    )
    parser.add_argument("--no-peers", action="store_true", help="leave LiteLLM and vllm-router out")
    parser.add_argument("--no-engine", action="store_true", help="leave the real vLLM out")
    parser.add_argument(
        "--peers", type=Path, default=Path(".venv-bench"), help="environment of the peers; default .venv-bench"
    )
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    missing = [program for program in ("nginx", "wrk") if shutil.which(program) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} cannot be found. On Debian: apt-get install -y nginx-light wrk")
    # Either way every block is left, and with it end the processes that it started.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    SPOOL_DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SPOOL_DISK, prefix="bench-") as name:
        try:
            result = run(Path(name).resolve(), options)
        except LoraLoopError as error:
            sys.exit(str(error))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
