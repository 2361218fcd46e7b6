"""Control, put together: store, scheduler, judge, ledger, console as one app.

It owns wiring and life cycle; the parts are in the packages below.
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

from core import audit_log, ledger_head, logs
from core.acts import no_act, without_acts
from core.api_key_store import ApiKeyStore
from core.api_keys import Scope
from core.clock import Clock, utc_now
from core.cross_site import CrossSiteGuard, open_hosts
from core.db import spools
from core.db.store import Store
from core.http import Wanted, install_errors, is_let_in, reading_scope, require_key
from core.model_folder import ModelFolder
from core.settings import Settings
from feedback import ingest
from ops.alarms.watch import AlarmWatch
from ops.api import (
    adapters,
    alarms,
    audit,
    data,
    dead_letters,
    erasures,
    files,
    fine_tuning,
    keys,
    models,
    openapi,
    quarantine,
    retention,
    runs,
    snapshots,
    usage,
)
from ops.apps import control_alarms, control_metrics, reload
from ops.apps.changed_settings import CONTROL
from ops.apps.reload import Reloader
from ops.audit.middleware import AuditMiddleware, require_recording
from ops.audit.recorder import AuditRecorder
from ops.backup import archive
from ops.console import app as console
from ops.control import Control, Engines
from ops.erasures import Erasures
from ops.fine_tuning.jobs import FineTuningJobs
from ops.ledger_verifier import DAY_SECONDS, LedgerWatch, verify_audit_log
from ops.model_limits import require_models
from ops.notify import notifier as notifications
from ops.notify.notifier import Notifier
from ops.notify.targets import targets
from ops.retention import Retention
from retrain.pipeline import RetrainPipeline
from retrain.scheduler import Scheduler
from retrain.trainer.process import Trainer
from rollout.live_monitor import LiveMonitor
from rollout.promotion import RouteManager
from rollout.withheld_examples import WithheldExamples
from rollout.workflow import RolloutWorkflow
from serve.engines import self_check
from serve.engines.control_client import VllmClient
from serve.engines.reconciler import Reconciler
from serve.gateway.authentication import KeyChecker, create_key_checker
from serve.responses import store as response_store
from serve.responses.store import ResponseStore
from serve.routing import publisher, retrieval_cache
from serve.routing.publisher import RoutePublisher
from serve.stored_completions import store
from serve.stored_completions.store import CompletionStore

log = logging.getLogger(__name__)
OF_GATEWAYS = "Gateways use it for the requests of apps."


def end_process() -> None:
    """Ends this process as `up` and Kubernetes do, so that they start it again."""
    log.critical("the store can only be used again by a new process; ending this one")
    os.kill(os.getpid(), signal.SIGTERM)


def assemble(settings: Settings, base: ModelFolder, clock: Clock) -> Control:
    """Control's collaborators, wired and not yet started."""
    store = Store(settings.store_path, fatal=end_process, copy_first=settings.control.copy_before_migration)
    board = RoutePublisher()
    # Before the first routes go out, so that no gateway is given a table without keys.
    keyring = ApiKeyStore(store=store, clock=clock, changed=board.publish_keys)
    check_engine = partial(
        self_check.check,
        base=base.path,
        base_name=base.name,
        slots=settings.engine.max_loras,
        folder=settings.adapters / "self-check",  # the one folder that engines elsewhere share with control
    )
    clients = [VllmClient(url, key=settings.engine_key) for url in settings.engine_urls]
    reconciler = Reconciler(clients, base_name=base.name, self_check=check_engine)
    examples = WithheldExamples(store, settings.models, clock)
    promotion = RouteManager(
        store=store,
        board=board,
        engines=reconciler,
        base_name=base.name,
        clock=clock,
        find_withheld=examples.find,
    )
    engines = Engines(reconciler, promotion, board)
    steps = RolloutWorkflow(store=store, promotion=promotion, models=settings.models, clock=clock)
    pipeline = RetrainPipeline(
        settings=settings,
        store=store,
        base=base,
        promotion=promotion,
        steps=steps,
        reconciler=reconciler,
        trainer=Trainer(),
        clock=clock,
    )
    watch = LiveMonitor(store=store, promotion=promotion, steps=steps, models=settings.models, clock=clock)
    scheduler = Scheduler(
        settings=settings, store=store, pipeline=pipeline, steps=steps, watch=watch.check_all, reconcile=engines.look
    )
    ledger = LedgerWatch(store, clock)
    recorder = AuditRecorder(store=store, clock=clock)
    acts = LedgerWatch(store, clock, verify_audit_log, "audit log", DAY_SECONDS)
    return Control(
        settings,
        store,
        promotion,
        scheduler,
        engines,
        clock,
        keyring,
        steps,
        watch,
        ledger,
        examples,
        recorder,
        acts,
    )


def create_app(*, settings: Settings, base: ModelFolder, clock: Clock = utc_now, config: Path | None = None) -> FastAPI:
    """Control's app: it schedules as long as it lives. `config` is the file that a reload reads."""
    told = targets(settings)
    control = assemble(settings, base, clock)
    notifier, watch = control_alarms.assemble(control, told, clock)
    alone = control.scheduler.run_alone
    tuning = FineTuningJobs(control)
    erasing = Erasures(
        store=control.store, promotion=control.promotion, settings=settings, clock=clock, run_alone=alone
    )
    keeping = Retention(store=control.store, settings=settings, clock=clock, run_alone=alone)
    control.scheduler.plan_job("retention", settings.retention.schedule, keeping.run_schedule)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ledger_head.begin(control.store)
        audit_log.HEAD.begin(control.store)
        control.promotion.sync_models(list(settings.models), settings.audit_shares)
        control.promotion.recover()
        keeping.start()
        control.scheduler.resume()
        control.scheduler.start()
        notifier.start()
        watch.start()
        erasing.start()
        tuning.start()
        try:
            async with _watched(control):
                yield
        finally:
            keeping.stop()
            await asyncio.to_thread(watch.stop)
            await asyncio.to_thread(tuning.stop)
            await asyncio.to_thread(erasing.stop)
            await asyncio.to_thread(control.scheduler.stop)
            await asyncio.to_thread(notifier.stop)
            control.store.close()

    app = _guarded(FastAPI(title="LoraLoop control", openapi_url=None, lifespan=lifespan), control)
    access = create_key_checker(settings, keys=lambda: control.keyring.grants, clock=clock)

    def take(new: Settings) -> None:
        control.scheduler.plan_job("retention", new.retention.schedule, keeping.run_schedule)
        control.take(new)
        keeping.take(new)
        notifier.want(new.notifications.verdicts)
        access.let_anyone(new.access == "open")
        logs.change(new.logs)

    app.state.reloader = Reloader(config, settings, CONTROL, take, control.audit.record_signal)
    _add_routes(app, control, notifier, access, erasing)
    _add_alarms(app, control, watch, access)
    console.add_routes(app, control, access, watch, notifier.deliveries, erasing)
    _add_deletions(app, control, erasing, keeping, access)
    _add_fine_tuning(app, control, tuning, access)
    _add_signals(app, control, watch, access)
    openapi.create_router(app).add_to(app.router, [Depends(require_key(access, reading_scope))])
    return app


def _guarded(app: FastAPI, control: Control) -> FastAPI:
    """The app, still without routes: other sites are refused, acts are recorded, and errors have one form."""
    install_errors(app)
    app.add_middleware(CrossSiteGuard, hosts=lambda: open_hosts(control.settings, control.settings.control.listen))
    app.add_middleware(AuditMiddleware, control=control)
    app.state.control = control
    return app


@asynccontextmanager
async def _watched(control: Control) -> AsyncIterator[None]:
    """Walk the ledger and the audit log now and then, and write what waits for the audit log, also at the end."""
    keepers = (control.ledger.keep_walking(), control.audit_watch.keep_walking(), control.audit.keep_flushing())
    tasks = [asyncio.create_task(keeper) for keeper in keepers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(partial(control.audit.try_flush, all_of_them=True))


def _checks(control: Control, access: KeyChecker, *scopes: Wanted) -> list[Any]:
    """What a request must pass, in this order: its key, the models of the key, and a log that can record its act."""
    checks = (require_key(access, *scopes), require_models(control.store), require_recording(control.audit))
    return [Depends(check) for check in checks]


def _add_alarms(app: FastAPI, control: Control, watch: AlarmWatch, access: KeyChecker) -> None:
    app.state.alarms = watch
    reading, acting = (_checks(control, access, scope) for scope in (reading_scope, Scope.OPS_WRITE))
    alarms.create_reading_router(watch).add_to(app.router, reading)
    alarms.create_acting_router(watch, control.clock).add_to(app.router, acting)


def _add_deletions(app: FastAPI, control: Control, erasing: Erasures, keeping: Retention, access: KeyChecker) -> None:
    admin, reading = (_checks(control, access, scope) for scope in (Scope.ADMIN, reading_scope))
    erasures.create_router(erasing).add_to(app.router, admin)
    retention.create_acting_router(keeping).add_to(app.router, admin)
    retention.create_reading_router(keeping).add_to(app.router, reading)


def _add_fine_tuning(app: FastAPI, control: Control, tuning: FineTuningJobs, access: KeyChecker) -> None:
    """OpenAI's routes for files and fine-tuning jobs."""
    scopes = (reading_scope, Scope.OPS_WRITE, Scope.ADMIN)
    reading, acting, admin = (_checks(control, access, scope) for scope in scopes)
    files.create_reading_router(tuning.files).add_to(app.router, reading)
    files.create_content_router(tuning.files).add_to(app.router, admin)
    files.create_acting_router(control, tuning.files).add_to(app.router, acting)
    fine_tuning.create_reading_router(control, tuning).add_to(app.router, reading)
    fine_tuning.create_acting_router(control, tuning).add_to(app.router, acting)


def _add_routes(app: FastAPI, control: Control, notifier: Notifier, access: KeyChecker, erasing: Erasures) -> None:
    """Every route with what opens it; what only gateways say comes first."""

    def wants(scope: Wanted) -> list[Any]:
        return _checks(control, access, scope)

    internal = [Depends(require_key(access, Scope.INTERNAL))]
    completions = CompletionStore(control.store, control.clock)
    responses = ResponseStore(control.store, control.clock)
    for part in (
        publisher.create_router(control.promotion.board),
        ingest.create_router(control.store),
        retrieval_cache.create_router(control.store),
        store.create_router(completions),
        response_store.create_router(responses),
    ):
        without_acts(part, OF_GATEWAYS).add_to(app.router, internal)
    audit.create_reading_router(control).add_to(app.router, wants(Scope.ADMIN))
    audit.create_chain_router(control).add_to(app.router, wants(reading_scope))
    keys.create_router(control).add_to(app.router, wants(Scope.ADMIN))
    models.create_reading_router(control).add_to(app.router, wants(reading_scope))
    usage.create_router(control).add_to(app.router, wants(reading_scope))
    models.create_acting_router(control).add_to(app.router, wants(Scope.OPS_WRITE))
    runs.create_reading_router(control).add_to(app.router, wants(reading_scope))
    runs.create_acting_router(control).add_to(app.router, wants(Scope.OPS_WRITE))
    quarantine.create_reading_router(control).add_to(app.router, wants(reading_scope))
    quarantine.create_acting_router(control).add_to(app.router, wants(Scope.OPS_WRITE))
    notifications.create_reading_router(notifier).add_to(app.router, wants(reading_scope))
    notifications.create_acting_router(notifier).add_to(app.router, wants(Scope.OPS_WRITE))
    backups = archive.Backups(store=control.store, settings=control.settings, clock=control.clock)
    archive.create_router(backups).add_to(app.router, wants(Scope.ADMIN))
    dead_letters.create_router(control).add_to(app.router, wants(Scope.ADMIN))
    data.create_export_router(control.store, lambda: control.settings).add_to(app.router, wants(Scope.ADMIN))
    snapshots.create_report_router(control.store).add_to(app.router, wants(reading_scope))
    snapshots.create_rows_router(control.store, lambda: control.settings).add_to(app.router, wants(Scope.ADMIN))
    taking = data.create_import_router(control.store, control.clock, lambda: control.settings)
    taking.add_to(app.router, wants(Scope.OPS_WRITE))
    adapters.create_router(control).add_to(app.router, wants(Scope.OPS_WRITE))
    reloading = reload.create_router(partial(asyncio.to_thread, app.state.reloader.reload))
    reloading.add_to(app.router, wants(Scope.OPS_WRITE))


def _add_signals(app: FastAPI, control: Control, watch: AlarmWatch, access: KeyChecker) -> None:
    scrapers, readers = (Scope.METRICS, Scope.INTERNAL), (Scope.OPS_NUMBERS, Scope.INTERNAL)

    @app.get("/health")
    @no_act("It shows the state of the process, no data.", texts=False)
    async def health() -> dict[str, str]:
        """That the process answers."""
        return {"status": "ok"}

    @app.get("/metrics", dependencies=_checks(control, access, *scrapers))
    @no_act("It shows the state of the process, no data.", texts=False)
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(control_metrics.scrape(control, watch), media_type=CONTENT_TYPE_LATEST)

    @app.get("/ready")
    @no_act("It shows the state of the process, no data.", texts=False)
    async def ready(request: Request) -> JSONResponse:
        """Whether engines are ready; with a key of `ops:numbers`, each engine and what it lacks."""
        states = control.engines.states
        good = bool(states) and all(state.ready for state in states)
        body: dict[str, Any] = {"ready": good}
        if is_let_in(access, request, *readers):
            body["engines"] = [{"url": s.url, "ready": s.ready, "missing": s.missing, "error": s.error} for s in states]
            body["dead_letters"] = spools.count_dead_letters(control.store)
        return JSONResponse(body, 200 if good else 503)
