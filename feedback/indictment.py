"""Which voters a version's own votes indict: whose votes against it were a burst, or are contradicted by others.

A rollback holds their votes and nobody else's. It must not read the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.db.quarantines import Predicate, VoterAgainst

# Votes against a version that one voter gives in ten minutes before they can be a burst, and how many times the median
# voter's total they must be.
BURST_VOTES = 10
BURST_RATIO = 5.0
# Answers that others must approve of before they contradict a voter or a key, and their share of the answers compared.
# A key carries the votes of a whole app, so it needs more.
CONTRADICTED_OF_VOTER = 5
CONTRADICTED_OF_KEY = 20
CONTRADICTED_SHARE = 0.8
# The fewest votes that any of these rules counts.
FEWEST = min(BURST_VOTES, CONTRADICTED_OF_VOTER, CONTRADICTED_OF_KEY)
BY_HAND = "To hold votes yourself: loraloop quarantine hold --model {model} --user USER, or --key KEY."


@dataclass(frozen=True, slots=True)
class Indictment:
    """Whose votes to hold after a rollback, with the reason; without predicates the reason says why nobody's."""

    predicates: tuple[Predicate, ...]
    reason: str


def indicted(model: str, voters: Sequence[VoterAgainst]) -> Indictment:
    """The voters and keys whose thumbs-down and flags are a burst or contradict others, each with its reason.

    A user whose key is indicted too is held with the key.
    """
    found = [(voter, reason) for voter in voters if (reason := _fault(voter))]
    keys = {voter.key for voter, _ in found if voter.user is None}
    kept = [(voter, reason) for voter, reason in found if voter.user is None or voter.key not in keys]
    if not kept:
        return Indictment(
            (),
            "Nothing is held: no voter's votes against it were a burst, and none were contradicted by other voters. "
            + BY_HAND.format(model=model),
        )
    predicates = tuple(Predicate(voter.key, voter.user) for voter, _ in kept)
    said = "; ".join(reason for _, reason in kept[:3])
    more = f"; and {len(kept) - 3} more" if len(kept) > 3 else ""
    return Indictment(predicates, f"Held are the votes of {said}{more}.")


def _fault(voter: VoterAgainst) -> str:
    name = f"the key {voter.key}" if voter.user is None else f"{voter.user}{f' (key {voter.key})' if voter.key else ''}"
    if voter.user is not None and voter.peak >= BURST_VOTES and voter.peak > BURST_RATIO * voter.typical:
        return f"{name}: {voter.peak} votes against it in ten minutes, where half of the voters gave {voter.typical:g}"
    least = CONTRADICTED_OF_KEY if voter.user is None else CONTRADICTED_OF_VOTER
    if voter.contradicted >= max(least, CONTRADICTED_SHARE * voter.compared):
        return f"{name}: others approve of {voter.contradicted} of the {voter.compared} answers that they both judged"
    return ""
