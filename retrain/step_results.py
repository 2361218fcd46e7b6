"""What each step of a run gives to the steps after it."""

from dataclasses import dataclass
from typing import Any

from core.records import Verdict, Version
from core.settings import ModelSettings
from eval.evaluation import Result
from eval.gates.result import Outcome
from retrain.runs import Run
from rollout.change_writer import DecisionContext


@dataclass(frozen=True, slots=True)
class Work:
    """One run in progress, with the settings that it began with: a reload does not change them."""

    run: Run
    settings: ModelSettings

    @property
    def model(self) -> str:
        """The name of the run's model."""
        return self.run.model


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that a run made, what the ledger records of its making, and its training time in seconds.

    `judged_by` are the settings of its judgement: by what it learnt, the primary KPI may be another.
    """

    version: Version
    made: dict[str, Any]
    judged_by: ModelSettings
    training_s: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an evaluation measured against the champion, and what the ledger records of the candidate's origin."""

    result: Result
    champion: Version
    lineage: dict[str, Any]
    judged_by: ModelSettings


@dataclass(frozen=True, slots=True)
class Decided:
    """The offline gate's outcome, with what the ledger records of it."""

    outcome: Outcome
    context: DecisionContext


class RunEnded(Exception):
    """A step ended its run before a gate could judge; the ledger gets this verdict and reason."""

    def __init__(
        self, verdict: Verdict, reason: str, version: int | None = None, lineage: dict[str, Any] | None = None
    ) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.version = version
        self.lineage = lineage or {}
