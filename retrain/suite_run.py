"""Measure suites of one version, next to the base model and the champion, when somebody asks for it.

A measurement decides nothing and changes no route. It uses no holdout, because each use of a holdout is counted.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.clock import new_id
from core.db.store import Store
from core.errors import InputError, LoraLoopError
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import ModelSettings, Settings
from eval.arm_definitions import Arm, of_version
from eval.engine_queries import EngineContext
from eval.evaluation import create_query_runner
from eval.ledger_evidence import plain_suite
from eval.stored_results import store_suite
from eval.suites.configured import configured_suites
from eval.suites.files import find_suites
from eval.suites.run import run_suite, suite_evidence
from eval.suites.shipped import BUILDERS
from eval.suites.suite import Suite
from retrain.interruptions import Interruptions, RunInterrupted
from retrain.run_states import MEASURING
from retrain.runs import Run, Runs
from rollout.promotion import RouteManager
from serve.engines.control_client import VllmClient
from serve.engines.lease import EngineLease

log = logging.getLogger(__name__)
# Triggers still count the feedback that came before a measurement.
NO_FEEDBACK_SEEN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SuiteRequest:
    """A measurement that somebody asked for."""

    run: Run
    version: Version
    suites: tuple[Suite, ...]


def choose_suites(settings: ModelSettings, names: Sequence[str] | None) -> list[Suite]:
    """The suites of these names; without names those of the settings, or all shipped suites.

    A name never refers to a folder of the caller's choice. Raises InputError for an unknown name.
    """
    own = configured_suites(settings)
    if not names:
        return own or find_suites(list(BUILDERS))
    known = {suite.name: suite for suite in [*find_suites(list(BUILDERS)), *own]}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"There is no suite {unknown[0]!r}.", hint=f"There are: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]


class SuiteRunner:
    """Measures suites on request."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        store: Store,
        base: ModelFolder,
        promotion: RouteManager,
        runs: Runs,
        engines: EngineLease,
        interruptions: Interruptions,
    ) -> None:
        self._settings = settings
        self._store = store
        self._base = base
        self._promotion = promotion
        self._runs = runs
        self._engines = engines
        self._interruptions = interruptions

    def prepare(
        self, model: str, version: int | None, names: Sequence[str] | None, actor: str, comment: str = ""
    ) -> SuiteRequest:
        """Record a run for `measure`; no version means the champion. Raises NotFound or InputError."""
        champion = self._promotion.route(model).champion
        suites = choose_suites(self._settings().models[model], names)
        measured = self._promotion.version(model, champion if version is None else version)
        run = Run(new_id("run"), model, "asked to measure", actor, comment)
        self._runs.add(run, MEASURING, NO_FEEDBACK_SEEN, measured.version)
        return SuiteRequest(run, measured, tuple(suites))

    def measure(self, request: SuiteRequest) -> None:
        """Run the suites and store their results. A failure is the reason of the run."""
        with self._interruptions.working(request.run) as free:
            if free:
                self._measure(request)

    def _measure(self, request: SuiteRequest) -> None:
        run = request.run
        try:
            champion = self._promotion.version(run.model, self._promotion.route(run.model).champion)
            results = self._engines.with_engine_serving(
                (request.version, champion), lambda client: self._run_suites(request, champion, client)
            )
            self._runs.add_details(run, suites=results)
            state, reason = "measured", f"{len(results)} suites were measured for {request.version.public_name}."
        except RunInterrupted:
            if not self._interruptions.carry_out(run):
                raise
            return
        except LoraLoopError as error:
            state, reason = "failed", str(error)
        except Exception as error:
            log.exception("run %s", run.id)
            state, reason = "failed", f"An unexpected error: {error}"
        self._runs.set_state(run, state, reason)

    def _run_suites(self, request: SuiteRequest, champion: Version, client: VllmClient) -> dict[str, Any]:
        model, settings = request.run.model, self._settings()
        model_settings = settings.models[model]
        max_tokens = model_settings.evaluation.max_tokens
        arms = [
            Arm("base", self._base.name),
            of_version("champion", champion, max_tokens),
            of_version("candidate", request.version, max_tokens),
        ]
        versions = {"base": 0, "champion": champion.version, "candidate": request.version.version}
        runner = create_query_runner(client, self._store, self._base, model_settings, settings.engine)
        results = {}
        for suite in request.suites:
            progress = self._interruptions.checked(request.run, self._runs.progress(request.run, f"suite {suite.name}"))
            outcomes = run_suite(EngineContext(runner, self._base.name, progress), arms, suite)
            evidence = suite_evidence(outcomes, model_settings)
            store_suite(self._store, request.run.id, model, suite.name, evidence, versions)
            results[suite.name] = {"kpi": suite.kpi, "versions": versions} | plain_suite(evidence)
        return results
