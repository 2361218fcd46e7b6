"""Settings of the feedback that an app asks its users for."""

from pydantic import Field

from core.settings.section import Section


class FeedbackSettings(Section):
    """How many answers the app asks its users about, and how many reviewers label one."""

    audit_share: float = Field(
        default=0.0,
        ge=0,
        # Answers without the mark show how many labels users give without a question.
        le=0.5,
        description="Share of requests whose answers have the header `x-loraloop-ask: label`, for example 0.05. They "
        "are drawn at random, so that their labels show how often answers are right. The app must ask its users about "
        "them. Only with `task: classify`.",
    )
    reviewers: int = Field(
        default=1,
        ge=1,
        le=10,
        description="Number of reviewers who label the same answer in the console's queue, for example 2. They do not "
        "see the labels of others before. From 2 on, an answer on which reviewers disagree is not used until more than "
        "half of them agree or a person adjudicates. With 1, the newest label of a reviewer counts. Only with "
        "`task: classify`.",
    )
