"""The Prometheus metrics of the gateway.

Labels are model, version, arm and status, and never a value that a client sent. A version that no engine holds is
dropped, so the number of labels stays bounded.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from core.records import Arm, Interaction

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
Key = tuple[str, int, Arm, int]


@dataclass(frozen=True, slots=True)
class Series:
    """What one finished request counts in."""

    requests: Counter
    seconds: Histogram
    first_token: Histogram
    prompt: Counter
    completion: Counter


class Metrics:
    """One registry a process, so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: dict[Key, Series] = {}
        by_arm = ("model", "version", "arm")
        self.requests = Counter(
            "loraloop_requests",
            "Requests that reached a version; 499: the client left.",
            (*by_arm, "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "loraloop_request_seconds", "Time to the last byte.", by_arm, buckets=BUCKETS, registry=self.registry
        )
        self.first_token = Histogram(
            "loraloop_first_token_seconds",
            "Time to a stream's first byte.",
            by_arm,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.tokens = Counter("loraloop_tokens", "Tokens.", (*by_arm, "kind"), registry=self.registry)
        self.refused = Counter(
            "loraloop_refused",
            "Completions refused before any version was chosen.",
            ("status",),
            registry=self.registry,
        )
        self.feedback = Counter("loraloop_feedback", "Feedback acknowledged.", ("type",), registry=self.registry)
        self.in_flight = Gauge(
            "loraloop_in_flight", "Requests under way.", ("model", "version"), registry=self.registry
        )
        self.unshipped = Gauge(
            "loraloop_spool_unshipped_bytes", "Spooled bytes that control has not ingested.", registry=self.registry
        )
        self.spool_limit = Gauge(
            "loraloop_spool_limit_bytes", "Maximum size of the spool: gateway.max_spool_bytes.", registry=self.registry
        )
        self.damaged = Gauge(
            "loraloop_spool_damaged_segments",
            "Segments with damaged bytes, kept as .bad files until a person deletes them.",
            registry=self.registry,
        )
        self.dropped = Gauge(
            "loraloop_interactions_dropped",
            "Interactions not kept: the disk or the spool is full.",
            registry=self.registry,
        )

    def observe(self, interaction: Interaction) -> None:
        """Counts one finished request."""
        series = self._series((interaction.model, interaction.version, interaction.arm, interaction.status))
        series.requests.inc()
        series.seconds.observe(interaction.latency_ms / 1000)
        if interaction.ttft_ms is not None:
            series.first_token.observe(interaction.ttft_ms / 1000)
        if interaction.prompt_tokens:
            series.prompt.inc(interaction.prompt_tokens)
        if interaction.completion_tokens:
            series.completion.inc(interaction.completion_tokens)

    def keep_only(self, versions: Iterable[tuple[str, int]]) -> None:
        """Forgets the series of all other versions."""
        kept = set(versions)
        for model, version, arm, status in [key for key in self._known if key[:2] not in kept]:
            del self._known[model, version, arm, status]
            labels = (model, str(version), arm)
            self.requests.remove(*labels, str(status))
            for metric in (self.seconds, self.first_token):
                metric.remove(*labels)
            for kind in ("prompt", "completion"):
                self.tokens.remove(*labels, kind)

    def _series(self, key: Key) -> Series:
        """The series of a version, arm and status, looked up once: finding them costs more than counting."""
        known = self._known.get(key)
        if known is None:
            model, version, arm, status = key
            labels = (model, str(version), arm)
            known = self._known[key] = Series(
                self.requests.labels(*labels, str(status)),
                self.seconds.labels(*labels),
                self.first_token.labels(*labels),
                self.tokens.labels(*labels, "prompt"),
                self.tokens.labels(*labels, "completion"),
            )
        return known
