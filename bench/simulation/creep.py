"""Rows of canaries: each candidate that is promoted is the champion of the next canary.

It owns what users of the arms say and which version is the anchor; the gate's own code judges. Every user makes one
request and rates it. Losses are shares of approval below the first champion, one element per row.
"""

from dataclasses import dataclass, replace

import numpy as np

from bench.simulation.live import FIRST, LOOKS, STEP, Bools, moments
from bench.simulation.user_model import Floats
from core.settings import CanarySettings
from eval.gates.anchor import anchor_share, better_than_anchor, outcomes_with_anchor, shares_compared
from eval.gates.canary import outcomes, signals
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.offline import spent_level
from eval.gates.result import Outcome
from rollout.live_plan import LEAST_SD

APPROVAL = 0.7
SHARE = 1 / 3  # three equal arms
SETTINGS = CanarySettings(share=SHARE, min_minutes=0, max_hours=1e9)


@dataclass(frozen=True, slots=True)
class CanaryRow:
    """`candidates` in a row, each worse than its champion by a loss drawn between `smallest` and `largest`."""

    smallest: float
    largest: float
    null: bool
    candidates: int = 20

    def watch(self, runs: int, rng: np.random.Generator, *, with_anchor: bool) -> tuple[Floats, Bools, Floats]:
        """The loss of the last champion (runs,), which candidates were promoted, and after how many rated requests in
        the smallest arm: (runs, candidates)."""
        champion, anchor, apart = np.zeros(runs), np.zeros(runs), np.zeros(runs, bool)
        uses = np.zeros(runs, int)
        promoted, rated = np.zeros((runs, self.candidates), bool), np.zeros((runs, self.candidates))
        for number in range(self.candidates):
            candidate = champion + rng.uniform(self.smallest, self.largest, runs)
            better = np.zeros(runs, bool)
            for group, arms in (
                (~apart, (candidate, champion)),
                (apart, (candidate, champion, anchor)),
            ):
                for use in np.unique(uses[group]):
                    part = group & (uses == use)
                    chances = APPROVAL - np.stack([arm[part] for arm in arms], axis=1)
                    promoted[part, number], better[part], rated[part, number] = _judge(chances, rng, int(use) + 1)
            now = promoted[:, number]
            anchor, uses = np.where(now & better, candidate, anchor), uses + apart
            uses[now & better] = 0
            champion = np.where(now, candidate, champion)
            apart = (apart & ~now | now & ~better) if with_anchor else apart
        return champion, promoted, rated


def _judge(chances: Floats, rng: np.random.Generator, use: int) -> tuple[Bools, Bools, Floats]:
    """Which canaries promote, which candidates are then proven better than the anchor, and after how many requests.

    `chances` has the approval of candidate, champion and maybe the anchor, (runs, arms). `use` is how often the anchor
    has been compared with.
    """
    runs, arms = chances.shape
    kept = anchor_share(SHARE) if arms == 3 else 0.0
    parts = np.array([SHARE, 1 - SHARE - kept, kept][:arms])
    to_champion, to_anchor = shares_compared(SHARE) if arms == 3 else (SHARE, SHARE)
    plan, other = _plan(to_champion), _plan(to_anchor)
    if arms == 3:
        other = replace(other, alpha=spent_level(other.alpha, use))
    users, ups = np.zeros((runs, arms)), np.zeros((runs, arms))
    promoted, better, rated, come = np.zeros(runs, bool), np.zeros(runs, bool), np.zeros(runs), 0
    going = np.arange(runs)
    for look in range(LOOKS):
        whole = round((FIRST + look * STEP) / parts.min())
        new = rng.multinomial(whole - come, parts, len(going))
        come = whole
        users[going] += new
        ups[going] += rng.binomial(new, chances[going])
        canary, control, *rest = (_counts(users[going, arm], ups[going, arm]) for arm in range(arms))
        said = outcomes(signals(control, canary, plan, SETTINGS), SETTINGS, minutes=0.0)
        anchor = rest[0] if rest else control
        if rest:
            said = outcomes_with_anchor(said, signals(anchor, canary, other, SETTINGS), SETTINGS, minutes=0.0)
        promoted[going], rated[going] = said == Outcome.PASS, FIRST + look * STEP
        better[going] = better_than_anchor(anchor, canary, other, SETTINGS)
        going = going[said == Outcome.WAIT]
        if not going.size:
            break
    return promoted, better & promoted, rated


def _plan(share: float) -> Plan:
    return Plan(share, score_sd=2 * (APPROVAL * (1 - APPROVAL)) ** 0.5, rate_mean=1.0, rate_sd=LEAST_SD)


def _counts(users: Floats, ups: Floats) -> ArmCounts:
    score = 2 * ups - users
    return moments(users, users, score, users, users, users, score, np.zeros(len(users)), 1.0)
