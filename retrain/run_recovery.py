"""Recover runs after control stopped or their work broke off: which of them continue, and which fail."""

from collections.abc import Callable, Container
from dataclasses import replace

from core.db.store import Row
from core.records import Verdict
from retrain.interruptions import Interruptions
from retrain.run_states import EVALUATING, MEASURING, QUEUED, SNAPSHOT, TRAINING, is_working
from retrain.runs import Run, Runs
from rollout.promotion import RouteManager
from serve.engines.lease import MOST_CUTS


class RunRecovery:
    """Continues or fails runs that have not ended and that nobody works on."""

    def __init__(
        self,
        *,
        runs: Runs,
        interruptions: Interruptions,
        promotion: RouteManager,
        models: Callable[[], Container[str]],
    ) -> None:
        self._runs = runs
        self._interruptions = interruptions
        self._promotion = promotion
        self._models = models

    def recover(self) -> list[Run]:
        """Return the runs that continue. Fails others.

        A canary continues without this, a paused run stays so, and a measurement fails without a decision.
        """
        continued = []
        for run, row in self._runs.unfinished():
            if not is_working(row["state"]) or self._interruptions.restore(run):
                continue
            cuts = self._runs.details(run).get("cuts", 0) + 1
            if self._can_continue(run, row) and cuts <= MOST_CUTS:
                self._runs.add_details(run, cuts=cuts)
                continued.append(run)
                continue
            reason = f"Control stopped while this run was {row['state']}."
            self._fail(replace(run, trigger="restart"), row["state"], reason)
        return continued

    def give_up(self, model: str, error: Exception) -> None:
        """Fail the unfinished run of a model whose work broke off, so that its next run can start."""
        for run, row in self._runs.unfinished():
            if run.model == model and is_working(row["state"]):
                self._fail(run, row["state"], f"An unexpected error: {error}")

    def _can_continue(self, run: Run, row: Row) -> bool:
        if run.model not in self._models():
            return False
        if row["state"] == TRAINING:
            return self._runs.row(run)["snapshot"] is not None
        return row["state"] in (QUEUED, SNAPSHOT, EVALUATING)

    def _fail(self, run: Run, state: str, reason: str) -> None:
        if state == MEASURING:
            self._runs.set_state(run, "failed", reason)
            return
        end = run.end("failed", reason)
        self._promotion.record_decision(run.model, None, Verdict.FAILED, run.context(reason), run=end)
