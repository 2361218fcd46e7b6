"""What the gateway counts, for Prometheus.

It owns metric names and labels; labels are model, version and status only, never anything a client sent.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from core.records import Interaction

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class Series:
    """What one finished request counts in."""

    requests: Counter
    seconds: Histogram
    prompt: Counter
    completion: Counter


class Metrics:
    """One registry a process, so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._known: dict[tuple[str, int, int], Series] = {}
        by_version = ("model", "version")
        self.requests = Counter(
            "loraloop_requests", "Requests answered.", (*by_version, "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "loraloop_request_seconds", "Time to the last byte.", by_version, buckets=BUCKETS, registry=self.registry
        )
        self.tokens = Counter("loraloop_tokens", "Tokens.", (*by_version, "kind"), registry=self.registry)
        self.feedback = Counter("loraloop_feedback", "Feedback acknowledged.", ("type",), registry=self.registry)
        self.in_flight = Gauge("loraloop_in_flight", "Requests under way.", by_version, registry=self.registry)
        self.unshipped = Gauge(
            "loraloop_spool_unshipped_bytes", "Spooled bytes that control has not taken in.", registry=self.registry
        )
        self.dropped = Gauge(
            "loraloop_interactions_dropped", "Interactions not kept: the disk is full.", registry=self.registry
        )

    def observe(self, interaction: Interaction) -> None:
        """Counts one finished request."""
        series = self._series(interaction.model, interaction.version, interaction.status)
        series.requests.inc()
        series.seconds.observe(interaction.latency_ms / 1000)
        if interaction.prompt_tokens:
            series.prompt.inc(interaction.prompt_tokens)
        if interaction.completion_tokens:
            series.completion.inc(interaction.completion_tokens)

    def _series(self, model: str, version: int, status: int) -> Series:
        """The series of a version and status, looked up once: finding them costs more than counting."""
        known = self._known.get((model, version, status))
        if known is None:
            labels = (model, str(version))
            known = Series(
                self.requests.labels(*labels, str(status)), self.seconds.labels(*labels),
                self.tokens.labels(*labels, "prompt"), self.tokens.labels(*labels, "completion"),
            )  # fmt: skip
            self._known[model, version, status] = known
        return known
