"""Triggers: when a model's new feedback is enough to start a run.

It owns one pure function; who asks it, and how often, is the scheduler's business.
"""

from core.settings import RetrainSettings


def due(new_feedback: int, open_run: str | None, settings: RetrainSettings) -> str | None:
    """The reason to start a run now, or None: enough new feedback, and no run of the model under way."""
    if open_run is not None or new_feedback < settings.min_new_feedback:
        return None
    return f"{new_feedback} new feedback rows, {settings.min_new_feedback} wanted"
