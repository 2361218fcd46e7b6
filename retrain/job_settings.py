"""Make the trainer's job of a run from its settings, and count its steps."""

import math
from dataclasses import replace

from core.model_folder import ModelFolder
from core.settings import ModelSettings, RetrainSettings, Settings
from feedback.snapshot import Snapshot
from retrain.plan import Method, Plan, least_rows
from retrain.trainer.batches import steps_of
from retrain.trainer.job import Job, SecondObjective


def job_of_plan(
    run_id: str, plan: Plan, *, model: ModelSettings, settings: Settings, base: ModelFolder, snapshot: Snapshot
) -> Job:
    """Return the job of a run by its plan, which trains an adapter, with the settings of its model."""
    assert plan.objective in ("sft", "dpo", "kto"), "other plans train nothing"
    job = job_of_run(run_id, plan.objective, model=model, settings=settings, base=base, snapshot=snapshot)
    return replace(job, then=_second_objective(model.retrain)) if plan.then else job


def job_of_run(
    run_id: str, method: Method, *, model: ModelSettings, settings: Settings, base: ModelFolder, snapshot: Snapshot
) -> Job:
    """Return the job that trains on a snapshot by this method alone, with the settings of its model."""
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


def _second_objective(retrain: RetrainSettings) -> SecondObjective:
    """DPO after SFT. It trains as DPO alone does."""
    return SecondObjective(
        epochs=retrain.epochs,
        learning_rate=retrain.preference_learning_rate,
        label_smoothing=retrain.label_smoothing,
        min_rows=min(retrain.min_pairs, retrain.max_rows or retrain.min_pairs),
        min_steps=retrain.min_steps,
    )


def count_rows(job: Job, snapshot: Snapshot, bucket: str = "train") -> int:
    """The number of rows of a bucket that a job's first objective learns from, with those that it cannot train on."""
    if job.objective == "sft":
        rows = len(snapshot.of(bucket))
    else:
        rows = sum(pair.compares is (job.objective == "dpo") for pair in snapshot.pairs_of(bucket))
    return min(rows, job.max_rows or rows)


def planned_steps(job: Job, snapshot: Snapshot) -> dict[str, int]:
    """The number of steps of a job on a snapshot by objective, in order."""
    return {one.objective: len(steps_of(one, count_rows(one, snapshot))) for one in job.in_order}


def planned_epochs(job: Job, snapshot: Snapshot) -> float:
    """The passes of a job's first objective over its train rows, with those that `min_steps` adds to few rows."""
    count = count_rows(job, snapshot)
    per_epoch = math.ceil(count / job.batch_size)
    return max(job.epochs, round(len(steps_of(job, count)) / per_epoch, 3)) if per_epoch else job.epochs
