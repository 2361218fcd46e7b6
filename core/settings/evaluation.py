"""Settings of evaluation: splits, baselines, suites and the LLM judge."""

from pathlib import Path

from pydantic import Field, model_validator

from core.settings.section import Section


class BaselineSettings(Section):
    """The arms that a candidate is compared with, and the prompts of retrievals."""

    prompts: list[str] = Field(
        default=[], description="System prompts for the base arm. The best one on the dev split is used."
    )
    rag_examples: int = Field(
        default=4, ge=1, le=32, description="Number of nearest examples or passages in a RAG prompt."
    )
    rag_budget_tokens: int = Field(default=1024, ge=64, description="Maximum length of a RAG prompt, in tokens.")
    documents: Path | None = Field(
        default=None,
        description="Folder of .txt and .md files. Their passages replace the examples. null: examples are used.",
    )


class JudgeSettings(Section):
    """A language model that compares the candidate's answers with the champion's, for `task: generate`."""

    url: str = Field(
        pattern=r"^https?://", description="Base URL of an OpenAI-compatible API, for example https://host/v1."
    )
    model: str = Field(min_length=1, description="Name of the judge's model in that API.")
    items: int = Field(
        default=200, ge=10, description="Number of held-out items to compare. Each is compared in both orders."
    )
    timeout_s: float = Field(default=60, gt=0, description="Time limit for one comparison, in seconds.")


class EvaluationSettings(Section):
    """How candidates are evaluated through the engine."""

    concurrency: int = Field(
        default=16, ge=1, description="Maximum number of requests at a time. Lower while apps use the engine."
    )
    items: int = Field(
        default=2000, ge=100, description="Maximum number of held-out items. All items of a user stay together."
    )
    latency_items: int = Field(
        default=16, ge=0, description="Number of items per arm that are timed one after another. 0: no latency."
    )
    bootstrap: int = Field(
        default=10_000, ge=200, description="Number of bootstrap resamples of the users, for confidence intervals."
    )
    suites: list[str] = Field(
        default=[], description="Guardrail suites: names of LoraLoop's suites, or folders of your own."
    )
    golden: Path | None = Field(
        default=None, description="JSONL file of questions with right answers, for golden_accuracy. null: no file."
    )
    max_tokens: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Maximum length of a free text with `task: generate`, in tokens.",
    )
    judge: JudgeSettings | None = Field(
        default=None, description="The LLM judge. Its API key is in LORALOOP_JUDGE_KEY. null: no judge."
    )


class SplitSettings(Section):
    """Shares of users per split. The remaining users form the holdout buckets h1 to h4."""

    train: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="Share of users whose feedback is used for training. After a change, users from whom the champion "
        "learnt do not judge.",
    )
    dev: float = Field(
        default=0.1, gt=0, lt=1, description="Share of users whose feedback is used to choose prompts and settings."
    )

    @model_validator(mode="after")
    def _leaves_a_holdout(self) -> "SplitSettings":
        if self.train + self.dev > 0.96:
            raise ValueError("train and dev together leave less than 0.04 for the holdout; lower one of them")
        return self
