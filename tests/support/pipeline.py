"""A trainer and a reconciler that do no work, and feedback for retraining."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core.db import decisions as decisions_table
from core.db import runs as runs_table
from core.db.store import Store
from core.errors import TrainingFailed
from core.record_codec import encode
from core.records import Feedback
from core.spool import frame
from eval.evaluation import Result
from eval.kpis.evidence import Difference, Evidence, Measure
from feedback.ingest import ingest
from retrain.pipeline import RetrainPipeline
from retrain.trainer.job import Job, Step
from serve.adapters.preflight import Adapter
from serve.engines.reconciler import EngineState
from tests.support.ingest import asked as interaction

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class StubTrainer:
    """Replaces the trainer's process: it leaves a folder, or fails."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def run(self, job: Job, progress: Callable[[Step], None]) -> Path:
        progress(Step(1, 1, {"loss": 0.1}))
        if self.fails:
            raise TrainingFailed(self.fails)
        folder = Path(job.output) / "adapter"
        folder.mkdir(parents=True)
        return folder

    def stop(self) -> None:
        pass

    def interrupt(self, run_id: str, *, save: bool) -> None:
        pass


class StubReconciler:
    """Every engine holds everything."""

    clients = (None,)

    def reconcile(self, wanted: Any, may_unload: Any) -> list[EngineState]:
        return [EngineState("http://engine", True, (), ())]


def checked(trained: Path, **_: Any) -> Adapter:
    """The empty folder of `StubTrainer` as if it had passed preflight."""
    return Adapter(trained, "x", 8, 1, 8.0, ())


def result(gain: float) -> Result:
    arm = {kpi: Measure(0.7, 0.6, 0.8) for kpi in ("accuracy", "macro_f1")}
    difference = Difference(gain, gain - 0.02, gain + 0.02, 0.03)
    differences = {"macro_f1": dict.fromkeys(("champion", "base", "rag"), difference)}
    arms = dict.fromkeys(("base", "rag", "champion", "candidate"), arm)
    return Result(Evidence(100, 30, arms, differences, {}, "h1", 1), {}, "")


def vote(store: Store, n: int, spool: str = "g") -> None:
    data = b""
    for i in range(n):
        asked = interaction(
            f"{spool}-c{i}",
            time=NOW,
            model="reviews",
            user=f"{spool}-u{i}",
            request={"messages": [{"role": "user", "content": f"text {spool} {i}"}]},
        )
        label = Feedback(f"{spool}-f{i}", NOW + timedelta(seconds=i), asked.id, None, "label", "ab"[i % 2])
        data += frame(encode(asked)) + frame(encode(label))
    ingest(store, spool, 1, 0, data)


def decisions(pipeline: RetrainPipeline) -> list[tuple[str, str]]:
    return [(row["verdict"], row["reason"]) for row in decisions_table.chain(pipeline.store)]


def state(pipeline: RetrainPipeline, run: str) -> str:
    row = runs_table.find(pipeline.store, id=run)
    assert row is not None
    return str(row["state"])


def add_run(pipeline: RetrainPipeline, identity: str, at: str) -> None:
    """A run of `reviews` in this state."""
    runs_table.add(
        pipeline.store, id=identity, model="reviews", trigger="test", state=at, started=NOW, feedback_until=NOW
    )
