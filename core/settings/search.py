"""Settings of the search for the settings of a training."""

from typing import Any, Literal

from pydantic import Field, model_validator

from core.settings.section import Section

WORDS = ("off", "auto")


class SearchSettings(Section):
    """The search before a training. `off` and `auto` may be written alone, and a budget without a mode."""

    mode: Literal["off", "auto", "always"] = Field(
        default="off",
        description="When a run searches. off: never; auto: as needed; always: before each training. A budget without "
        "a mode is always. auto searches before the first training, and once the train rows have doubled. It also "
        "searches after a change of base model, labels, primary KPI or settings of trainings.",
    )
    trials: int = Field(default=12, ge=2, le=200, description="Maximum number of trials of one search, for example 8.")
    minutes: float = Field(
        default=60, gt=0, le=10_080, description="Maximum time of one search in minutes. The first trial always ends."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, value: Any) -> Any:
        if value is False:  # YAML reads off as a boolean
            return {"mode": "off"}
        if isinstance(value, str | bool | int | float | list) or value is None:
            if value not in WORDS:
                raise ValueError("write off, auto, or a budget such as {trials: 12, minutes: 60}")
            return {"mode": value}
        if isinstance(value, dict) and value and "mode" not in value:
            return {"mode": "always"} | value
        if isinstance(value, dict) and value.get("mode") is False:
            return value | {"mode": "off"}
        return value


def with_short_forms(schema: dict[str, Any]) -> None:
    """Allow the short forms in the JSON schema of a field, so that an editor accepts them."""
    section = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"enum": list(WORDS), "type": "string"}, {"$ref": section.pop("$ref")}]
    schema.update(section)
