"""How long to wait before a process that died is started again."""

# A process that lived for longer than this, in seconds, died of something else than its start.
STEADY_SECONDS = 5.0
LONGEST_BACKOFF = 30.0
# More doublings than the longest delay has; without a limit, the power would overflow after a night.
MOST_DOUBLINGS = 10


def restart_delay(deaths: int) -> float:
    """Seconds, for the how-manieth death at its start in a row: 0, 1, 3, 7 and so on."""
    return min(LONGEST_BACKOFF, 2.0 ** min(deaths - 1, MOST_DOUBLINGS) - 1)
