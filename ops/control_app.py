"""Control, put together: store, scheduler, judge, ledger, console as one app.

It owns wiring and life cycle; what it wires lives in the rooms below.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from core import logs
from core.basemodel import BaseModel
from core.clock import Clock, utc_now
from core.http import install_errors, is_let_in, require_key
from core.keyring import Keyring
from core.keys import Scope
from core.origins import Guard, open_hosts
from core.settings import Settings
from core.store import Store
from eval.promotion import Promotion
from eval.steps import Steps
from eval.watch import Watch
from feedback import ingest
from ops import api, backup, exports, imports, keys, notifications, reload, signals
from ops.console import house
from ops.control import Control, Engines
from ops.ledgerwatch import LedgerWatch
from ops.notifications import Notifier
from ops.reload import CONTROL, Reloader
from ops.targets import targets
from retrain.cycle import Cycle
from retrain.scheduler import Scheduler
from retrain.trainer import Trainer
from serve import library, selfcheck, shelf, switchboard
from serve.access import Access, create_access
from serve.reconciler import Reconciler
from serve.shelf import Shelf
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
    # Before the first routes go out, so that no gateway is given a table without keys.
    keyring = Keyring(store=store, clock=clock, changed=board.publish_keys)
    self_check = partial(
        selfcheck.check, base=base.path, base_name=base.name, slots=settings.engine.max_loras,
        folder=settings.data / "self-check",
    )  # fmt: skip
    clients = [VllmClient(url) for url in settings.engine_urls]
    reconciler = Reconciler(clients, base_name=base.name, self_check=self_check)
    promotion = Promotion(store=store, board=board, engines=reconciler, base_name=base.name, clock=clock)
    engines = Engines(reconciler, promotion, board)
    steps = Steps(store=store, promotion=promotion, models=settings.models, clock=clock)
    cycle = Cycle(
        settings=settings, store=store, base=base, promotion=promotion, steps=steps, reconciler=reconciler,
        trainer=Trainer(), clock=clock,
    )  # fmt: skip
    watch = Watch(store=store, promotion=promotion, steps=steps, models=settings.models, clock=clock)
    scheduler = Scheduler(settings=settings, store=store, cycle=cycle, steps=steps, watch=watch.look_at_all,
                          reconcile=engines.look)  # fmt: skip
    ledger = LedgerWatch(store, clock)
    return Control(settings, store, promotion, scheduler, engines, clock, keyring, steps, watch, ledger)


def create_app(*, settings: Settings, base: BaseModel, clock: Clock = utc_now, config: Path | None = None) -> FastAPI:
    """Control's app: it schedules as long as it lives. `config` is the file that a reload reads."""
    told = targets(settings)
    control = assemble(settings, base, clock)
    notifier = Notifier(store=control.store, targets=told, verdicts=settings.notifications.verdicts,
                        ops_url=settings.console_url, clock=clock)  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        control.promotion.adopt(list(settings.models))
        control.promotion.recover()
        control.scheduler.go_on()
        control.scheduler.start()
        notifier.start()
        walking = asyncio.create_task(control.ledger.keep_walking())
        try:
            yield
        finally:
            walking.cancel()
            await asyncio.to_thread(control.scheduler.stop)
            await asyncio.to_thread(notifier.stop)
            control.store.close()

    app = FastAPI(title="LoraLoop control", openapi_url=None, lifespan=lifespan)
    install_errors(app)
    app.add_middleware(Guard, hosts=lambda: open_hosts(control.settings, settings.control.listen))
    app.state.control = control
    access = create_access(settings, keys=lambda: control.keyring.grants, clock=clock)

    def take(new: Settings) -> None:
        control.take(new)
        notifier.want(new.notifications.verdicts)
        access.let_anyone(new.access == "open")
        logs.change(new.logs)

    app.state.reloader = Reloader(config, settings, CONTROL, take)
    _add_routes(app, control, notifier, access)
    _add_signals(app, control, access)
    return app


def _add_routes(app: FastAPI, control: Control, notifier: Notifier, access: Access) -> None:
    """Every route with what opens it; what only gateways say comes first."""

    def wants(scope: Scope) -> list[Any]:
        return [Depends(require_key(access, scope))]

    internal = wants(Scope.INTERNAL)
    app.include_router(switchboard.create_router(control.promotion.board), dependencies=internal)
    app.include_router(ingest.create_router(control.store), dependencies=internal)
    app.include_router(library.create_router(control.store), dependencies=internal)
    app.include_router(shelf.create_router(Shelf(control.store, control.clock)), dependencies=internal)
    app.include_router(keys.create_router(control), dependencies=wants(Scope.ADMIN))
    app.include_router(api.create_reading_router(control), dependencies=wants(Scope.OPS_READ))
    app.include_router(api.create_acting_router(control), dependencies=wants(Scope.OPS_WRITE))
    app.include_router(notifications.create_reading_router(notifier), dependencies=wants(Scope.OPS_READ))
    app.include_router(notifications.create_acting_router(notifier), dependencies=wants(Scope.OPS_WRITE))
    backups = backup.Backups(store=control.store, settings=control.settings, clock=control.clock)
    app.include_router(backup.create_router(backups), dependencies=wants(Scope.ADMIN))
    app.include_router(exports.create_export_router(control.store), dependencies=wants(Scope.ADMIN))
    app.include_router(exports.create_import_router(control.store, control.clock), dependencies=wants(Scope.OPS_WRITE))
    app.include_router(imports.create_router(control), dependencies=wants(Scope.OPS_WRITE))
    app.include_router(reload.create_router(app.state.reloader), dependencies=wants(Scope.OPS_WRITE))
    app.include_router(house.create_router(control, access, notifier.deliveries))


def _add_signals(app: FastAPI, control: Control, access: Access) -> None:
    readers = (Scope.OPS_READ, Scope.INTERNAL)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """That the process answers."""
        return {"status": "ok"}

    @app.get("/metrics", dependencies=[Depends(require_key(access, *readers))])
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(signals.scrape(control), media_type=CONTENT_TYPE_LATEST)

    @app.get("/ready")
    async def ready(request: Request) -> JSONResponse:
        """Whether engines are ready; with a key of `ops:read`, each engine and what it lacks."""
        states = control.engines.states
        good = bool(states) and all(state.ready for state in states)
        body: dict[str, Any] = {"ready": good}
        if is_let_in(access, request, *readers):
            body["engines"] = [{"url": s.url, "ready": s.ready, "missing": s.missing, "error": s.error} for s in states]
            body["dead_letters"] = control.store.rows("dead_letters_count")[0]["n"]
        return JSONResponse(body, 200 if good else 503)
