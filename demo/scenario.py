"""The play: the demo from first request to report, in the order of the loop.

It owns the order and what is measured on the way; every judgement and every switch on the way is the
product's own, made by the scheduler, the gates and promotion.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from core.model_folder import locate
from demo import final_test, report
from demo.dataset_split import DemoSplit
from demo.environment import DemoStack, Tell
from demo.simulated_users import Seen, SimulatedUsers, approval, mixed
from ops.cli.terminal import err
from serve.engines.vllm_client import VllmClient

RUN_TIMEOUT_S = 1500
# How much traffic goes on after the switch before wave 3, so that requests straddle it.
AFTER_SWITCH = 48
DECISION_PATIENCE_S = 420


@dataclass(slots=True)
class Record:
    """What the play has seen so far."""

    seconds: dict[str, float] = field(default_factory=dict)
    waves: list[dict[str, Any]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a phase; the same name adds up."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - started, 1)

    def wave(self, name: str, model: str, seen: Sequence[Seen], seconds: float) -> None:
        """Keeps a wave's totals for one model."""
        own = [s for s in seen if s.model == model]
        answered = [s for s in own if not s.failed]
        self.waves.append(
            {
                "name": name,
                "model": model,
                "requests": len(own),
                "failed": len(own) - len(answered),
                "approval": round(approval(answered), 4) if answered else None,
                "approval_by_version": {
                    str(v): round(approval([s for s in answered if s.version == v]), 4)
                    for v in sorted({s.version for s in answered})
                },
                "versions": {str(v): n for v, n in sorted(Counter(s.version for s in answered).items())},
                "seconds": round(seconds, 1),
            }
        )


class Scenario:
    """Plays one model's loop on a stage, with a companion model beside it."""

    def __init__(self, stage: DemoStack, crowd: SimulatedUsers, tell: Tell) -> None:
        self.stage = stage
        self.crowd = crowd
        self.tell = tell
        self.record = Record()

    def run(self, part: DemoSplit, companion: DemoSplit | None) -> dict[str, Any]:
        """The whole loop for one model; returns the report."""
        self._first_wave(part, companion)
        self._await_runs(part, companion)
        decision = self._canary(part, companion)
        self._third_wave(part, companion)
        board = self._test(part, decision)
        return report.assemble(self.stage, self.crowd, self.record, part, decision, board)

    def _first_wave(self, part: DemoSplit, companion: DemoSplit | None) -> None:
        acts = mixed(part.learn, companion.learn if companion else ())
        self.tell(f"Wave 1: {len(acts)} requests answered by the base model, rated by real raters")
        self._wave("wave 1", acts, part, companion)
        for each in (part, companion):
            if each:
                self._make_up(each)

    def _make_up(self, part: DemoSplit) -> None:
        """Votes that were lost on their way are counted as failed, and others sent for the trigger's sake."""
        self.stage.await_feedback(part.model, self.crowd.acknowledged[part.model])
        missing = part.votes - self.crowd.acknowledged[part.model]
        if missing > 0:
            self.record.seen += self.crowd.play(part.spare[:missing], tell=lambda _: None)

    def _await_runs(self, part: DemoSplit, companion: DemoSplit | None) -> None:
        for each in (part, companion):
            if each:
                self.tell(f"{each.model}: enough new feedback; waiting for the scheduler's run")
                with self.record.phase("retrain and evaluate"), self._bars() as bars:
                    self.stage.await_run(each.model, _follow(bars, each.model), RUN_TIMEOUT_S)
                self._tell_decision(each.model)

    def _canary(self, part: DemoSplit, companion: DemoSplit | None) -> dict[str, Any]:
        """Wave 2: live traffic while the canary gate looks, until it decides."""
        run = self.stage.newest_run(part.model)
        if not run or run["state"] != "canary":
            self.tell("The candidate did not pass the offline gate: no canary, the champion stays.")
            return self.stage.newest_decision(part.model) or {}
        self.tell(
            f"Wave 2: canary v{run['candidate']} serves half of the users of documents never trained on "
            "(limits scaled for minutes of traffic: first look at 30 users an arm)"
        )
        rest = _Countdown(lambda: self._decided(part.model), AFTER_SWITCH)
        self._wave("wave 2", mixed(part.live, companion.live if companion else ()), part, companion, until=rest)
        deadline = time.monotonic() + DECISION_PATIENCE_S
        while not self._decided(part.model) and time.monotonic() < deadline:
            time.sleep(1)
        self._tell_decision(part.model)
        return self.stage.newest_decision(part.model) or {}

    def _decided(self, model: str) -> bool:
        run = self.stage.newest_run(model)
        return run is not None and run["state"] != "canary"

    def _third_wave(self, part: DemoSplit, companion: DemoSplit | None) -> None:
        self.tell("Wave 3: the champion of now serves everyone")
        self._wave("wave 3", mixed(part.after, companion.after if companion else ()), part, companion)

    def _test(self, part: DemoSplit, decision: dict[str, Any]) -> final_test.FinalTest:
        evidence, candidate = decision.get("evidence") or {}, decision.get("to_version")
        run = self.stage.newest_run(part.model)
        assert run is not None
        self.tell(f"Final test: {len(part.test)} texts of documents outside training, truth is the mean rating's class")
        client = VllmClient(self.stage.settings.engine_urls[0])
        with self.record.phase("final test"), self._bars() as bars:
            task = bars.add_task("final test", total=None)
            board = final_test.run_final_test(
                client,
                base=locate(self.stage.settings.base_model),
                champion=self.stage.engine_name(part.model, decision.get("from_version") or 0),
                candidate=self._loaded_name(client, part.model, candidate),
                base_prompt=evidence.get("base_prompt", ""),
                texts=part.test,
                snapshot=self.stage.snapshot(run["snapshot"]),
                settings=self.stage.settings.models[part.model],
                latency_items=24,
                progress=lambda done, total: bars.update(task, completed=done, total=total),
            )
        client.close()
        return board

    def _loaded_name(self, client: VllmClient, model: str, version: int | None) -> str | None:
        """A candidate that was turned away may be unloaded already; the test then goes on without it."""
        if version is None:
            return None
        name = self.stage.engine_name(model, version)
        return name if name in client.models() else None

    def _wave(
        self,
        name: str,
        acts: Sequence[Any],
        part: DemoSplit,
        companion: DemoSplit | None,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        started = time.monotonic()
        with self.record.phase(name), self._bars() as bars:
            task = bars.add_task(name, total=len(acts))
            seen = self.crowd.play(acts, tell=lambda n: bars.update(task, completed=n), until=until)
        self.record.seen += seen
        for each in (part, companion):
            if each:
                self.record.wave(name, each.model, seen, time.monotonic() - started)
        for wave in self.record.waves[-2 if companion else -1 :]:
            rate = "–" if wave["approval"] is None else f"{wave['approval']:.1%}"
            self.tell(f"  {wave['model']}: {wave['requests']} requests, {wave['failed']} failed, approval {rate}")
        for reason in sorted({s.failed for s in seen if s.failed})[:3]:
            self.tell(f"  failed: {reason}")

    def _tell_decision(self, model: str) -> None:
        newest = self.stage.ledger(model)
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
    """Says stop some calls after a condition came true; asks it at most once a second."""

    def __init__(self, condition: Callable[[], bool], after: int) -> None:
        self._condition, self._left = condition, after
        self._met, self._asked = False, 0.0

    def __call__(self) -> bool:
        if self._met:
            self._left -= 1
            return self._left < 0
        now = time.monotonic()
        if now - self._asked > 1:
            self._asked = now
            self._met = self._condition()
        return False


def _follow(bars: Progress, model: str) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def tell(phase: str, done: int, total: int) -> None:
        if phase not in tasks:
            tasks[phase] = bars.add_task(f"{model}: {phase}", total=total)
        bars.update(tasks[phase], completed=done, total=total)

    return tell
