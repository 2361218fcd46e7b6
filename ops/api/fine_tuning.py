"""OpenAI's fine-tuning jobs API on control: a job is a run of a model on the examples of a file.

Handlers are thin: they parse, call the jobs, and render.
"""

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from core.acts import Act, act, note, only_numbers
from core.api_key_store import ApiKeyStore
from core.errors import Forbidden, InputError
from core.http import JsonBody
from core.route_list import RouteList
from ops.actions import By
from ops.control import Control
from ops.fine_tuning.jobs import FineTuningJobs, Job
from ops.fine_tuning.request import JobRequest
from ops.fine_tuning.shapes import Shape, checkpoint_shapes, event_shapes, job_shape, page_shape

METADATA = "metadata["
RequestBody = Annotated[JobRequest, Depends(JsonBody(JobRequest))]
After = Annotated[str | None, Query(max_length=128)]
Limit = Annotated[int, Query(ge=1, le=100)]
OneModel = Annotated[
    str | None, Query(max_length=128, description="The model of the jobs. A key limited to models must name one.")
]


def create_reading_router(control: Control, jobs: FineTuningJobs) -> RouteList:
    """Routes under /v1/fine_tuning/jobs that change nothing."""
    router = RouteList(prefix="/v1/fine_tuning/jobs")

    @router.get("")
    @only_numbers
    def listed(request: Request, model: OneModel = None, after: After = None, limit: Limit = 20) -> Shape:
        """Fine-tuning jobs, newest first."""
        found = jobs.page(model=model, metadata=_metadata(request), after=after, limit=limit + 1)
        return page_shape([shown(control, job) for job in found], limit)

    @router.get("/{identity}")
    @only_numbers
    def retrieve(identity: str) -> Shape:
        """One fine-tuning job."""
        return shown(control, jobs.find(identity))

    @router.get("/{identity}/events")
    @only_numbers
    def events(identity: str, after: After = None, limit: Limit = 20) -> Shape:
        """What happened to a job, newest first."""
        return _paged(event_shapes(jobs.find(identity)), after, limit)

    @router.get("/{identity}/checkpoints")
    @only_numbers
    def checkpoints(identity: str, after: After = None, limit: Limit = 10) -> Shape:
        """The checkpoint that a job keeps, which is its version."""
        return _paged(checkpoint_shapes(jobs.find(identity)), after, limit)

    return router


def create_acting_router(control: Control, jobs: FineTuningJobs) -> RouteList:
    """Routes under /v1/fine_tuning/jobs that add, end, pause or continue one."""
    router = RouteList(prefix="/v1/fine_tuning/jobs")
    keyring: ApiKeyStore = control.keyring

    @router.post("")
    @act(Act.RUNS_START)
    def create(request: Request, asked: RequestBody, model: OneModel = None) -> Shape:
        """Add a fine-tuning job: a run of a model, with the examples of a file as feedback."""
        if model not in (None, asked.model):
            raise InputError(f"model: the query names {model}, and the body {asked.model}.", field="model")
        note(request, model=asked.model)
        permit = request.state.admission
        permit.require_model(asked.model)
        if permit.models is not None and jobs.files.find(asked.training_file)["model"] != asked.model:
            raise Forbidden(
                "This key is limited to models, and the file is for no model or for another.",
                hint=f"Upload it with ?model={asked.model}.",
            )
        job = jobs.create(asked, keyring.actor_of(request.state.key_id))
        note(request, thing=job.row["id"])
        return shown(control, job)

    @router.post("/{identity}/cancel")
    @act(Act.RUNS_CANCEL)
    def cancel(request: Request, identity: str) -> Shape:
        """End a job. The champion of its model stays."""
        return shown(control, jobs.interrupt(identity, "cancel", by(request)))

    @router.post("/{identity}/pause")
    @act(Act.RUNS_PAUSE)
    def pause(request: Request, identity: str) -> Shape:
        """Pause a job. Its training ends after its step, with a checkpoint."""
        return shown(control, jobs.interrupt(identity, "pause", by(request)))

    @router.post("/{identity}/resume")
    @act(Act.RUNS_RESUME)
    def resume(request: Request, identity: str) -> Shape:
        """Continue a paused job at its last checkpoint."""
        return shown(control, jobs.resume(identity, by(request)))

    def by(request: Request) -> By:
        return By(keyring.actor_of(request.state.key_id))

    return router


def shown(control: Control, job: Job) -> Shape:
    """A job in OpenAI's shape."""
    settings = control.settings.models.get(job.row["model"])
    return job_shape(job, settings.retrain.seed if settings else 0, control.clock())


def _metadata(request: Request) -> dict[str, str]:
    """The query's `metadata[name]=value`."""
    pairs: dict[str, Any] = {
        name[len(METADATA) : -1]: value
        for name, value in request.query_params.items()
        if name.startswith(METADATA) and name.endswith("]")
    }
    return pairs


def _paged(found: list[Shape], after: str | None, limit: int) -> Shape:
    ids = [one["id"] for one in found]
    first = ids.index(after) + 1 if after in ids else 0
    return page_shape(found[first : first + limit + 1], limit)
