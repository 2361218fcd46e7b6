"""Measure all systems in alternating rounds, and compute medians and ratios within a round."""

import asyncio
import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.load import Client, LoadFailed, Turn
from bench.progress import say

DIRECT, OURS, BARE = "direct", "ours", "fastapi_aiohttp"
CHAT = "chat"
TRANSLATED = ("messages", "responses")
CONNECTIONS = (1, 32)
STREAMS = 10
Turns = dict[str, dict[int, list[Turn]]]
Figures = dict[str, dict[str, float]]


def in_turns(names: Sequence[str], number: int) -> list[str]:
    """The names, begun one further each round, so that none is always the first."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


def measure_whole(client: Client, urls: Mapping[str, str], rounds: int, seconds: int) -> Turns:
    """Latency and rate of each, measured in turns after one unmeasured turn; a peer that fails is left out."""
    turns: Turns = {name: {connections: [] for connections in CONNECTIONS} for name in urls}

    def press(name: str, connections: int) -> Turn | None:
        try:
            return client.press(urls[name], connections, seconds)
        except LoadFailed as error:
            if name in (DIRECT, OURS, BARE):
                raise
            say(f"{name} is left out: {error}")
            del turns[name]
            return None

    for name in urls:
        press(name, CONNECTIONS[-1])
    for number in range(rounds):
        for connections in CONNECTIONS:
            for name in in_turns(list(turns), number):
                if turn := press(name, connections):
                    turns[name][connections].append(turn)
        latest = {name: (own[1][-1].p50_ms, round(own[32][-1].rps)) for name, own in turns.items()}
        say(f"round {number + 1}: (p50 in ms at 1 connection, requests/s at 32) {latest}")
    return turns


def summarize(turns: Turns) -> Figures:
    """Medians over rounds for each but direct; what is added is taken within the round."""
    direct = [turn.p50_ms for turn in turns[DIRECT][1]]
    figures: Figures = {}
    for name, own in turns.items():
        if name != DIRECT:
            added = [turn.p50_ms - less for turn, less in zip(own[1], direct, strict=True)]
            rates = [turn.rps for turn in own[32]]
            figures[name] = {
                "c1_p50_added_ms": round(statistics.median(added), 3),
                "c32_rps": round(statistics.median(rates)),
            }
    return figures


def compare(figures: Figures) -> list[str]:
    """A line for each contender, with what its figures are of the bare proxy's."""
    lines = []
    for name, own in figures.items():
        added, rate = (own[key] / figures[BARE][key] for key in ("c1_p50_added_ms", "c32_rps"))
        lines.append(f"{name}: {own}; of {BARE}'s: {added:.2f} of the added latency, {rate:.2f} of the rate")
    return lines


def measure_streams(client: Client, urls: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Added µs per chunk of each but direct: the median over rounds of its median minus direct's."""
    added: dict[str, list[float]] = {name: [] for name in urls if name != DIRECT}
    for number in range(-1, rounds):  # the first is unmeasured
        delays = {name: client.chunk_delay_us(urls[name], STREAMS) for name in in_turns(list(urls), number)}
        if number >= 0:
            for name, values in added.items():
                values.append(delays[name] - delays[DIRECT])
    return {name: round(statistics.median(values), 1) for name, values in added.items()}


def measure_apis(measure: Callable[[str], float], rounds: int) -> dict[str, float]:
    """What each translated API adds, as a multiple of what chat adds in the same round; the median over rounds.

    `measure` gives the delay of an API through our gateway, or that of chat without it for `DIRECT`.
    """
    ratios: dict[str, list[float]] = {api: [] for api in TRANSLATED}
    for number in range(-1, rounds):  # the first is unmeasured
        delays = {api: measure(api) for api in in_turns((DIRECT, CHAT, *TRANSLATED), number)}
        if number >= 0:
            for api, values in ratios.items():
                values.append((delays[api] - delays[DIRECT]) / (delays[CHAT] - delays[DIRECT]))
    return {api: round(statistics.median(values), 2) for api, values in ratios.items()}


def measure_decoding(client: Client, sides: Mapping[str, tuple[str, str]], rounds: int, *, stream: bool) -> float:
    """Tokens/s of ours over tokens/s direct, the median over rounds; a side is a URL and the model it serves."""
    ratios, direct = [], []
    for number in range(-1, rounds):  # the first is unmeasured
        rates = {
            name: asyncio.run(client.token_rate(*sides[name], stream=stream)) for name in in_turns(list(sides), number)
        }
        if number >= 0:
            ratios.append(rates[OURS] / rates[DIRECT])
            direct.append(rates[DIRECT])
    kind = "streamed" if stream else "whole"
    spread = ", ".join(f"{ratio:.3f}" for ratio in sorted(ratios))
    say(f"real engine, {kind}: direct {statistics.median(direct):.0f} tokens/s; ours to direct {spread}")
    return round(statistics.median(ratios), 3)
