"""Count finished requests by version, arm and status; Prometheus reads the counts when it asks.

Prometheus' own counters lock for each number, which would be a twelfth of a request's time in the gateway.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from core.records import Arm, Interaction

# Upper ends of the buckets of both histograms, in seconds. A last bucket has the rest.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ENDS = (*(floatToGoString(end) for end in BUCKETS), "+Inf")
BY_ARM = ("model", "version", "arm")
Key = tuple[str, int, Arm, int]


def _no_counts() -> list[int]:
    return [0] * len(ENDS)


@dataclass(slots=True)
class Times:
    """A histogram of seconds: how many fell in each bucket, and their sum."""

    counts: list[int] = field(default_factory=_no_counts)
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one time. An end belongs to its bucket."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def add(self, other: "Times") -> None:
        """Count all times of another histogram."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def buckets(self) -> Sequence[tuple[str, float]]:
        """Return each bucket's end with the number of times up to it."""
        return list(zip(ENDS, accumulate(self.counts), strict=True))


@dataclass(slots=True)
class Sums:
    """What finished requests add up to: their number, their times, and their tokens."""

    requests: int = 0
    seconds: Times = field(default_factory=Times)
    first_token: Times = field(default_factory=Times)
    prompt: int = 0
    completion: int = 0

    def observe(self, interaction: Interaction) -> None:
        """Count one request."""
        self.requests += 1
        self.seconds.observe(interaction.latency_ms / 1000)
        if interaction.ttft_ms is not None:
            self.first_token.observe(interaction.ttft_ms / 1000)
        self.prompt += interaction.prompt_tokens or 0
        self.completion += interaction.completion_tokens or 0

    def add(self, other: "Sums") -> None:
        """Count all requests of another sum."""
        self.requests += other.requests
        self.seconds.add(other.seconds)
        self.first_token.add(other.first_token)
        self.prompt += other.prompt
        self.completion += other.completion


class RequestMetrics(Collector):
    """The sums of all versions that engines hold, as a collector of a Prometheus registry."""

    def __init__(self) -> None:
        self._sums: dict[Key, Sums] = {}

    def observe(self, interaction: Interaction) -> None:
        """Count one finished request."""
        key = (interaction.model, interaction.version, interaction.arm, interaction.status)
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = Sums()
        sums.observe(interaction)

    def keep_only(self, versions: Iterable[tuple[str, int]]) -> None:
        """Forget the sums of all other versions."""
        kept = set(versions)
        self._sums = {key: sums for key, sums in self._sums.items() if key[:2] in kept}

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """Return every metric with its samples."""
        requests = CounterMetricFamily(
            "loraloop_requests", "Requests that reached a version; 499: the client left.", labels=(*BY_ARM, "status")
        )
        seconds = HistogramMetricFamily("loraloop_request_seconds", "Time to the last byte.", labels=BY_ARM)
        first = HistogramMetricFamily("loraloop_first_token_seconds", "Time to a stream's first byte.", labels=BY_ARM)
        tokens = CounterMetricFamily("loraloop_tokens", "Tokens.", labels=(*BY_ARM, "kind"))
        by_arm: dict[tuple[str, int, Arm], Sums] = {}
        for (model, version, arm, status), sums in list(self._sums.items()):
            requests.add_metric((model, str(version), arm, str(status)), sums.requests)
            by_arm.setdefault((model, version, arm), Sums()).add(sums)
        for (model, version, arm), sums in by_arm.items():
            labels = (model, str(version), arm)
            seconds.add_metric(labels, sums.seconds.buckets(), sums.seconds.total)
            first.add_metric(labels, sums.first_token.buckets(), sums.first_token.total)
            tokens.add_metric((*labels, "prompt"), sums.prompt)
            tokens.add_metric((*labels, "completion"), sums.completion)
        yield from (requests, seconds, first, tokens)
