"""People: who visits the arms of a simulated canary, as a few kinds of user with a probability each.

It owns how users vote; it must not know gates. All users of a kind behave alike, so that how many of each kind came
is all there is to know of an arm, and thousands of canaries are drawn as one multinomial. k kinds, r runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom, binom

Floats = npt.NDArray[np.float64]
Chances = Floats | Callable[[int], Floats]


@dataclass(frozen=True, slots=True)
class People:
    """Kinds of user (k,): requests, votes up and down, harmed or not; and each arm's chances of them.

    Chances are (k,), (r, k), or a function of the look's number, for a world that changes.
    """

    ups: Floats
    downs: Floats
    requests: Floats
    harmed: Floats
    control: Chances
    canary: Chances

    @property
    def rated(self) -> Floats:
        """Votes by kind."""
        return self.ups + self.downs


def once(
    control: float,
    canary: float | Sequence[float],
    *,
    rate: float = 1.0,
    canary_rate: float | None = None,
    happy: float = 0.0,
) -> People:
    """Users of one request each, with the arms' approval (the canary's may differ by run) and share of rated requests.

    `happy` is the share of the canary's requests that get a vote up which nobody would have given to control.
    """
    canary_rate = rate if canary_rate is None else canary_rate
    approval = np.asarray(canary, dtype=np.float64)
    theirs = np.stack(
        [canary_rate * approval + happy, canary_rate * (1 - approval), 1 - canary_rate - happy + 0 * approval], axis=-1
    )
    ours = np.array([rate * control, rate * (1 - control), 1 - rate])
    return People(np.array([1.0, 0, 0]), np.array([0.0, 1, 0]), np.ones(3), np.zeros(3), ours, theirs)


def several(control: float, canary: float, *, requests: int, rate: float = 1.0, likeness: float = 0.3) -> People:
    """Users of several requests each, whose votes are alike: `likeness` is the intraclass correlation of approval."""
    kinds = [(up, rated - up, rated) for rated in range(requests + 1) for up in range(rated + 1)]
    kept = [kind for kind in kinds if binom.pmf(kind[2], requests, rate) > 0]
    ups, downs, rated = np.array(kept, dtype=np.float64).T

    def chances(approval: float) -> Floats:
        a, b = (share * (1 - likeness) / likeness for share in (approval, 1 - approval))
        return binom.pmf(rated, requests, rate) * betabinom.pmf(ups, rated, a, b)

    whole = np.full(len(ups), float(requests))
    return People(ups, downs, whole, np.zeros(len(ups)), chances(control), chances(canary))


def weekly(people: Callable[[float], People], approvals: Sequence[float], looks: int) -> People:
    """The same people with an approval that depends on the day of the week; a day lasts `looks` looks."""
    days = [people(approval) for approval in approvals]

    def chances(arm: str) -> Callable[[int], Floats]:
        return lambda look: getattr(days[look // looks % len(days)], arm)

    return replace(days[0], control=chances("control"), canary=chances("canary"))


def harmed(people: People, control: float, canary: float) -> People:
    """The same people, of whom these shares are harmed in each arm, independent of their votes."""
    twice = {name: np.tile(getattr(people, name), 2) for name in ("ups", "downs", "requests")}
    marks = np.repeat([0.0, 1.0], len(people.ups))

    def split(chances: Chances, share: float) -> Floats:
        assert isinstance(chances, np.ndarray)
        return np.concatenate([chances * (1 - share), chances * share])

    return People(**twice, harmed=marks, control=split(people.control, control), canary=split(people.canary, canary))


def brigaded(people: People, share: float) -> People:
    """The same people and a share of others who vote on all they see: up on the canary, down on control."""
    requests = people.requests.max()

    def with_these(values: Floats, *more: float) -> Floats:
        return np.append(values, more)

    def chances(found: Chances, up: float, down: float) -> Floats:
        assert isinstance(found, np.ndarray)
        return np.append(found * (1 - share), [up, down])

    return People(
        with_these(people.ups, requests, 0),
        with_these(people.downs, 0, requests),
        with_these(people.requests, requests, requests),
        with_these(people.harmed, 0, 0),
        chances(people.control, 0, share),
        chances(people.canary, share, 0),
    )


def vote_cap(people: People) -> float:
    """Twice the median share of rated requests among those who vote, as the query of an arm has it; at most 1."""
    chances = people.control(0) if callable(people.control) else people.control
    share = people.rated / people.requests
    order = np.argsort(share)
    order = order[share[order] > 0]
    cumulated = np.cumsum(chances[order])
    return float(min(1.0, 2 * share[order][np.searchsorted(cumulated, cumulated[-1] / 2)]))
