"""What serving costs: tokens at their prices, or hours of engines by the share of tokens. Data in, data out."""

from dataclasses import dataclass
from typing import Literal

from core.settings import EngineSettings

MILLION = 1_000_000
Basis = Literal["tokens", "hours"]


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a million tokens of prompts and of completions, and of an hour of all engines; None is no price."""

    prompt: float | None = None
    completion: float | None = None
    hour: float | None = None

    @classmethod
    def of(cls, engine: EngineSettings) -> "Prices":
        """The prices of the settings. `price_per_hour` is that of one engine."""
        hour = None if engine.price_per_hour is None else engine.price_per_hour * max(1, len(engine.urls))
        both = engine.price_per_million_tokens
        prompt, completion = engine.price_per_million_prompt_tokens, engine.price_per_million_completion_tokens
        return cls(both if prompt is None else prompt, both if completion is None else completion, hour)

    @property
    def basis(self) -> Basis | None:
        """What costs are computed from: prices of tokens come before the price of an hour. None without a price."""
        if self.prompt is not None:
            return "tokens"
        return None if self.hour is None else "hours"

    def cost(self, prompt_tokens: int, completion_tokens: int, hours: float) -> float | None:
        """The cost of tokens, or of the `hours` that were allocated to them; None without a price."""
        if self.prompt is not None and self.completion is not None:
            return (self.prompt * prompt_tokens + self.completion * completion_tokens) / MILLION
        return None if self.hour is None else self.hour * hours

    @property
    def sentences(self) -> tuple[str, ...]:
        """How costs are computed, in words."""
        if self.basis == "hours":
            return (
                f"Serving costs {self.hour:g} per hour: engine.price_per_hour for each engine.",
                "All hours of a day count, because it is not stored when an engine ran. Models share them by tokens.",
                "Hours of trainings on the same machine are among them.",
            )
        if self.prompt is None:
            return ()
        if self.prompt == self.completion:
            return (f"Serving costs {self.prompt:g} per million tokens.",)
        return (f"Serving costs {self.prompt:g} per million tokens of prompts and {self.completion:g} of completions.",)
