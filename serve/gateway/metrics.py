"""The Prometheus metrics of the gateway.

Labels are model, version, arm and status, and never a value that a client sent. A version that no engine holds is
dropped, so the number of labels stays bounded.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serve.gateway.request_metrics import BUCKETS, RequestMetrics


class Metrics:
    """One registry a process, so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics()
        self.registry.register(self.requests)
        self.refused = Counter(
            "loraloop_refused",
            "Completions refused before any version was chosen.",
            ("status",),
            registry=self.registry,
        )
        self.feedback = Counter("loraloop_feedback", "Feedback acknowledged.", ("type",), registry=self.registry)
        self.passed = Counter(
            "loraloop_passed",
            "Requests for embeddings and ranks that were passed on; 499: the client left.",
            ("purpose", "status"),
            registry=self.registry,
        )
        self.passed_tokens = Counter(
            "loraloop_passed_tokens", "Tokens of these requests.", ("purpose",), registry=self.registry
        )
        self.passed_seconds = Histogram(
            "loraloop_passed_seconds",
            "Time of these requests.",
            ("purpose",),
            buckets=BUCKETS,
            registry=self.registry,
        )
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
