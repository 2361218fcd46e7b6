"""Print the table of users that a canary needs, which docs/sizing.md shows.

The forecast is the one that LoraLoop writes into the ledger before a canary. The users are those of both arms.
"""

import argparse

from core.settings import CanarySettings
from rollout.forecast import expected_length, independent_votes

RATES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)  # share of requests with a vote
CASES = ((0.0, 0.1), (0.0, 0.5), (0.1, 0.1), (0.1, 0.5))  # (gain in approval, the canary's share)


def users(rate: float, gain: float, share: float, requests_per_user: float = 3, approval: float = 0.7) -> int:
    """Return the users of both arms until the gate can promote a candidate with this gain in approval."""
    canary = CanarySettings(share=share, margin=0.05 + gain)
    return round(expected_length(independent_votes(1.0, requests_per_user, rate, approval), canary).users)


def rows() -> list[str]:
    """Return the rows of the table in docs/sizing.md."""
    return [
        f"| {rate:.0%} | " + " | ".join(f"{users(rate, gain, share):,}" for gain, share in CASES) + " |"
        for rate in RATES
    ]


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(prog="python -m tools.sizing", description=__doc__).parse_args()
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
