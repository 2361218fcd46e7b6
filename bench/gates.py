"""What the gates promote: the gates' own code compared with naive gates, over thousands of simulated candidates.

It runs the scenarios and sums up the result. Scenarios, users, holdouts and naive gates are in bench/simulation.

    python -m bench.gates

The benchmark calls the gates' own code. Live tests use `signals` and `outcomes` of `eval.gates.canary` and
`eval.gates.holdback` for all runs at once; a sample of runs is compared with `look` and `look_back`. Offline tests use
`eval.gates.offline.decide`.
The last line is one JSON object; progress goes to stderr. See docs/internals/gate-simulation.md.
"""

import argparse
import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from bench import canary_query as query
from bench.progress import say
from bench.simulation import chart
from bench.simulation.holdout import Clustered, ClusteredGate, Items, OfflineGate
from bench.simulation.live import FIRST, STEP, Gate, NewUsers, OurGate, Record, World, proved, watch
from bench.simulation.returning import Returning
from bench.simulation.scenarios import (
    CYCLES,
    HOLDBACK,
    ITEMS,
    LEAST,
    LIVE,
    OURS,
    RETURNING,
    ROWS,
    SELECTED,
    SLICED,
    TWENTY,
    UNPROTECTED,
    VOTES,
    Canary,
)
from bench.simulation.selected_labels import SelectedGate
from bench.simulation.slices import SliceGate
from bench.simulation.user_model import Floats, once
from core.settings import CanarySettings
from eval.gates.live_arms import Plan
from eval.gates.offline import LAST_USE, LEAST_USERS

FALSE_PROMOTION = 0.055
POWER = 0.8
BATCH = 4000
Rows = list[dict[str, Any]]


def row(
    name: str, gate: str, null: bool, promoted: Any, n: Any = (), rolled_back: Any = (), **more: Any
) -> dict[str, Any]:
    """One line of the result."""
    promoted, rolled_back, n = np.asarray(promoted), np.asarray(rolled_back), np.asarray(n)
    share = float(promoted.mean())
    found: dict[str, Any] = {
        "name": name,
        "gate": gate,
        "null": null,
        "promote": round(share, 4),
        "se": round(math.sqrt(share * (1 - share) / len(promoted)), 4),
        "median_n": float(np.median(n[promoted])) if n.size and promoted.any() else None,
        "runs": len(promoted),
    }
    if rolled_back.size:
        found["rollback"] = round(float(rolled_back.mean()), 4)
        found["rollback_median_n"] = float(np.median(n[rolled_back])) if rolled_back.any() else None
    return found | more


def joined(name: str, null: bool, batches: list[dict[str, Record]]) -> Rows:
    """The lines of a scenario from the records of its batches."""
    return [
        row(
            name,
            gate,
            null,
            *(
                np.concatenate([getattr(batch[gate], part) for batch in batches])
                for part in ("promoted", "n", "rolled_back")
            ),
        )
        for gate in batches[0]
    ]


def batches(runs: int) -> list[int]:
    """Runs in parts that fit the processor's cache."""
    return [min(BATCH, runs - begun) for begun in range(0, runs, BATCH)]


def live(name: str, runs: int) -> Rows:
    """A canary scenario."""
    canary, rng = LIVE[name], np.random.default_rng(zlib.crc32(name.encode()))
    found = [
        watch(NewUsers(canary.people, part, rng, canary.share), canary.gates, part, canary.looks)
        for part in batches(runs)
    ]
    rows = joined(name, canary.null, found)
    if canary.decays:
        rows[0] |= time_to_rollback(canary, [batch[OURS] for batch in found])
    return rows


def time_to_rollback(canary: Canary, records: list[Record]) -> dict[str, float | None]:
    """How long a version that got worse went on: the median of requests of everybody, and of rated ones of the
    smaller arm, from then to the rollback. Those that were rolled back before are not among them."""
    since = np.concatenate([one.n[one.rolled_back] for one in records]) - (FIRST + (canary.decays - 1) * STEP)
    rated = float(np.median(since[since > 0])) if (since > 0).any() else None
    chances = canary.people.control if isinstance(canary.people.control, np.ndarray) else canary.people.control(0)
    each = float(chances @ canary.people.requests / (chances @ canary.people.rated)) / (1 - canary.share)
    return {
        "decay_to_rollback_rated": rated,
        "decay_to_rollback_requests": rated and round(rated * each, 1),
        "rolled_back_before": float((since <= 0).sum()) / sum(len(one.n) for one in records),
    }


def returning(name: str, runs: int) -> Rows:
    """400 users who come back 100 times, each liking the answers in his own measure."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    settings = CanarySettings(share=0.5, strict=True, min_minutes=0, max_hours=1e9)
    gates: dict[str, Gate] = {OURS: OurGate(Plan(0.5, 0.5), settings), **ITEMS}

    def world(part: int) -> World:
        return Returning(400, 0.7, 0.3, 0.5, part, rng)

    return joined(name, True, [watch(world(part), gates, part, 100) for part in batches(runs)])


def twenty(name: str, runs: int) -> Rows:
    """Whether any of twenty equal candidates passes on one holdout: the gate spends its level, the others do not."""
    items, rng = Items(500), np.random.default_rng(zlib.crc32(name.encode()))
    won, lost = items.ask(np.zeros((runs, 20)), rng)
    discordant = np.sqrt(np.maximum(won + lost, 1))
    passed = {
        OURS: OfflineGate(items).outcomes(won, lost, np.arange(1, 21)),
        "point estimate": won > lost,
        "McNemar .05 each": (won - lost) / discordant > norm.isf(0.05),
    }
    return [row(name, gate, True, found.any(1)) for gate, found in passed.items()]


def least(name: str, runs: int) -> Rows:
    """Whether any of five equal candidates passes on as few users as a judgement may have, of several items each."""
    holdout, rng = Clustered(LEAST_USERS), np.random.default_rng(zlib.crc32(name.encode()))
    gate, passed = ClusteredGate(LEAST_USERS), np.zeros((runs, 2), bool)
    for run in range(runs):
        items, gained = holdout.ask(LAST_USE, rng)
        passed[run] = np.any([gate.outcomes(items, gained[use - 1], use) for use in range(1, LAST_USE + 1)], axis=0)
    return [row(name, OURS, True, passed[:, 0]), row(name, "percentiles as they are", True, passed[:, 1])]


def selected(name: str, runs: int) -> Rows:
    """A candidate judged by labels that users give more often to wrong answers. Each run has its own resamples."""
    holdout, rng = SELECTED[name], np.random.default_rng(zlib.crc32(name.encode()))
    gate = SelectedGate(holdout.labels)
    passed = np.array([gate.outcomes(holdout, rng) for _ in range(min(runs, 1000))])
    others = {"weights by thumbs": 1, "labels as they are": 2} if holdout.asked else {"labels as they are": 2}
    return [row(name, gate, holdout.null, passed[:, place]) for gate, place in ({OURS: 0} | others).items()]


def sliced(name: str, runs: int) -> Rows:
    """How often the check of slices passes a candidate that lost no slice, or one that lost one."""
    holdout, rng, gate = SLICED[name], np.random.default_rng(zlib.crc32(name.encode())), SliceGate()
    passed = np.array([gate.outcomes(holdout, rng) for _ in range(min(runs, 200))])
    limits = {"required": holdout.required, "allowed": holdout.allowed}
    gates = (OURS, "every slice at .05", "point estimates")
    return [row(name, gate, False, passed[:, place], **limits) for place, gate in enumerate(gates)]


def in_a_row(name: str, runs: int) -> Rows:
    """Canaries in a row. Where candidates are worse, a row is wrong if its last champion lost more than the margin
    in all. Where they are equal, each candidate counts."""
    scenario, rng = ROWS[name], np.random.default_rng(zlib.crc32(name.encode()))
    rows = []
    for gate, with_anchor in ((OURS, True), ("compared with the champion alone", False)):
        loss, promoted, rated = scenario.watch(runs, rng, with_anchor=with_anchor)
        counted = loss > CanarySettings().margin if scenario.null else promoted.ravel()
        more = {
            "promotions": round(float(promoted.sum(1).mean()), 2),
            "points_lost": round(100 * float(np.median(loss)), 2),
            "median_n_first": float(np.median(rated[:, 0][promoted[:, 0]])),
            "median_n_last": float(np.median(rated[:, -1][promoted[:, -1]])) if promoted[:, -1].any() else None,
        }
        rows.append(row(name, gate, scenario.null, counted, **more))
    return rows


def cycles(name: str, runs: int) -> Rows:
    """Judge fifty candidates in a row: random worth, the offline gate on 1,000 items, then the canary by default.

    A promotion is wrong where the candidate is not better than the champion it replaces. A bucket judges five
    candidates and is then replaced by one of new users.
    """
    items, rng = Items(1000), np.random.default_rng(zlib.crc32(name.encode()))
    gains = rng.choice([0.0, 0.05, 0.02, -0.05], p=[0.6, 0.2, 0.1, 0.1], size=(runs, 50))
    won, lost = items.ask(gains, rng)
    ours = OfflineGate(items).outcomes(won, lost, np.arange(50) % 5 + 1)
    ours[ours] = _canaries(gains[ours], rng, OURS)
    peeked = (won - lost) / np.sqrt(np.maximum(won + lost, 1)) > norm.isf(0.05)
    peeked[peeked] = _canaries(gains[peeked], rng, "z-test .05, peeking")
    rows = []
    for gate, promoted in ((OURS, ours), ("point estimates", won > lost), ("McNemar, z peeking", peeked)):
        wrong = float((gains[promoted] <= 0).mean()) if promoted.any() else math.nan
        found = row(
            name,
            gate,
            True,
            promoted[gains <= 0],
            share_wrong=round(wrong, 4),
            promotions_in_50=round(float(promoted.sum(1).mean()), 2),
        )
        rows.append(
            found
            | {
                f"promote_{gain:+.2f}": round(float(promoted[gains == gain].mean()), 4)
                for gain in (-0.05, 0.0, 0.02, 0.05)
            }
        )
    return rows


def _canaries(gains: Floats, rng: np.random.Generator, gate: str) -> Any:
    """Which candidates of these gains a canary gate promotes, by default not strict."""
    found = []
    for part in np.array_split(gains, max(1, math.ceil(len(gains) / BATCH))):
        canary = Canary(once(0.7, list(0.7 + part)), strict=False, naive=VOTES)
        gates = {gate: canary.gates[gate]}
        found.append(watch(NewUsers(canary.people, len(part), rng), gates, len(part))[gate].promoted)
    return np.concatenate(found)


def scenario(name: str, runs: int, null_runs: int) -> Rows:
    """Run any scenario by its name. One run of `CYCLES` judges fifty candidates; four fifths of them are null."""
    other: dict[str, Callable[[], Rows]] = {
        RETURNING: lambda: returning(name, null_runs),
        TWENTY: lambda: twenty(name, null_runs),
        LEAST: lambda: least(name, null_runs),
        CYCLES: lambda: cycles(name, max(1, null_runs // 35)),
    }
    if name in SELECTED:
        return selected(name, null_runs if SELECTED[name].null else runs)
    if name in ROWS:
        return in_a_row(name, min(runs, 1000))
    if name in SLICED:
        return sliced(name, runs)
    if name in other:
        return other[name]()
    return live(name, null_runs if LIVE[name].null else runs)


def is_weak(found: dict[str, Any]) -> bool:
    """Whether a scenario that should promote seldom does. A holdback promotes nothing.

    A scenario of slices has limits of its own.
    """
    if "allowed" in found:
        return not found["required"] <= found["promote"] <= found["allowed"]
    return not found["null"] and not found["name"].startswith(HOLDBACK) and found["promote"] < POWER


def main() -> None:
    """Runs it; the last line of output is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--null-runs", type=int, default=20_000, help="runs where a promotion is wrong")
    parser.add_argument("--runs", type=int, default=2_000, help="runs of every other scenario")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--no-look", action="store_true", help="leave out the query over 1,000,000 requests")
    parser.add_argument("--picture", type=Path, help="where to draw the result, as SVG")
    options = parser.parse_args()
    started = time.monotonic()
    agreed = sum(proved(canary.people, canary.ours, canary.share) for canary in LIVE.values())
    say(f"look() and look_back() agree with the gates over arrays on {agreed} canaries and holdbacks")
    names = [
        name for name in (RETURNING, TWENTY, LEAST, CYCLES, *ROWS, *SELECTED, *SLICED, *LIVE) if options.only in name
    ]
    rows: Rows = []
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(scenario, name, options.runs, options.null_runs) for name in names]
        for name, future in zip(names, futures, strict=True):
            for found in future.result():
                rows.append(found)
                say(f"{name}: {found['gate']} promotes {found['promote']:.4f}, rolls back {found.get('rollback', '-')}")
    ours = [found for found in rows if found["gate"] == OURS]
    counted = [found for found in ours if found["null"] and found["name"] not in UNPROTECTED]
    worst = max((found["promote"] for found in counted), default=0.0)
    weak = [found["name"] for found in ours if is_weak(found)]
    result = {
        "scenarios": rows,
        "worst_false_promotion": worst,
        "power_failures": weak,
        "agreed_with_look": agreed,
        "look_s": None if options.no_look else query.seconds(),
        "seconds": round(time.monotonic() - started, 1),
    }
    if options.picture:
        options.picture.write_text(
            chart.draw(
                [found for found in rows if not found["name"].startswith(HOLDBACK) and "allowed" not in found], OURS
            ),
            encoding="utf-8",
        )
    print(json.dumps(result))
    sys.exit(1 if worst > FALSE_PROMOTION or weak or not ours else 0)


if __name__ == "__main__":
    main()
