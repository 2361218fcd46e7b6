"""Settings of retraining: when a run starts and how it trains."""

from typing import Literal

from pydantic import Field

from core.settings.section import Section


class RetrainSettings(Section):
    """When and how a model is retrained."""

    schedule: str | None = Field(
        default="0 3 * * *", description="Cron expression in UTC that starts runs. null: no schedule."
    )
    min_new_feedback: int = Field(
        default=200,
        ge=1,
        description="Number of answers with a new label or correction that starts a run before its scheduled time.",
    )
    min_new_voters: int = Field(
        default=5, ge=1, description="Number of voters that this new feedback must come from, for example 5."
    )
    min_labels: int = Field(
        default=200, ge=8, description="Minimum number of labels in the train split. With fewer, no adapter is trained."
    )
    objective: Literal["auto", "sft", "rag"] = Field(
        default="auto",
        description="Method of a run. auto: chosen by the data; sft: an adapter; rag: a retrieval, no adapter.",
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
    rank: int = Field(default=16, ge=1, description="LoRA rank. Not above `engine.max_lora_rank`.")
    epochs: float = Field(default=1.0, gt=0, le=20, description="Number of passes over the train split.")
    min_steps: int = Field(
        default=150,
        ge=1,
        description="Minimum number of training steps. Few rows get more passes for it, up to 10.",
    )
    batch_size: int = Field(default=8, ge=1, description="Number of rows per training step.")
    learning_rate: float = Field(default=5e-4, gt=0, lt=1, description="Peak learning rate. It falls to 0 at the end.")
    max_rows: int | None = Field(
        default=None, ge=8, description="Maximum number of train rows; the newest are used. null: no limit."
    )
    max_length: int = Field(default=512, ge=16, description="Maximum length of a training row, in tokens.")
    seed: int = Field(
        default=0, description="Seed of the trainer. Equal snapshot, settings and seed give an equal adapter."
    )
    threads: int = Field(default=2, ge=1, description="Number of CPU threads of the trainer.")
