"""What a gateway says of itself: `/health`, `/ready` and `/metrics`."""

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from core.api_keys import Scope
from core.http import is_let_in, require_key
from core.spool import SpoolWriter
from ops.apps.changed_settings import Changes
from ops.apps.gateway_worker import OnlyWorker, State
from serve.gateway.authentication import KeyChecker
from serve.gateway.capture import Recorder
from serve.gateway.metrics import Metrics

SCRAPERS = (Scope.METRICS, Scope.INTERNAL)
READERS = (Scope.OPS_NUMBERS, Scope.INTERNAL)


class GatewaySignals:
    """The state, metrics and work of one process. The app has tables, shipper, probe and reloader once it runs."""

    def __init__(self, app: FastAPI, spool: SpoolWriter, recorder: Recorder, metrics: Metrics) -> None:
        self._parts = app.state
        self._spool = spool
        self._recorder = recorder
        self._metrics = metrics

    def ready(self) -> bool:
        """Whether requests can be answered."""
        return self._parts.tables.ready and self._parts.probe.answers

    def state(self) -> State:
        """Whether engines and control answer, and what of the spool is not with control."""
        return {
            "engines_answer": self._parts.probe.answers,
            "control_answers": self._parts.tables.control_answers,
            "unshipped_bytes": self._parts.shipper.unshipped,
            "interactions_dropped": self._recorder.dropped,
            "max_spool_bytes": self._spool.max_bytes or 0,
            "damaged_segments": self._parts.shipper.damaged,
        }

    def metrics(self) -> str:
        """All metrics, for Prometheus."""
        metrics, tables = self._metrics, self._parts.tables
        metrics.unshipped.set(self._parts.shipper.unshipped)
        metrics.dropped.set(self._recorder.dropped)
        metrics.spool_limit.set(self._spool.max_bytes or 0)
        metrics.damaged.set(self._parts.shipper.damaged)
        metrics.in_flight.clear()
        known = tables.in_flight.keys() | (tables.table.versions() if tables.ready else set())
        for model, version in known:
            metrics.in_flight.labels(model, str(version)).set(tables.in_flight[model, version])
        if tables.ready:
            metrics.requests.keep_only(known)
        return generate_latest(metrics.registry).decode()

    async def flush(self, seconds: float) -> bool:
        """Ships what is spooled; returns whether control has all of it."""
        return await self._parts.shipper.flush(seconds)

    def reload(self) -> Changes:
        """Reads the configuration again; blocks. Raises SettingsError or NotReady."""
        return self._parts.reloader.reload()


def add_signals(app: FastAPI, worker: OnlyWorker, own: GatewaySignals, access: KeyChecker) -> None:
    """Add the routes. Each worker answers for all workers of the gateway; `own` is what it says of itself."""
    worker.own = own

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(request: Request) -> JSONResponse:
        is_ready = await worker.ready()
        more = await worker.state() if is_let_in(access, request, *READERS) else {}
        return JSONResponse({"ready": is_ready, **more}, 200 if is_ready else 503)

    @app.get("/metrics", dependencies=[Depends(require_key(access, *SCRAPERS))])
    async def scrape() -> Response:
        return Response(await worker.metrics(), media_type=CONTENT_TYPE_LATEST)
