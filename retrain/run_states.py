"""States of runs, and what a person may do to a run in each. Pure data, which the command line imports too."""

QUEUED, SNAPSHOT, TRAINING, EVALUATING = "queued", "snapshot", "training", "evaluating"
MEASURING, PAUSED, CANCELLED = "measuring", "paused", "cancelled"
# A candidate waits for users or for a person. Nothing of the run is being done.
WAITING = ("canary", "awaiting_approval")


def allowed_actions(state: str) -> list[str]:
    """What a person may do to a run in this state."""
    if state == PAUSED:
        return ["resume", "cancel"]
    if state == MEASURING:
        return ["cancel"]
    return ["pause", "cancel"] if state in (QUEUED, SNAPSHOT, TRAINING, EVALUATING) else []
