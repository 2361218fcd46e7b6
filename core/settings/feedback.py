"""Settings of the feedback that an app asks its users for."""

from pydantic import Field

from core.settings.section import Section


class FeedbackSettings(Section):
    """How many answers the app asks its users about."""

    audit_share: float = Field(
        default=0.0,
        ge=0,
        # Answers without the mark show how many labels users give without a question.
        le=0.5,
        description="Share of requests whose answers have the header `x-loraloop-ask: label`, for example 0.05. They "
        "are drawn at random, so that their labels show how often answers are right. The app must ask its users about "
        "them. Only with `task: classify`.",
    )
