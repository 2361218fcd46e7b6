"""The steps of the demo, from the first request to the report.

The scheduler, the gates and promotion of LoraLoop make every decision. This module only sends traffic and measures.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from core.model_folder import locate
from demo import final_test, report
from demo.dataset_split import DemoSplit
from demo.environment import DemoStack, Tell
from demo.record import Record
from demo.simulated_users import SimulatedUsers, mixed
from ops.cli.terminal import err
from serve.engines.control_client import VllmClient

RUN_TIMEOUT_S = 1500
# Requests that are still sent after the switch and before wave 3, so that some are in flight during the switch.
AFTER_SWITCH = 48
DECISION_PATIENCE_S = 420


class Scenario:
    """Run one model's loop on the demo's processes, together with a companion model."""

    def __init__(self, stack: DemoStack, users: SimulatedUsers, tell: Tell) -> None:
        self.stack = stack
        self.users = users
        self.tell = tell
        self.record = Record()

    def run(self, split: DemoSplit, companion: DemoSplit | None) -> dict[str, Any]:
        """Run the whole loop for one model and return the report."""
        self._first_wave(split, companion)
        self._await_runs(split, companion)
        decision = self._canary(split, companion)
        self._third_wave(split, companion)
        board = self._test(split, decision)
        return report.assemble(self.stack, self.users, self.record, split, decision, board)

    def _first_wave(self, split: DemoSplit, companion: DemoSplit | None) -> None:
        requests = mixed(split.learn, companion.learn if companion else ())
        self.tell(f"Wave 1: {len(requests)} requests answered by the base model, rated by real raters")
        self._wave("wave 1", requests, split, companion)
        for each in (split, companion):
            if each:
                self._make_up(each)

    def _make_up(self, split: DemoSplit) -> None:
        """Send spare labels to replace failed ones, so that the trigger is reached. The failed ones still count."""
        self.stack.await_feedback(split.model, self.users.acknowledged[split.model])
        missing = split.labels - self.users.labelled[split.model]
        if missing > 0:
            self.record.seen += self.users.send(split.spare[:missing], tell=lambda _: None)

    def _await_runs(self, split: DemoSplit, companion: DemoSplit | None) -> None:
        for each in (split, companion):
            if each:
                self.tell(f"{each.model}: enough new feedback; waiting for the scheduler's run")
                with self.record.phase("retrain and evaluate"), self._bars() as bars:
                    self.stack.await_run(each.model, _follow(bars, each.model), RUN_TIMEOUT_S)
                self._tell_decision(each.model)

    def _canary(self, split: DemoSplit, companion: DemoSplit | None) -> dict[str, Any]:
        """Send wave 2: live traffic until the canary gate decides."""
        run = self.stack.newest_run(split.model)
        if not run or run["state"] != "canary":
            self.tell("The candidate did not pass the offline gate: no canary, the champion stays.")
            return self.stack.newest_decision(split.model) or {}
        self.tell(
            f"Wave 2: canary v{run['candidate']} serves half of the users of documents never trained on "
            "(limits scaled for minutes of traffic: first look after 30 users per arm)"
        )
        rest = _Countdown(lambda: self._decided(split.model), AFTER_SWITCH)
        self._wave("wave 2", mixed(split.live, companion.live if companion else ()), split, companion, until=rest)
        deadline = time.monotonic() + DECISION_PATIENCE_S
        while not self._decided(split.model) and time.monotonic() < deadline:
            time.sleep(1)
        self._tell_decision(split.model)
        return self.stack.newest_decision(split.model) or {}

    def _decided(self, model: str) -> bool:
        run = self.stack.newest_run(model)
        return run is not None and run["state"] != "canary"

    def _third_wave(self, split: DemoSplit, companion: DemoSplit | None) -> None:
        self.tell("Wave 3: the current champion serves all users")
        self._wave("wave 3", mixed(split.after, companion.after if companion else ()), split, companion)

    def _test(self, split: DemoSplit, decision: dict[str, Any]) -> final_test.FinalTest:
        evidence, candidate = decision.get("evidence") or {}, decision.get("to_version")
        run = self.stack.newest_run(split.model)
        assert run is not None
        self.tell(
            f"Final test: {len(split.test)} texts of documents outside training, truth is the mean rating's class"
        )
        client = VllmClient(self.stack.settings.engine_urls[0])
        with self.record.phase("final test"), self._bars() as bars:
            task = bars.add_task("final test", total=None)
            board = final_test.run_final_test(
                client,
                base=locate(self.stack.settings.base_model),
                champion=self.stack.engine_name(split.model, decision.get("from_version") or 0),
                candidate=self._loaded_name(client, split.model, candidate),
                base_prompt=evidence.get("base_prompt", ""),
                texts=split.test,
                snapshot=self.stack.snapshot(run["snapshot"]),
                settings=self.stack.settings.models[split.model],
                latency_items=24,
                progress=lambda done, total: bars.update(task, completed=done, total=total),
            )
        client.close()
        return board

    def _loaded_name(self, client: VllmClient, model: str, version: int | None) -> str | None:
        """Return the engine's name of a version, or None if a rejected candidate is unloaded already."""
        if version is None:
            return None
        name = self.stack.engine_name(model, version)
        return name if name in client.models() else None

    def _wave(
        self,
        name: str,
        requests: Sequence[Any],
        split: DemoSplit,
        companion: DemoSplit | None,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        started = time.monotonic()
        with self.record.phase(name), self._bars() as bars:
            task = bars.add_task(name, total=len(requests))
            seen = self.users.send(requests, tell=lambda n: bars.update(task, completed=n), until=until)
        self.record.seen += seen
        for each in (split, companion):
            if each:
                self.record.wave(name, each.model, seen, time.monotonic() - started)
        for wave in self.record.waves[-2 if companion else -1 :]:
            rate = "–" if wave["approval"] is None else f"{wave['approval']:.1%}"
            self.tell(f"  {wave['model']}: {wave['requests']} requests, {wave['failed']} failed, approval {rate}")
        for reason in sorted({s.failed for s in seen if s.failed})[:3]:
            self.tell(f"  failed: {reason}")

    def _tell_decision(self, model: str) -> None:
        newest = self.stack.ledger(model)
        if newest:
            self.tell(f"  {model}: {newest[-1]['verdict']}: {newest[-1]['reason']}")

    def _bars(self) -> Progress:
        return Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )


class _Countdown:
    """Return True some calls after a condition became true. Check the condition at most once per second."""

    def __init__(self, condition: Callable[[], bool], after: int) -> None:
        self._condition, self._left = condition, after
        self._met, self._checked = False, 0.0

    def __call__(self) -> bool:
        if self._met:
            self._left -= 1
            return self._left < 0
        now = time.monotonic()
        if now - self._checked > 1:
            self._checked = now
            self._met = self._condition()
        return False


def _follow(bars: Progress, model: str) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def tell(phase: str, done: int, total: int) -> None:
        if phase not in tasks:
            tasks[phase] = bars.add_task(f"{model}: {phase}", total=total)
        bars.update(tasks[phase], completed=done, total=total)

    return tell
