"""Live: simulated canaries, judged by several gates at once.

It owns the order of looks and what each gate said first; what users do is people's, what a gate thinks is its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench.simulation.user_model import Floats, People, vote_cap
from core.settings import CanarySettings, HoldbackSettings
from eval.gates import canary as canaries
from eval.gates import holdback as holdbacks
from eval.gates.live_arms import ArmCounts, Plan
from eval.gates.result import Outcome

Bools = npt.NDArray[np.bool_]
FIRST, STEP, MOST = 100, 50, 20_000  # rated requests in each arm
LOOKS = (MOST - FIRST) // STEP + 1


@dataclass(frozen=True, slots=True)
class Votes:
    """Votes of one arm, one element a canary, for gates that do not know users."""

    ups: Floats
    rated: Floats


@dataclass(frozen=True, slots=True)
class Seen:
    """What may be known at a look; `control` and `canary` are the gate's own counts, of arrays.

    `rated` is the number of rated requests that the smaller arm is planned to have by then.
    """

    control: ArmCounts
    canary: ArmCounts
    control_votes: Votes
    canary_votes: Votes
    rated: float


class Gate(Protocol):
    """Says of every canary whether to promote it and whether to roll it back."""

    def __call__(self, seen: Seen) -> tuple[Bools, Bools]:
        """(promote, roll back)."""
        ...


class World(Protocol):
    """Something that goes on between two looks."""

    def advance(self, look: int) -> Seen:
        """What is known at this look."""
        ...


class NewUsers:
    """New users at every look, dealt to the arms by chance."""

    def __init__(self, people: People, runs: int, rng: np.random.Generator, share: float = 0.5) -> None:
        self.people, self.runs, self.rng, self.share = people, runs, rng, share
        self.control, self.canary = (np.zeros((runs, len(people.ups))) for _ in range(2))
        chances = people.control(0) if callable(people.control) else people.control
        self.per_user = float((chances * people.rated).sum())
        self.come = 0
        self.cap = vote_cap(people)

    def advance(self, look: int) -> Seen:
        """Lets in as many users as make STEP more rated requests in the smaller arm; FIRST of them at first."""
        rated = FIRST + look * STEP
        whole = round(rated / self.per_user / min(self.share, 1 - self.share))
        new, self.come = whole - self.come, whole
        theirs = self.rng.binomial(new, self.share, self.runs)
        for counts, users, chances in (
            (self.control, new - theirs, self.people.control),
            (self.canary, theirs, self.people.canary),
        ):
            counts[:] += self.rng.multinomial(users, chances(look) if callable(chances) else chances)
        return Seen(
            arm_counts(self.people, self.control, self.cap),
            arm_counts(self.people, self.canary, self.cap),
            votes(self.people, self.control),
            votes(self.people, self.canary),
            rated,
        )


def votes(people: People, counts: Floats) -> Votes:
    """The votes of an arm from its users by kind, (r, k)."""
    return Votes(counts @ people.ups, counts @ people.rated)


def arm_counts(people: People, counts: Floats, cap: float) -> ArmCounts:
    """What the store's query finds of users by kind, (r, k), here for all runs at once."""
    rate = people.rated / people.requests
    weight = np.minimum(1, cap / np.where(rate > 0, rate, 1))
    rate, score = rate * weight, (people.ups - people.downs) / people.requests * weight
    table = np.stack([people.requests, score, rate, score**2, rate**2, score * rate, people.harmed], axis=1)
    users = counts.sum(1)
    requests, s, r, ss, rr, sr, hurt = (counts @ table).T
    return moments(users, requests, s, r, ss, rr, sr, hurt, cap)


def moments(
    users: Floats, requests: Floats, s: Floats, r: Floats, ss: Floats, rr: Floats, sr: Floats, hurt: Floats, cap: float
) -> ArmCounts:
    """Counts from sums over users of scores s, rates r, their squares and product."""
    mean_s, mean_r, least = s / users, r / users, np.maximum(users - 1, 1)
    found = (
        users,
        requests,
        mean_s,
        np.sqrt(np.maximum(ss - users * mean_s**2, 0) / least),
        mean_r,
        np.sqrt(np.maximum(rr - users * mean_r**2, 0) / least),
        hurt,
        (sr - users * mean_s * mean_r) / least,
    )
    return ArmCounts(*found, np.full(len(users), cap), np.zeros(len(users)))  # pyright: ignore[reportArgumentType] # the gate broadcasts


@dataclass(slots=True)
class Record:
    """What a gate said first of each run, and after how many rated requests in an arm."""

    runs: int
    promoted: Bools = field(init=False)
    rolled_back: Bools = field(init=False)
    n: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.promoted, self.rolled_back = (np.zeros(self.runs, dtype=bool) for _ in range(2))
        self.n = np.full(self.runs, np.nan)

    @property
    def open(self) -> Bools:
        """Runs without an answer."""
        return ~(self.promoted | self.rolled_back)

    def take(self, promote: Bools, roll_back: Bools, rated: float) -> None:
        """Notes what is said of runs that have no answer yet; rollback wins."""
        still = self.open
        self.rolled_back |= still & roll_back
        self.promoted |= still & promote & ~roll_back
        self.n[still & (promote | roll_back)] = rated


def watch(world: World, gates: Mapping[str, Gate], runs: int, looks: int = LOOKS) -> dict[str, Record]:
    """All looks of all gates; ends early where every gate has answered for every run."""
    records = {name: Record(runs) for name in gates}
    for number in range(looks):
        seen = world.advance(number)
        for name, gate in gates.items():
            records[name].take(*gate(seen), seen.rated)
        if not any(record.open.any() for record in records.values()):
            break
    return records


class Ours(Gate, Protocol):
    """A gate of the product's own code, over arrays and one by one."""

    def alone(self, control: ArmCounts, canary: ArmCounts) -> Outcome:
        """What it says of a single one."""
        ...


class OurGate:
    """The gate's own code: `eval.gates.canary.signals` and `outcomes`, beneath `look`, for all runs at once."""

    def __init__(self, plan: Plan, settings: CanarySettings) -> None:
        self.plan, self.settings = plan, settings

    def __call__(self, seen: Seen) -> tuple[Bools, Bools]:
        """Promotes on pass, rolls back on fail; inconclusive counts as neither."""
        found = canaries.signals(seen.control, seen.canary, self.plan, self.settings)
        said = canaries.outcomes(found, self.settings, minutes=0.0)
        return said == Outcome.PASS, said == Outcome.FAIL

    def alone(self, control: ArmCounts, canary: ArmCounts) -> Outcome:
        """What `eval.gates.canary.look` says."""
        return canaries.look(control, canary, self.plan, self.settings, minutes=0.0).judgement.outcome


class HoldbackGate:
    """The holdback gate's own `signals` and `outcomes` (`eval.gates.holdback`), for all runs at once."""

    def __init__(self, plan: Plan, settings: HoldbackSettings) -> None:
        self.plan, self.settings = plan, settings

    def __call__(self, seen: Seen) -> tuple[Bools, Bools]:
        """Promotes nothing: what was promoted already is rolled back or stays."""
        found = holdbacks.signals(seen.control, seen.canary, self.plan, self.settings)
        back = holdbacks.outcomes(found, over=False) == Outcome.FAIL
        return np.zeros_like(back), back

    def alone(self, control: ArmCounts, canary: ArmCounts) -> Outcome:
        """What `eval.gates.holdback.look_back` says."""
        return holdbacks.look_back(control, canary, self.plan, self.settings, over=False).judgement.outcome


def proved(people: People, gate: Ours, share: float, runs: int = 8, looks: int = 8) -> int:
    """How many were judged one by one as all of them together were judged; raises where they differ."""
    world, compared = NewUsers(people, runs, np.random.default_rng(0), share), 0
    for number in range(looks):
        seen = world.advance(number * LOOKS // looks)
        promoted, rolled_back = gate(seen)
        for run in range(runs):
            arms = one(seen.control, run), one(seen.canary, run)
            said = gate.alone(*arms)
            if (said is Outcome.PASS, said is Outcome.FAIL) != (promoted[run], rolled_back[run]):
                raise AssertionError(f"alone, {said} is said of {arms}")
            compared += 1
    return compared


def one(arms: ArmCounts, run: int) -> ArmCounts:
    """One canary's counts out of arrays, as plain numbers."""
    found = [float(getattr(arms, field.name)[run]) for field in fields(arms)]
    counts = {"users", "requests", "harmed", "strayed"}
    named = zip(fields(arms), found, strict=True)
    plain: dict[str, Any] = {field.name: int(value) if field.name in counts else value for field, value in named}
    return ArmCounts(**plain)
