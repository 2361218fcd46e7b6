"""Settings of privacy: which personal data snapshots leave out of texts."""

from typing import Any, Literal

from pydantic import Field, field_validator

from core.settings.section import Section

ScrubRule = Literal["credentials", "secret", "email", "iban", "card", "national_id", "ip", "phone"]
SCRUB_RULES: tuple[ScrubRule, ...] = (
    "credentials",
    "secret",
    "email",
    "iban",
    "card",
    "national_id",
    "ip",
    "phone",
)


class PrivacySettings(Section):
    """Personal data in the prompts and answers of snapshots. The store keeps the texts as they are."""

    scrub: list[ScrubRule] | Literal["off"] = Field(
        default=list(SCRUB_RULES),
        description="Rules whose matches are replaced by a tag such as [EMAIL] in every snapshot. off: no rule.",
    )

    @field_validator("scrub", mode="before")
    @classmethod
    def _read_off(cls, value: Any) -> Any:
        # YAML reads off as a boolean.
        return "off" if value is False else value

    @property
    def rules(self) -> tuple[ScrubRule, ...]:
        """The rules in the order in which they are applied."""
        return tuple(rule for rule in SCRUB_RULES if self.scrub != "off" and rule in self.scrub)
