"""Measuring: suites asked of one version beside base and champion, because somebody wants to know.

It owns such a run from its first row to its last; nothing is decided by it and nothing changes who serves. A
holdout is not asked: each look at one is counted, and only a candidate is worth one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.clock import new_id
from core.errors import InputError, LoraLoopError
from core.records import Version
from core.settings import ModelSettings
from eval.arms import of_version
from eval.evaluate import create_query_runner, keep_suite, suite_evidence, suites_of
from eval.plain_evidence import plain_suite
from eval.suites.files import find_suite
from eval.suites.run import run_suite
from eval.suites.shipped import BUILDERS
from eval.suites.suite import Suite
from retrain.pipeline import RetrainPipeline
from retrain.runs import Run
from serve.engines.vllm_client import VllmClient

log = logging.getLogger(__name__)
# So that triggers still count the feedback that came before.
NO_FEEDBACK_SEEN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class SuiteRequest:
    """A measuring that was asked for."""

    run: Run
    version: Version
    suites: tuple[Suite, ...]


def chosen(settings: ModelSettings, names: Sequence[str] | None) -> list[Suite]:
    """The suites named, from anywhere but a folder of the caller's; else those of the settings, else all shipped."""
    own = suites_of(settings)
    if not names:
        return own or find_suite(list(BUILDERS))
    known = {suite.name: suite for suite in [*find_suite(list(BUILDERS)), *own]}
    strange = [name for name in names if name not in known]
    if strange:
        raise InputError(f"There is no suite {strange[0]!r}.", hint=f"There are: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(names)]


def prepare(
    cycle: RetrainPipeline, model: str, version: int | None, names: Sequence[str] | None, actor: str, comment: str = ""
) -> SuiteRequest:
    """Writes the run down, for `measure`. Raises UnknownModel, UnknownVersion and InputError."""
    champion = cycle.promotion.route(model).champion
    suites = chosen(cycle.settings.models[model], names)
    asked = cycle.promotion.version(model, champion if version is None else version)
    run = Run(new_id("run"), model, "asked to measure", actor, comment)
    cycle.runs.add(run, "measuring", NO_FEEDBACK_SEEN, asked.version)
    return SuiteRequest(run, asked, tuple(suites))


def measure(cycle: RetrainPipeline, wanted: SuiteRequest) -> None:
    """Asks and writes down what came; a failure is the run's reason."""
    run = wanted.run
    try:
        champion = cycle.promotion.version(run.model, cycle.promotion.route(run.model).champion)
        found = cycle.holders.lend((wanted.version, champion), lambda client: _ask(cycle, wanted, champion, client))
        cycle.runs.detail(run, suites=found)
        state, reason = "measured", f"{len(found)} suites were asked of {wanted.version.public_name}."
    except LoraLoopError as error:
        state, reason = "failed", str(error)
    except Exception as error:
        log.exception("run %s", run.id)
        state, reason = "failed", f"An unexpected error: {error}"
    cycle.runs.state(run, state, reason)


def _ask(cycle: RetrainPipeline, wanted: SuiteRequest, champion: Version, client: VllmClient) -> dict[str, Any]:
    model, settings = wanted.run.model, cycle.settings.models[wanted.run.model]
    arms = {"base": cycle.base.name, "champion": champion.engine_name, "candidate": wanted.version.engine_name}
    rewrites = {
        name: of_version(name, version, settings.evaluation.max_tokens).rewrite
        for name, version in (("champion", champion), ("candidate", wanted.version))
    }
    versions = {"base": 0, "champion": champion.version, "candidate": wanted.version.version}
    asked, found = create_query_runner(client, cycle.store, cycle.base, settings, cycle.settings.engine), {}
    for suite in wanted.suites:
        tell = cycle.runs.progress(wanted.run, f"suite {suite.name}")
        evidence = suite_evidence(run_suite(asked, cycle.base.name, arms, suite, tell, rewrites), settings)
        keep_suite(cycle.store, wanted.run.id, model, suite.name, evidence, versions)
        found[suite.name] = {"kpi": suite.kpi, "versions": versions} | plain_suite(evidence)
    return found
