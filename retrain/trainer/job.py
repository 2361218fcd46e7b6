"""A training job: the file that the trainer's process reads, and the lines that it prints.

Control imports this module, so it must not import torch.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

JOB = "job.json"
ADAPTER = "adapter"
CHECKPOINT = "checkpoint.safetensors"
REPORT = "training.json"
# The folder of a run in which each trial of its search has a folder.
TRIALS = "trials"
# The trainer's exit code where too few rows can be trained on.
TOO_FEW_ROWS = 3


@dataclass(frozen=True, slots=True)
class SecondObjective:
    """DPO after a training's own objective, with the same adapter and these values instead of the job's."""

    epochs: float
    learning_rate: float
    label_smoothing: float
    min_rows: int
    min_steps: int
    objective: Literal["dpo"] = "dpo"


@dataclass(frozen=True, slots=True)
class Job:
    """One training: the base and snapshot folders, where the adapter goes, and how to train."""

    run_id: str
    base: str
    snapshot: str
    output: str
    rank: int
    epochs: float
    batch_size: int
    learning_rate: float
    max_rows: int | None
    max_length: int
    seed: int
    threads: int
    dtype: str
    objective: Literal["sft", "dpo", "kto"] = "sft"
    beta: float = 0.1
    label_smoothing: float = 0.0
    min_rows: int = 1
    min_steps: int = 1
    checkpoint_s: float = 60.0
    dev_steps: int | None = None
    patience: int = 3
    # How often the dev part is scored, evenly over the training; its labels; and the KPI of labels that decides.
    scores: int = 0
    labels: tuple[str, ...] = ()
    kpi: str = "accuracy"
    # The share of replayed rows, and the folder of the base model's answers, which all trainings share. Empty for the
    # output folder.
    replay: float = 0.0
    answers: str = ""
    # The share of the train rows that is used, by whole voters, and how often the score of the dev part is resampled.
    share: float = 1.0
    resamples: int = 0
    then: SecondObjective | None = None

    @property
    def in_order(self) -> tuple["Job", ...]:
        """The job of each objective, in order, without another one. They share the folder and the adapter."""
        first = replace(self, then=None)
        return (first, replace(first, **asdict(self.then))) if self.then else (first,)

    @property
    def unit(self) -> str:
        """What the objective learns from, as a plural."""
        return {"sft": "rows", "dpo": "pairs", "kto": "rated answers"}[self.objective]

    def write(self) -> Path:
        """Writes the job into its output folder."""
        file = Path(self.output) / JOB
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        return file

    @classmethod
    def read(cls, file: Path) -> "Job":
        """The inverse of `write`."""
        values = json.loads(file.read_text(encoding="utf-8"))
        then = values.get("then")
        parts = {"labels": tuple(values.get("labels", ())), "then": SecondObjective(**then) if then else None}
        return cls(**(values | parts))


@dataclass(frozen=True, slots=True)
class Report:
    """What a training says of itself: its rows, those left out by reason, and whether rows shared tokens.

    `dev` says where it ended and why, with the loss and the score on dev rows by step; None without dev rows. With
    `resamples` it has the score in each resample of the dev part's voters, as `samples`, and their number, as `voters`.
    `forgetting` is the divergence from the base model on general prompts, with its interval; None for a trial. `then`
    has rows, those left out and the dev part of the second objective, or as `skipped` why it was left out.
    """

    rows: int
    left_out: dict[str, int]
    prefix_trees: bool
    dev: dict[str, Any] | None = None
    forgetting: dict[str, Any] | None = None
    then: dict[str, Any] | None = None

    def write(self, file: Path) -> None:
        """Write the report."""
        file.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> "Report | None":
        """Return the report of a file, None if there is no such file."""
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


@dataclass(frozen=True, slots=True)
class Step:
    """Progress: steps done of all, with the numbers of the moment."""

    done: int
    total: int
    metrics: dict[str, Any]

    def line(self) -> str:
        """The step as a line of the trainer's standard output."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, line: str) -> "Step | None":
        """The inverse of `line`; None for a line that is something else."""
        if not line.startswith('{"done"'):
            return None
        return cls(**json.loads(line))
