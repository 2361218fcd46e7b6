"""Settings of retraining: when a run starts and how it trains."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, field_validator

from core.settings.search import SearchSettings, with_short_forms
from core.settings.section import Section


class RetrainSettings(Section):
    """When and how a model is retrained."""

    schedule: str | None = Field(
        default="0 3 * * *",
        description="Cron expression in UTC that starts runs, for example 0 3 * * 0 for Sundays. Weekdays are 0 to 7, "
        "and 0 and 7 are Sunday. null: no schedule.",
    )
    min_new_feedback: int = Field(
        default=200,
        ge=1,
        description="Number of answers or pairs with a new vote that starts a run before its scheduled time. Labels or "
        "corrections count; by `objective`, pairs, or thumbs and ratings.",
    )
    min_new_voters: int = Field(
        default=5, ge=1, description="Number of voters that this new feedback must come from, for example 5."
    )
    min_labels: int = Field(
        default=200, ge=8, description="Minimum number of labels in the train split. With fewer, no adapter is trained."
    )
    min_pairs: int = Field(
        default=300,
        ge=8,
        description="Minimum number of pairs in the train split for DPO, for example 300. A preference is a pair. A "
        "correction is one too, with the answer that it corrects. For DPO after SFT, preferences alone count.",
    )
    min_rated: int = Field(
        default=500,
        ge=10,
        description="Minimum number of thumbs and ratings on generated texts in the train split for KTO, for example "
        "500. A fifth of it must like the answer, and a fifth must not.",
    )
    objective: Literal["auto", "sft", "dpo", "kto", "rag"] = Field(
        default="auto",
        description="Method of a run. auto: chosen by the data, sft and then dpo with enough of both. An adapter by "
        "sft (labels, corrections), dpo (pairs) or kto (thumbs, ratings). rag: a retrieval, no adapter.",
    )
    fallback: Literal["none", "rag"] = Field(
        default="none",
        description="Result of a run with too few labels. rag: a retrieval; none: nothing.",
    )
    min_examples: int = Field(
        default=20, ge=1, description="Minimum number of examples. With fewer, no retrieval is made."
    )
    confirmations: bool = Field(
        default=True, description="true: a thumbs-up on an answer counts as a label with that answer."
    )
    weigh_by_thumbs: bool = Field(
        default=True,
        description="true: train rows of right and of wrong answers weigh as much as these answers have thumbs up and "
        "down. It needs thumbs of 20 users. false: all rows weigh the same.",
    )
    rank: int = Field(default=16, ge=1, description="LoRA rank. Not above `engine.max_lora_rank`.")
    epochs: float = Field(default=1.0, gt=0, le=20, description="Number of passes over the train split.")
    min_steps: int = Field(
        default=150,
        ge=1,
        description="Minimum number of training steps. Few rows get more passes for it, up to 10.",
    )
    dev_steps: int | None = Field(
        default=None,
        ge=1,
        description="Number of steps between two measurements of the loss on dev rows, for example 25. The last "
        "weights with a loss within 5% of the lowest are kept. null: a training makes all its steps and keeps the last "
        "weights.",
    )
    patience: int = Field(
        default=3,
        ge=1,
        description="Number of measurements in a row, each 5% above the lowest dev loss, that ends a training (3).",
    )
    batch_size: int = Field(default=8, ge=1, description="Number of rows per training step.")
    learning_rate: float = Field(default=5e-4, gt=0, lt=1, description="Peak learning rate. It falls to 0 at the end.")
    preference_learning_rate: float = Field(
        default=2e-4, gt=0, lt=1, description="Peak learning rate of DPO and KTO, for example 0.0001."
    )
    beta: float = Field(
        default=0.1,
        gt=0,
        le=10,
        description="How strongly DPO and KTO keep the adapter near the base model, for example 0.1. Higher is nearer.",
    )
    label_smoothing: float = Field(
        default=0.1,
        ge=0,
        lt=0.5,
        description="Share of preferences that DPO expects to be wrong, from 0 to below 0.5, for example 0.2.",
    )
    replay: float = Field(
        default=0.0,
        ge=0,
        le=0.25,
        description="Share of each training step that keeps the adapter near the base model on general prompts, for "
        "example 0.1. 0: no replay.",
    )
    rating_middle: FiniteFloat | None = Field(
        default=None,
        description="Middle of the scale of ratings, for example 3 on a scale from 1 to 5. A rating above it likes the "
        "answer, one below it does not. null: ratings teach nothing.",
    )
    search: SearchSettings = Field(
        default_factory=SearchSettings,
        json_schema_extra=with_short_forms,
        description="Search for learning rate, epochs, rank and beta on the dev part. off, auto, or a budget such as "
        "{trials: 12, minutes: 60}.",
    )
    learning_curve: Literal["off", "auto"] = Field(
        default="off",
        description="Dev score of trainings with 1/8, 1/4, 1/2 and all rows. off: never. auto: before the first "
        "training, and when the rows have doubled. It takes about two trainings.",
    )
    max_rows: int | None = Field(
        default=None, ge=8, description="Maximum number of train rows; the newest are used. null: no limit."
    )
    max_length: int = Field(default=512, ge=16, description="Maximum length of a training row, in tokens.")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="Seed of the trainer. Equal snapshot, settings and seed give an equal adapter.",
    )
    threads: int = Field(default=2, ge=1, description="Number of CPU threads of the trainer.")

    @field_validator("learning_curve", mode="before")
    @classmethod
    def _read_off(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML reads off as a boolean
