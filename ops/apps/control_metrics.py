"""What control counts, for Prometheus: alarms, engines, runs, canaries, decisions, feedback, routes, training.

It owns metric names; each scrape reads the numbers from the store and from the last check of the engines.
"""

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from core.db import decisions as decisions_table
from core.db import feedback as feedback_table
from core.db import routes, spools
from core.db import runs as runs_table
from ops.alarms.watch import AlarmWatch
from ops.apps.canary_metrics import CanaryMetrics
from ops.control import Control


def scrape(control: Control, watch: AlarmWatch) -> bytes:
    """The metrics as Prometheus reads them."""
    return generate_latest(collect(control, watch))


def collect(control: Control, watch: AlarmWatch) -> CollectorRegistry:
    """A registry with every metric as of now."""
    registry = CollectorRegistry()
    _count_alarms(watch, registry)
    ready = Gauge("loraloop_engine_ready", "1 if it answers and has every adapter.", ("engine",), registry=registry)
    for state in control.engines.states:
        ready.labels(state.url).set(state.ready)
    runs = Gauge("loraloop_runs_open", "Runs and canaries under way.", ("model", "state"), registry=registry)
    for row in runs_table.unfinished(control.store):
        runs.labels(row["model"], row["state"]).inc()
    decisions = Gauge("loraloop_decisions", "Rows of the ledger.", ("model", "verdict"), registry=registry)
    for row in decisions_table.count_by_verdict(control.store):
        decisions.labels(row.model, row.verdict).set(row.n)
    feedback = Gauge(
        "loraloop_feedback_taken_in",
        "Feedback that was not replaced or withdrawn, by the version that answered.",
        ("model", "version", "arm", "type"),
        registry=registry,
    )
    for row in feedback_table.counts_by_version(control.store):
        feedback.labels(row.model, row.version, row.arm, row.type).set(row.n)
    orphans = Gauge("loraloop_feedback_orphans", "Feedback whose interaction is not there (yet).", registry=registry)
    orphans.set(feedback_table.count_waiting(control.store))
    unmet = Gauge("loraloop_revocations_unmet", "Requests to take back unknown feedback.", registry=registry)
    unmet.set(feedback_table.count_unmet_revocations(control.store))
    _count_models(control, registry)
    CanaryMetrics(registry).count(control)
    letters = Gauge("loraloop_dead_letters", "Spooled frames that make no row and were set aside.", registry=registry)
    letters.set(spools.count_dead_letters(control.store))
    return registry


def _count_alarms(watch: AlarmWatch, registry: CollectorRegistry) -> None:
    """Which alarms are open. Each alarm has its series at all times, so that a rule sees 0, and not nothing."""
    found = Gauge("loraloop_alarm", "Open alarms of this name.", ("alarm", "severity"), registry=registry)
    for name, severity, count in watch.counts():
        found.labels(name, severity).set(count)
    checked = Gauge("loraloop_alarms_checked_timestamp_seconds", "Time of the newest check.", registry=registry)
    checked.set(watch.checked.timestamp() if watch.checked else 0)


def _count_models(control: Control, registry: CollectorRegistry) -> None:
    """What each model's route and newest training are."""
    training = Gauge("loraloop_training_seconds", "Of the newest training.", ("model",), registry=registry)
    for row in runs_table.training_seconds(control.store):
        training.labels(row.model).set(row.seconds)
    champion = Gauge("loraloop_champion_version", "The version in service.", ("model",), registry=registry)
    canary = Gauge("loraloop_canary_share", "Share of users with the canary; 0: none.", ("model",), registry=registry)
    holdback = Gauge("loraloop_holdback_share", "Share of users held back; 0: none.", ("model",), registry=registry)
    for row in routes.serving(control.store):
        champion.labels(row.model).set(row.champion)
        canary.labels(row.model).set(0 if row.canary is None else row.share)
        holdback.labels(row.model).set(row.holdback)
