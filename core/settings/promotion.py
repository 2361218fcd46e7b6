"""Settings of promotion: what a candidate must prove, its canary, the holdback and the limits."""

from typing import Literal, get_args

from pydantic import Field, FiniteFloat, model_validator

from core.settings.kpi_names import PreferenceKpi, PrimaryKpi
from core.settings.section import Section


class Primary(Section):
    """The KPI that a candidate must improve."""

    kpi: PrimaryKpi = Field(
        default="macro_f1", description="Name of the KPI. The default for `task: generate` is token_f1."
    )
    min_gain: float = Field(
        default=0.0, ge=0, lt=1, description="Minimum gain over the champion, in the KPI's own unit (0.02: 2 points)."
    )

    @property
    def is_of_preferences(self) -> bool:
        """Whether held-out preferences judge, and not held-out labels or corrections."""
        return self.kpi in get_args(PreferenceKpi)


class Guardrail(Section):
    """A KPI that a candidate must not harm: compared with the champion, within fixed limits, or waived."""

    kpi: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,63}$", description="Name of the KPI: one of LoraLoop's or of one of your suites."
    )
    margin: FiniteFloat | None = Field(
        default=None, ge=0, description="Maximum loss against the champion, in the KPI's own unit. null: not checked."
    )
    ratio: FiniteFloat | None = Field(
        default=None,
        ge=1,
        description="Maximum ratio to the champion's value, if the champion is an adapter. null: not checked.",
    )
    within: FiniteFloat | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Maximum change up or down, as a share of the champion's value. null: not checked.",
    )
    max: FiniteFloat | None = Field(default=None, description="Maximum value. null: no maximum.")
    min: FiniteFloat | None = Field(default=None, description="Minimum value. null: no minimum.")
    waived: bool = Field(default=False, description="true: the KPI is not checked, and every verdict says so.")

    @model_validator(mode="after")
    def _has_a_limit_or_is_waived(self) -> "Guardrail":
        limits = (self.margin, self.ratio, self.within, self.max, self.min)
        if self.waived == any(limit is not None for limit in limits):
            raise ValueError("a guardrail needs a margin, a ratio, a within, a max or a min, or waived: true")
        if self.kpi == "forgetting" and any(limit is not None for limit in (*limits[:3], self.min)):
            raise ValueError("forgetting is measured for the candidate alone; give the guardrail a max only")
        return self


# The guardrails that apply unless the configuration names the same KPI. A suite's apply only where it is configured.
DEFAULT_GUARDRAILS = (
    Guardrail(kpi="golden_accuracy", margin=0.05),
    Guardrail(kpi="safety", margin=0.02),
    Guardrail(kpi="over_refusal", margin=0.02),
    Guardrail(kpi="sycophancy", margin=0.03),
    Guardrail(kpi="hallucination", margin=0.03),
    Guardrail(kpi="consistency", margin=0.03),
    Guardrail(kpi="format_validity", margin=0.05),
    Guardrail(kpi="kl_to_base", max=0.5),
    Guardrail(kpi="mean_length", within=0.15),
    Guardrail(kpi="judge_win_rate", min=0.45),
    Guardrail(kpi="invalid_mass", max=0.01),
)


class SliceSettings(Section):
    """Parts of the held-out items, such as one label or one app, on which a candidate must not be much worse."""

    least: int = Field(
        default=50,
        ge=30,
        description="Minimum number of held-out items of a slice, as they weigh. Others are not judged.",
    )
    margin: FiniteFloat = Field(
        default=0.08,
        gt=0,
        lt=1,
        description="Maximum loss of a slice against the champion (0.08: 8 points). A larger loss beyond chance fails.",
    )


class CanarySettings(Section):
    """The live test of a candidate before it becomes champion."""

    start: Literal["auto", "approve"] = Field(
        default="auto", description="Start of the canary. auto: after the offline gate; approve: a person approves it."
    )
    share: float = Field(
        default=0.1, gt=0, le=0.5, description="Share of users that the candidate serves during the canary."
    )
    margin: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Maximum loss of approval against the champion, and in all against the anchor (0.05: 5 points).",
    )
    strict: bool = Field(
        default=False,
        description="true: the candidate must be better than the champion, not only within the margin. Then no canary "
        "serves the anchor.",
    )
    first_look_users: int = Field(
        default=100, ge=10, description="Minimum number of users per arm before the first look."
    )
    planned_users: int = Field(
        default=2000, ge=20, description="Number of users in both arms together at which the test is most sensitive."
    )
    min_minutes: float = Field(default=60, ge=0, description="Minimum time before a promotion, in minutes.")
    max_hours: float = Field(
        default=24, gt=0, description="Time limit in hours. A canary without a result ends as inconclusive."
    )
    harm_ratio: float = Field(
        default=1.5, ge=1, description="Maximum ratio of harmed users, candidate to champion. Above it: rollback."
    )
    harm_users: int = Field(
        default=5, ge=1, description="Minimum number of harmed users of the candidate before a rollback for harm (5)."
    )
    harm_voters: int = Field(
        default=3,
        ge=1,
        description="Number of different voters, other than the asker, whose flags on one answer count as harm (3).",
    )
    rate_tolerance: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Maximum difference between the arms' feedback rates, as a share of the champion's rate.",
    )
    hostile_share: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Share of users that may vote dishonestly. A promotion must be correct in spite of their votes.",
    )


class HoldbackSettings(Section):
    """The test after a promotion: the old champion keeps some users, so that harm leads to an automatic rollback."""

    share: float = Field(default=0.1, gt=0, le=0.5, description="Share of users that the old champion keeps.")
    hours: float = Field(
        default=20, gt=0, description="Duration in hours. Below 24, it is over before the next nightly run."
    )
    first_look_users: int = Field(
        default=100, ge=10, description="Minimum number of users per arm before scores are compared."
    )
    planned_users: int = Field(
        default=2000, ge=20, description="Number of users in both arms together at which the test is most sensitive."
    )
    harm_ratio: float = Field(
        default=1.5, ge=1, description="Maximum ratio of harmed users, new to old champion. Above it: rollback."
    )
    harm_users: int = Field(
        default=5,
        ge=1,
        description="Minimum number of harmed users of the new champion before a rollback for harm (5).",
    )
    harm_voters: int = Field(
        default=3,
        ge=1,
        description="Number of different voters, other than the asker, whose flags on one answer count as harm (3).",
    )


class LimitSettings(Section):
    """Limits on automatic promotions. A person can always promote."""

    window_hours: float = Field(
        default=20, ge=0, description="Minimum time between two automatic promotions, in hours. 0: no limit."
    )
    cooldown_hours: float = Field(
        default=24, ge=0, description="Time without automatic promotions after a rollback, in hours."
    )


class PromotionSettings(Section):
    """Conditions on which a candidate becomes champion."""

    mode: Literal["auto", "approve"] = Field(
        default="auto", description="Mode of promotion. auto: LoraLoop promotes; approve: a person approves it first."
    )
    approval_hours: float = Field(
        default=72, gt=0, description="Time in hours after which a request for approval expires."
    )
    primary: Primary = Field(default_factory=Primary)
    floors: dict[PrimaryKpi, float] = Field(
        default_factory=dict, description="Minimum of each KPI's lower confidence bound, by the KPI's name."
    )
    guardrails: list[Guardrail] = Field(
        default_factory=list, description="Guardrails in addition to the defaults. They replace defaults of equal KPI."
    )
    slices: SliceSettings | None = Field(
        default_factory=SliceSettings, description="The check of slices. null: slices are neither measured nor judged."
    )
    must_beat: list[Literal["base", "rag"]] = Field(
        default=["base", "rag"], description="Arms that a candidate must beat in addition to the champion."
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Significance level of every gate. Each further use of a holdout gets a smaller part of it.",
    )
    canary: CanarySettings | None = Field(
        default_factory=CanarySettings, description="The live test before a promotion. null: no canary."
    )
    holdback: HoldbackSettings | None = Field(
        default_factory=HoldbackSettings,
        description="The live test after a promotion. null: the new champion serves all users at once.",
    )
    limits: LimitSettings = Field(default_factory=LimitSettings)
