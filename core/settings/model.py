"""Settings of one model."""

import hashlib
import json
from typing import Any, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from core.names import in_one_form, label_key
from core.settings.evaluation import BaselineSettings, EvaluationSettings, SplitSettings
from core.settings.feedback import FeedbackSettings
from core.settings.kpi_names import GENERATE_PRIMARY, GuardedKpi, ShippedSuite, TextKpi
from core.settings.privacy import PrivacySettings
from core.settings.promotion import PromotionSettings
from core.settings.retrain import RetrainSettings
from core.settings.section import Section, nearest
from core.settings.trust import TrustSettings


class ModelSettings(Section):
    """One model that apps can name in requests."""

    task: Literal["classify", "generate"] = Field(
        default="classify", description="Kind of answers. classify: one of `labels`; generate: free text."
    )
    labels: list[str] = Field(
        default=[],
        max_length=64,
        validate_default=True,
        description="Labels that a classification can return: 2 to 64, distinct. Empty with `task: generate`.",
    )
    split: SplitSettings = Field(default_factory=SplitSettings)
    trust: TrustSettings = Field(default_factory=TrustSettings)
    feedback: FeedbackSettings = Field(default_factory=FeedbackSettings)
    privacy: PrivacySettings = Field(default_factory=PrivacySettings)
    retrain: RetrainSettings = Field(default_factory=RetrainSettings)
    baselines: BaselineSettings = Field(default_factory=BaselineSettings)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    promotion: PromotionSettings = Field(default_factory=PromotionSettings)

    @field_validator("labels", mode="before")
    @classmethod
    def _are_texts(cls, labels: Any) -> Any:
        for place, label in enumerate(labels if isinstance(labels, list) else (), 1):
            if isinstance(label, bool):
                # YAML has read yes, no, on and off as booleans: what was written cannot be known.
                raise ValueError(f'label {place} is a boolean for YAML; write it in quotes, such as "yes" or "true"')
            if isinstance(label, int | float):
                raise ValueError(f'label {place} is a number for YAML; write it in quotes: "{label}"')
        return labels

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: list[str], about: ValidationInfo) -> list[str]:
        if about.data.get("task") == "classify" and len(labels) < 2:
            raise ValueError("a model that classifies needs at least two")
        if about.data.get("task") == "generate" and labels:
            raise ValueError("a model that generates has none; remove them, or set task: classify")
        if len({label_key(label) for label in labels}) != len(labels) or any(not x.strip() for x in labels):
            raise ValueError("labels must be distinct and not blank, ignoring case")
        return [in_one_form(label) for label in labels]

    @model_validator(mode="before")
    @classmethod
    def _set_primary_of_task(cls, data: Any) -> Any:
        """Set the default primary KPI of `task: generate`."""
        match data:
            case {"task": "generate", **rest}:
                promotion = rest.get("promotion", {})
                primary = promotion.get("primary", {}) if isinstance(promotion, dict) else None
                if isinstance(promotion, dict) and isinstance(primary, dict):
                    return data | {"promotion": promotion | {"primary": {"kpi": GENERATE_PRIMARY} | primary}}
        return data

    @model_validator(mode="after")
    def _fits_its_task(self) -> "ModelSettings":
        if self.feedback.audit_share and self.task != "classify":
            raise ValueError("feedback.audit_share: only a model that classifies asks for labels; remove it")
        if self.feedback.reviewers > 1 and self.task != "classify":
            raise ValueError("feedback.reviewers: only labels can be compared, corrections are not; remove it")
        if self.evaluation.judge and self.task != "generate":
            raise ValueError("evaluation.judge: only a model that generates has answers to compare")
        known, own = get_args(GuardedKpi), set(self.evaluation.suites) - set(get_args(ShippedSuite))
        for guardrail in self.promotion.guardrails:
            # The KPIs of a user's suite are checked when the suite is read, in eval.suites.configured.
            if guardrail.kpi not in known and not own:
                near = nearest(guardrail.kpi, known)
                meant = f"; did you mean {near}" if near else ""
                raise ValueError(f"promotion.guardrails: {guardrail.kpi} is not a KPI{meant}")
        kpi = self.promotion.primary.kpi
        if (kpi in get_args(TextKpi)) != (self.task == "generate"):
            raise ValueError(f"promotion.primary.kpi: {kpi} is not a KPI of task {self.task}")
        return self


def settings_sha256(model: ModelSettings) -> str:
    """Return the SHA-256 of all settings of a model. They contain no secrets."""
    return hashlib.sha256(json.dumps(model.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
