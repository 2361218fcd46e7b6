"""Compare a gateway of several workers with one of a single process: rate, CPU time per request, and how it spreads."""

import re
import statistics
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request, urlopen

import psutil

from bench import systems
from bench.processes import cpu_s
from bench.progress import say
from bench.rounds import CONNECTIONS, in_turns
from bench.systems import CLIENT, INTERNAL_KEY

SERVED = re.compile(r'^loraloop_requests_total\{worker="([^"]+)".* (\S+)$', re.MULTILINE)


@dataclass(slots=True)
class Side:
    """One gateway: its URL, its first process, and what each round gave."""

    url: str
    pid: int
    rps: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def press(self, seconds: int) -> tuple[float, float]:
        """(requests/s, CPU time of one request in µs, that of all its processes)."""
        before = tree_cpu_s(self.pid)
        rate = CLIENT.press(self.url, CONNECTIONS[-1], seconds).rps
        return rate, (tree_cpu_s(self.pid) - before) / (rate * seconds) * 1e6

    def add(self, turn: tuple[float, float]) -> None:
        """Takes down a round."""
        self.rps.append(turn[0])
        self.cpu_us.append(turn[1])

    def figures(self) -> dict[str, float]:
        """The medians."""
        return {"c32_rps": round(statistics.median(self.rps)), "cpu_us": round(statistics.median(self.cpu_us), 1)}


def tree_cpu_s(pid: int) -> float:
    """The CPU time that a process and those it started have had, in seconds."""
    return sum(cpu_s(each.pid) for each in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)))


def compare_workers(folder: Path, workers: int, rounds: int, seconds: int) -> dict[str, object]:
    """Figures of both, the ratios within a round, and the share of each worker in what all answered."""
    with ExitStack() as stack:
        upstream = stack.enter_context(systems.nginx(folder))
        sides: dict[str, Side] = {}
        for name, count in (("one", 1), ("several", workers)):
            running = systems.our_process(upstream, folder / name, workers=count)
            sides[name] = Side(*stack.enter_context(running))
        for number in range(-1, rounds):  # the first is unmeasured
            for name in in_turns(list(sides), number + 1):
                turn = sides[name].press(seconds)
                if number >= 0:
                    sides[name].add(turn)
            if number >= 0:
                say(f"round {number + 1}: " + ", ".join(f"{n} {s.rps[-1]:.0f}/s" for n, s in sides.items()))
        shares = worker_shares(sides["several"].url)
    one, several = sides["one"], sides["several"]
    return {
        "workers": workers,
        "one": one.figures(),
        "several": several.figures(),
        "rps_ratio": _ratio(several.rps, one.rps),
        "cpu_ratio": _ratio(several.cpu_us, one.cpu_us),
        "shares": shares,
    }


def worker_shares(url: str) -> dict[str, float]:
    """The part of each worker in the requests that all have answered."""
    asked = Request(f"{url}/metrics", headers={"Authorization": f"Bearer {INTERNAL_KEY}"})
    with urlopen(asked, timeout=30) as answer:
        served: Counter[str] = Counter()
        for worker, count in SERVED.findall(answer.read().decode()):
            served[worker] += round(float(count))
    return {worker: round(count / served.total(), 2) for worker, count in sorted(served.items())}


def _ratio(numbers: list[float], others: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(numbers, others, strict=True)), 2)
