"""Make the trainer's job of a run from its settings, and count its steps."""

import math

from core.model_folder import ModelFolder
from core.settings import ModelSettings, Settings
from feedback.snapshot import Snapshot
from retrain.plan import Method, least_rows
from retrain.trainer.batches import plan_steps
from retrain.trainer.job import Job


def job_of_run(
    run_id: str, method: Method, *, model: ModelSettings, settings: Settings, base: ModelFolder, snapshot: Snapshot
) -> Job:
    """Return the job that trains on a snapshot by this method, with the settings of its model."""
    retrain = model.retrain
    least = least_rows(method, retrain)
    return Job(
        run_id=run_id,
        base=str(base.path),
        snapshot=str(snapshot.path.resolve()),
        output=str((settings.data / "runs" / run_id).resolve()),
        rank=retrain.rank,
        epochs=retrain.epochs,
        batch_size=retrain.batch_size,
        learning_rate=retrain.learning_rate if method == "sft" else retrain.preference_learning_rate,
        max_rows=retrain.max_rows,
        max_length=retrain.max_length,
        seed=retrain.seed,
        threads=retrain.threads,
        dtype=settings.engine.dtype,
        objective=method,
        beta=retrain.beta,
        label_smoothing=retrain.label_smoothing if method == "dpo" else 0.0,
        min_steps=retrain.min_steps,
        dev_steps=retrain.dev_steps,
        patience=retrain.patience,
        min_rows=min(least, retrain.max_rows or least),
        labels=tuple(model.labels),
        kpi=model.promotion.primary.kpi if model.labels else "",
        replay=retrain.replay,
        answers=str((settings.data / "base-answers").resolve()),
    )


def count_rows(job: Job, snapshot: Snapshot, bucket: str = "train") -> int:
    """The number of rows of a bucket that the job's objective learns from. Rows that it cannot train on are counted."""
    if job.objective == "sft":
        rows = len(snapshot.of(bucket))
    else:
        rows = sum(pair.compares is (job.objective == "dpo") for pair in snapshot.pairs_of(bucket))
    return min(rows, job.max_rows or rows)


def planned_steps(job: Job, snapshot: Snapshot) -> int:
    """The number of steps of a job on a snapshot."""
    count = count_rows(job, snapshot)
    return len(
        plan_steps(count, epochs=job.epochs, batch_size=job.batch_size, seed=job.seed, least=job.min_steps)
        if count
        else ()
    )


def planned_epochs(job: Job, snapshot: Snapshot) -> float:
    """The passes of a job over the train rows of a snapshot, with those that `min_steps` adds to few rows."""
    per_epoch = math.ceil(count_rows(job, snapshot) / job.batch_size)
    return max(job.epochs, round(planned_steps(job, snapshot) / per_epoch, 3)) if per_epoch else job.epochs
