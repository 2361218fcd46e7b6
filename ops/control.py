"""Control's collaborators as one value, for routes, pages and tests.

It owns no work of its own but the check of the engines; wiring is in `ops/apps/control.py`.
"""

from dataclasses import dataclass, field

from core.api_key_store import ApiKeyStore
from core.clock import Clock
from core.db import versions
from core.db.store import Store
from core.settings import Settings
from ops.audit.recorder import AuditRecorder
from ops.ledger_verifier import LedgerWatch
from retrain.scheduler import Scheduler
from rollout.live_monitor import LiveMonitor
from rollout.promotion import RouteManager
from rollout.withheld_examples import WithheldExamples
from rollout.workflow import RolloutWorkflow
from serve.engines.reconciler import EngineState, Reconciler
from serve.routing.publisher import RoutePublisher


@dataclass(slots=True)
class Engines:
    """What the reconciler last saw of the engines, and the work of looking again."""

    reconciler: Reconciler
    promotion: RouteManager
    board: RoutePublisher
    states: list[EngineState] = field(default_factory=list)

    def look(self) -> None:
        """Makes the engines hold what they should, unloading only what no gateway still waits for."""
        self.states = self.reconciler.reconcile(self.promotion.wanted, may_unload=self._drained)
        self.promotion.publish()

    def _drained(self, name: str) -> bool:
        """Whether an adapter is ours, and no gateway can still be waiting for its answer."""
        if self.board.table is None:
            return False
        row = versions.by_engine_name(self.promotion.store, engine_name=name)
        return row is not None and self.board.drained(row["model"], row["version"])


@dataclass(slots=True)
class Control:
    """Everything that control's routes and pages need. Nothing of it is ever exchanged but the settings."""

    settings: Settings
    store: Store
    promotion: RouteManager
    scheduler: Scheduler
    engines: Engines
    clock: Clock
    keyring: ApiKeyStore
    steps: RolloutWorkflow
    watch: LiveMonitor
    ledger: LedgerWatch
    examples: WithheldExamples
    audit: AuditRecorder
    audit_watch: LedgerWatch

    def take(self, settings: Settings) -> None:
        """Goes on by other settings. Raises SettingsError before anything changed."""
        self.scheduler.take(settings)
        self.scheduler.pipeline.settings = settings
        self.steps.models = self.watch.models = settings.models
        self.examples.models = settings.models
        self.settings = settings
        self.promotion.sync_models(list(settings.models), settings.audit_shares)
