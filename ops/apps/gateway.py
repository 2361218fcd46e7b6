"""The gateway, put together: the data plane's collaborators and routes as one app.

It owns wiring and life cycle; everything it wires lives in `serve` and `feedback`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from fastapi import Depends, FastAPI

from core import logs
from core.api_keys import Scope
from core.clock import Clock, utc_now
from core.folder_lock import FolderLock
from core.http import bearer_of_basic, install_errors, require_key
from core.records import Feedback
from core.settings import GatewaySettings, Settings
from core.spool import SpoolWriter
from feedback import compatible
from feedback import routes as feedback_routes
from feedback.formats.metrics import Metrics as Meanings
from feedback.schema import MAX_BATCH, FeedbackRequest
from ops.apps import reload
from ops.apps.changed_settings import GATEWAY
from ops.apps.gateway_app import GatewayApp, ObservedApp
from ops.apps.gateway_signals import GatewaySignals, add_signals
from ops.apps.gateway_worker import OnlyWorker
from ops.apps.leftover_spools import lock_gateway, ship_leftovers
from ops.apps.reload import Reloader
from serve.engines.forwarding_client import HttpClient
from serve.engines.http_response import TimeLimits
from serve.engines.pool import EnginePool
from serve.engines.probe import EngineProbe
from serve.gateway import models_route, not_served, openapi, pass_through, tokenizer
from serve.gateway.access_log import AccessLog
from serve.gateway.authentication import KeyChecker, create_key_checker
from serve.gateway.capture import Recorder
from serve.gateway.completions import Completions, RequestLimits
from serve.gateway.metrics import Metrics
from serve.gateway.pass_through import PassThrough
from serve.gateway.purposes import PURPOSES
from serve.gateway.shipping import Shipper
from serve.gateway.tokenizer import Tokenizer
from serve.responses import routes as response_routes
from serve.responses.routes import StoredResponses
from serve.routing.subscriber import RouteSubscriber
from serve.stored_completions import routes
from serve.stored_completions.routes import StoredCompletions

if TYPE_CHECKING:  # OpenTelemetry is loaded where it is on
    from serve.gateway.tracing import Tracing

CONNECT_SECONDS = 5
# How long the end of the gateway waits for control to ingest the rest of the spool: the folder of a container may
# end with it.
FLUSH_SECONDS = 5
# An external engine, as stock vLLM, closes an idle connection after 5 s; ours must be gone before that.
KEEPALIVE_SECONDS = 4
# The routing table in a gateway's folder.
ROUTES = "routes.json"


def create_app(
    *,
    settings: Settings,
    clock: Clock = utc_now,
    tracing: "Tracing | None" = None,
    config: Path | None = None,
    worker: OnlyWorker | None = None,
) -> FastAPI:
    """The gateway's app. It takes a table and ships its spool as long as it lives.

    `config` is the file that a reload reads. `worker` is the process, if it is one of several.
    """
    gateway = settings.gateway
    worker = worker or OnlyWorker(gateway.name)
    gateways = settings.data / "gateways"
    folder = gateways / worker.name
    metrics = Metrics()
    lock = lock_gateway(folder)
    spool = SpoolWriter(folder / "spool", max_bytes=gateway.max_spool_bytes // worker.count)
    recorder = Recorder(spool)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        client = _engine_client(settings)
        async with aiohttp.ClientSession(timeout=_control_timeout(gateway)) as session:
            control = _control(settings, session)
            shipper = Shipper(**control, name=worker.name, spool=spool)
            tables = _tables(control, gateways, worker, partial(_unsent, shipper, recorder))
            app.state.tables, app.state.shipper = tables, shipper
            answering = completions(
                tables=tables,
                upstream=upstream(client, **_pool_options(gateway, worker)),
                recorder=recorder,
                metrics=metrics,
                access=access,
                clock=clock,
                limits=_request_limits(gateway),
            )
            app.put_together(answering, _add_routes(app, gateway, answering, control | {"flush": worker.flush}, access))
            app.state.reloader.started()
            app.state.probe = _probe(settings, session, answering)
            leftovers = ship_leftovers(gateways, worker, partial(Shipper, **control))
            recorder.start()
            try:
                async with _in_background(tables.follow(), shipper.run(), app.state.probe.run(), leftovers):
                    await worker.open()
                    yield
                    await shipper.flush(FLUSH_SECONDS)
                    worker.close()
            finally:
                await _stop(recorder, lock, client, tracing)

    app, completions, upstream = _kinds(settings, tracing, lifespan)
    access = create_key_checker(settings, keys=lambda: app.state.tables.keys, clock=clock, meter=worker.meter())
    _prepare(app, settings)
    _add_feedback(app, spool, _acknowledged(metrics, tracing), access, clock)
    add_signals(app, worker, GatewaySignals(app, spool, recorder, metrics), access)
    _add_reload(app, settings, access, config, worker)
    return app


def _prepare(app: GatewayApp, settings: Settings) -> None:
    """Gives the app what needs none of its collaborators."""
    app.open_to(settings)
    install_errors(app)
    app.state.meanings = _meanings(settings)
    openapi.describe(app, signal=FeedbackRequest.model_json_schema(), most_signals=MAX_BATCH)


def _control_timeout(gateway: GatewaySettings) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=gateway.request_timeout_s, sock_connect=CONNECT_SECONDS)


def _control(settings: Settings, session: aiohttp.ClientSession) -> dict[str, Any]:
    """How control is reached."""
    key = settings.keys.internal.get_secret_value() if settings.keys.internal else ""
    return {"session": session, "control_url": settings.control_url, "key": key}


def _tables(
    control: dict[str, Any], gateways: Path, worker: OnlyWorker, unsent: Callable[[], dict[str, int]]
) -> RouteSubscriber:
    """What follows control's routing table, with the last one from disk."""
    first = None if worker.is_first else gateways / worker.gateway / ROUTES
    cache = gateways / worker.name / ROUTES
    tables = RouteSubscriber(**control, name=worker.name, cache=cache, first_cache=first, spool=unsent)
    tables.load_cache()
    return tables


def _unsent(shipper: Shipper, recorder: Recorder) -> dict[str, int]:
    """What control hears of the spool."""
    return {"unshipped": shipper.unshipped, "dropped": recorder.dropped}


def _pool_options(gateway: GatewaySettings, worker: OnlyWorker) -> dict[str, Any]:
    return {"max_in_flight": gateway.max_in_flight, **_time_limits(gateway), **worker.pool_options()}


async def _stop(recorder: Recorder, lock: FolderLock, client: HttpClient, tracing: "Tracing | None") -> None:
    await recorder.stop()
    lock.release()
    await client.close()
    if tracing:
        await asyncio.to_thread(tracing.stop)


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run this work until the block ends, and wait until all of it has stopped."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _engine_client(settings: Settings) -> HttpClient:
    bearer = f"Bearer {settings.engine_key}" if settings.engine_key else None
    return HttpClient(keep_s=KEEPALIVE_SECONDS, authorization=bearer)


def _probe(settings: Settings, session: aiohttp.ClientSession, answering: Completions) -> EngineProbe:
    tables = answering.tables
    return EngineProbe(
        session=session,
        engines=lambda: tables.table.answering() if tables.ready else (),
        pool=answering.upstream,
        headers={"Authorization": f"Bearer {settings.engine_key}"} if settings.engine_key else {},
    )


def _time_limits(gateway: GatewaySettings) -> dict[str, TimeLimits]:
    """How long engines may take for whole answers and for streams."""
    total, first = gateway.request_timeout_s, gateway.first_event_timeout_s
    return {
        "whole": TimeLimits(CONNECT_SECONDS, total, total, total),
        "stream": TimeLimits(CONNECT_SECONDS, first, gateway.gap_timeout_s, gateway.stream_timeout_s),
    }


def _request_limits(gateway: GatewaySettings) -> RequestLimits:
    return RequestLimits(
        max_body_bytes=gateway.max_body_bytes,
        max_choices=gateway.max_choices,
        max_tokens=gateway.max_tokens_per_request,
        stalled_s=gateway.client_timeout_s,
    )


def _meanings(settings: Settings) -> Meanings:
    return Meanings.of(settings.gateway.metrics, _labels(settings))


def _labels(settings: Settings) -> list[str]:
    return [label for model in settings.models.values() for label in model.labels]


def _kinds(settings: Settings, tracing: "Tracing | None", lifespan: Any) -> tuple[GatewayApp, Any, Any]:
    """The app, and what makes its completions and upstream; plain ones where nothing is traced or logged."""
    about: dict[str, Any] = {
        "title": "LoraLoop gateway",
        "openapi_url": None,
        "lifespan": lifespan,
        "redirect_slashes": False,
    }
    if tracing is None and not settings.logs.access:
        return GatewayApp(**about), Completions, EnginePool
    app = ObservedApp(**about)
    app.front = partial(GatewayApp.__call__, app)
    if settings.logs.access:
        app.front = AccessLog(app.front)
    if tracing is None:
        return app, Completions, EnginePool
    from serve.gateway.tracing import TracedApp, TracedCompletions, TracedUpstream

    app.front = TracedApp(app.front, tracing)
    return app, partial(TracedCompletions, tracing=tracing), TracedUpstream


def create_tracing(settings: Settings) -> "Tracing | None":
    """What traces the requests, where the settings or the environment ask for it."""
    if not settings.traced:
        return None
    from serve.gateway import tracing

    return tracing.create_tracing(settings.tracing, _labels(settings))


def _add_routes(
    app: FastAPI, gateway: GatewaySettings, answering: Completions, asking: dict[str, Any], access: KeyChecker
) -> StoredResponses:
    """Add the routes that engines or control answer; `asking` says how to ask control. Return what finds responses."""
    askers = [Depends(require_key(access, Scope.INFER))]
    tables, others = answering.tables, gateway.passed_on
    engines: dict[str, Any] = {"upstream": answering.upstream, "limit": lambda: answering.limits.max_body_bytes}
    passing = [PassThrough(one, getattr(gateway, one.name), metrics=answering.metrics, **engines) for one in PURPOSES]
    for router in (
        models_route.create_router(tables, others),
        tokenizer.create_router(Tokenizer(tables=tables, others=others, **engines)),
        pass_through.create_router(*passing),
        not_served.create_router(),
    ):
        router.add_to(app.router, askers)
    kept, responses = StoredCompletions(**asking), StoredResponses(**asking, path="/internal/responses")
    readers, writers = (Depends(require_key(access, Scope.INFER, ops)) for ops in (Scope.OPS_READ, Scope.OPS_WRITE))
    routes.create_router(kept, readers, writers).add_to(app.router)
    response_routes.create_router(responses, readers, writers).add_to(app.router)
    return responses


def _acknowledged(metrics: Metrics, tracing: "Tracing | None") -> Callable[[Feedback], None]:
    """What follows once feedback is on the disk: it is counted, and sent as an event if votes are traced."""
    votes = tracing.votes if tracing else None

    def acknowledged(vote: Feedback) -> None:
        metrics.feedback.labels(vote.type).inc()
        if votes is not None:
            votes.add(vote)

    return acknowledged


def _add_feedback(
    app: FastAPI, spool: SpoolWriter, acknowledged: Callable[[Feedback], None], access: KeyChecker, clock: Clock
) -> None:
    common: dict[str, Any] = {
        "spool": spool,
        "clock": clock,
        "acknowledged": acknowledged,
        "givers": Depends(require_key(access, Scope.FEEDBACK)),
    }
    revokers = Depends(require_key(access, Scope.FEEDBACK, Scope.OPS_WRITE))
    feedback_routes.create_router(**common, revokers=revokers).add_to(app.router)
    basic = Depends(require_key(access, Scope.FEEDBACK, read=bearer_of_basic))
    compatible.create_router(**common, metrics=lambda: app.state.meanings, basic_givers=basic).add_to(app.router)


def _add_reload(
    app: GatewayApp, settings: Settings, access: KeyChecker, config: Path | None, worker: OnlyWorker
) -> None:
    def take(new: Settings) -> None:
        app.state.meanings = _meanings(new)
        app.completions.limits = _request_limits(new.gateway)
        app.completions.upstream.max_in_flight = new.gateway.max_in_flight
        access.let_anyone(new.access == "open")
        app.open_to(new)
        logs.change(new.logs)

    app.state.reloader = Reloader(config, settings, GATEWAY, take, starting=True)
    reload.create_router(worker.reload).add_to(app.router, [Depends(require_key(access, Scope.OPS_WRITE))])
