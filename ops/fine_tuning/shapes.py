"""Files and jobs in the shapes of OpenAI's API. Pure functions of rows of the store."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from core.db.store import Row
from ops.fine_tuning.jobs import Job

Shape = dict[str, Any]
# The status of a job by the state of its run. A candidate in a canary, or that waits for approval, is trained.
STATUS = {
    "queued": "queued",
    "snapshot": "running",
    "training": "running",
    "evaluating": "running",
    "paused": "paused",
    "canary": "succeeded",
    "awaiting_approval": "succeeded",
    "skipped": "failed",
    "failed": "failed",
    "cancelled": "cancelled",
}
WITHOUT_RUN = {"checking": "validating_files", "waiting": "queued"}
ACTIONS = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}


def file_shape(row: Row) -> Shape:
    """An uploaded file."""
    return {
        "id": row["id"],
        "object": "file",
        "bytes": row["bytes"],
        "created_at": seconds(row["time"]),
        "expires_at": None,
        "filename": row["filename"],
        "purpose": "fine-tune",
        "status": "processed",
        "status_details": None,
    }


def page_shape(data: Sequence[Shape], limit: int) -> Shape:
    """A page of at most `limit` objects, of `limit` + 1 that were read."""
    shown = data[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(data) > limit,
    }


def status_of(job: Job) -> str:
    """The status of a job in OpenAI's words."""
    if job.run is None:
        return WITHOUT_RUN.get(job.row["state"], str(job.row["state"]))
    state = job.run["state"]
    if state == "finished":
        return "failed" if job.run["candidate"] is None else "succeeded"
    return STATUS[state]


def job_shape(job: Job, seed: int, now: datetime) -> Shape:
    """A job. `seed` is the one of its model, for a job that names none."""
    row, run, request, status = job.row, job.run, job.request, status_of(job)
    ended = run["finished"] if run else row["finished"]
    hyperparameters = request.chosen.model_dump()
    return {
        "id": row["id"],
        "object": "fine_tuning.job",
        "created_at": seconds(row["time"]),
        "error": _error(job, status),
        "fine_tuned_model": version_of(job),
        "finished_at": seconds(ended) if ended else None,
        "hyperparameters": hyperparameters,
        "model": row["model"],
        "organization_id": row["actor"],
        "result_files": [],
        "seed": request.seed if request.seed is not None else seed,
        "status": status,
        "trained_tokens": None,
        "training_file": row["file_id"],
        "validation_file": None,
        "estimated_finish": _estimated_finish(job, status, now),
        "integrations": [],
        "metadata": request.metadata or {},
        "method": {"type": request.type, request.type: {"hyperparameters": hyperparameters}},
        "user_provided_suffix": request.suffix,
        "loraloop": {"run_id": row["run_id"], "state": run and run["state"], "reason": run and run["reason"]},
    }


def version_of(job: Job) -> str | None:
    """The public name of the version that a job has made, such as `reviews@7`."""
    made = job.run["candidate"] if job.run else None
    return None if made is None else f"{job.row['model']}@{made}"


def event_shapes(job: Job) -> list[Shape]:
    """What happened to a job, newest first."""
    found = [*_events_before(job), *_events_of_run(job)]
    return [
        {"id": f"{job.row['id'].replace('ftjob', 'ftevent')}-{place:06}", "object": "fine_tuning.job.event"} | event
        for place, event in reversed([*enumerate(sorted(found, key=lambda event: event["created_at"]))])
    ]


def checkpoint_shapes(job: Job) -> list[Shape]:
    """The checkpoint that a job keeps: the step whose weights its version has. None before the version exists."""
    name = version_of(job)
    steps = _training_steps(job)
    if name is None or not steps:
        return []
    measured = [step for step in steps if "dev_loss" in step["metrics"]]
    kept = min(measured, key=lambda step: (step["metrics"]["dev_loss"], step["done"])) if measured else steps[-1]
    metrics = kept["metrics"]
    return [
        {
            "id": job.row["id"].replace("ftjob", "ftckpt"),
            "object": "fine_tuning.job.checkpoint",
            "created_at": seconds(kept["time"]),
            "fine_tuned_model_checkpoint": name,
            "fine_tuning_job_id": job.row["id"],
            "metrics": {
                "step": kept["done"],
                "train_loss": metrics.get("loss"),
                "valid_loss": metrics.get("dev_loss"),
            },
            "step_number": kept["done"],
        }
    ]


def seconds(time: datetime) -> int:
    """A time as whole seconds since 1970."""
    return int(time.timestamp())


def _error(job: Job, status: str) -> Shape | None:
    if status != "failed":
        return None
    if job.run is None:
        return job.row["error"]
    code = "run_skipped" if job.run["state"] == "skipped" else "run_failed"
    return {"code": code, "message": job.run["reason"] or "The run made no version.", "param": None}


def _estimated_finish(job: Job, status: str, now: datetime) -> int | None:
    left = (job.run or {}).get("progress") if status == "running" else None
    found = left["metrics"].get("seconds_left") if left else None
    return seconds(now + timedelta(seconds=found)) if isinstance(found, int | float) else None


def _event(time: datetime, message: str, level: str = "info", data: Shape | None = None) -> Shape:
    kind = "message" if data is None else "metrics"
    return {"created_at": seconds(time), "level": level, "message": message, "type": kind, "data": data or {}}


def _events_before(job: Job) -> list[Shape]:
    row = job.row
    found = [
        _event(row["time"], f"Created fine-tuning job: {row['id']}"),
        _event(row["time"], f"Validating training file: {row['file_id']}"),
    ]
    if row["checked"]:
        message = f"Files validated, moving job to queued state. The file has {row['examples']} examples."
        found.append(_event(row["checked"], message))
    if row["error"]:
        found.append(_event(row["finished"], row["error"]["message"], "error"))
    elif row["finished"]:
        found.append(_event(row["finished"], "The job was cancelled before its run."))
    return found


def _events_of_run(job: Job) -> list[Shape]:
    run = job.run
    if run is None:
        return []
    found = [_event(run["started"], "Fine-tuning job started")]
    for action in run["detail"].get("actions", []):
        words = f"The job was {ACTIONS[action['action']]} by {action['actor']}. {action['comment']}".strip()
        found.append(_event(datetime.fromisoformat(action["time"]), words))
    for step in _training_steps(job):
        loss, dev = step["metrics"].get("loss"), step["metrics"].get("dev_loss")
        data = {"step": step["done"], "total_steps": step["total"], "train_loss": loss, "valid_loss": dev}
        message = f"Step {step['done']}/{step['total']}: training loss={loss if loss is None else f'{loss:.2f}'}"
        message += "" if dev is None else f", validation loss={dev:.2f}"
        found.append(_event(step["time"], message, data=data))
    for decision in run["decisions"][::-1]:
        if decision["to_version"] is not None:
            found.append(_event(decision["time"], f"The gates of {job.row['model']}: {decision['reason']}"))
    name = version_of(job)
    if run["finished"]:
        done = [f"New fine-tuned model created: {name}"] if name else []
        level = "error" if status_of(job) == "failed" else "info"
        done.append(run["reason"] or "The job has successfully completed")
        found += [_event(run["finished"], words, level) for words in done]
    return found


def _training_steps(job: Job) -> list[Shape]:
    return [step for step in job.run["steps"] if step["phase"] == "training"] if job.run else []
