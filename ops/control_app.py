"""Control, put together: store, scheduler, judge, ledger, console as one app.

It owns wiring and life cycle; what it wires lives in the rooms below.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.trustedhost import TrustedHostMiddleware

from core.basemodel import BaseModel
from core.clock import Clock, utc_now
from core.http import install_errors, require_key
from core.settings import Settings, is_loopback
from core.store import Store
from eval.promotion import Promotion
from eval.watch import CanaryWatch
from feedback import ingest
from ops import api, signals
from ops.console import pages
from ops.control import Control, Engines
from retrain.cycle import Cycle
from retrain.scheduler import Scheduler
from retrain.trainer import Trainer
from serve import switchboard
from serve.reconciler import Reconciler
from serve.switchboard import Switchboard
from serve.vllm import VllmClient

log = logging.getLogger(__name__)


def end_process() -> None:
    """Ends this process as `up` and Kubernetes do, so that they start it again."""
    log.critical("the store can only be used again by a new process; ending this one")
    os.kill(os.getpid(), signal.SIGTERM)


def assemble(settings: Settings, base: BaseModel, clock: Clock) -> Control:
    """Control's collaborators, wired and not yet started."""
    store = Store(settings.store_path, fatal=end_process)
    board = Switchboard()
    reconciler = Reconciler([VllmClient(url) for url in settings.engine_urls], base_name=base.name)
    promotion = Promotion(
        store=store, board=board, engines=tuple(settings.engine_urls), base_name=base.name, clock=clock,
        holding=reconciler.holding,
    )  # fmt: skip
    engines = Engines(reconciler, promotion, board)
    cycle = Cycle(
        settings=settings, store=store, base=base, promotion=promotion, reconciler=reconciler, trainer=Trainer(),
        clock=clock,
    )  # fmt: skip
    watch = CanaryWatch(store=store, promotion=promotion, models=settings.models, clock=clock)
    scheduler = Scheduler(
        settings=settings, store=store, cycle=cycle, watch=watch.look_at_all, reconcile=engines.look
    )
    return Control(settings, store, promotion, scheduler, engines, clock)


def create_app(*, settings: Settings, base: BaseModel, clock: Clock = utc_now) -> FastAPI:
    """Control's app: it schedules as long as it lives."""
    control = assemble(settings, base, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        control.promotion.adopt(list(settings.models))
        control.scheduler.cycle.recover()
        control.scheduler.start()
        try:
            yield
        finally:
            await asyncio.to_thread(control.scheduler.stop)
            control.store.close()

    app = FastAPI(title="LoraLoop control", docs_url=None, redoc_url=None, lifespan=lifespan)
    install_errors(app)
    if is_loopback(settings.control.listen):
        # Without keys the pages are open to this machine alone; a web page elsewhere must not reach them
        # through a name that it points here.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", "testserver"])
    internal = [Depends(require_key(settings.keys.internal))]
    app.include_router(switchboard.create_router(control.promotion.board), dependencies=internal)
    app.include_router(ingest.create_router(control.store), dependencies=internal)
    guarded = [Depends(require_key(settings.keys.ops))]
    app.include_router(api.create_router(control), dependencies=guarded)
    app.include_router(pages.create_router(control), dependencies=guarded)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(signals.scrape(control), media_type=CONTENT_TYPE_LATEST)

    @app.get("/ready")
    async def ready() -> JSONResponse:
        states = control.engines.states
        good = bool(states) and all(state.ready for state in states)
        engines = [{"url": s.url, "ready": s.ready, "missing": s.missing} for s in states]
        letters = control.store.rows("dead_letters_count")[0]["n"]
        body = {"ready": good, "engines": engines, "dead_letters": letters}
        return JSONResponse(body, 200 if good else 503)

    return app
