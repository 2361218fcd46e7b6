"""The gateway's own sums give Prometheus what its own counters and histograms would give."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serve.gateway.request_metrics import BUCKETS, BY_ARM, RequestMetrics
from tests.support.ingest import asked

MILLISECONDS = st.sampled_from([end * 1000 for end in BUCKETS]) | st.floats(0, 100_000)
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "version": st.integers(0, 2),
            "arm": st.sampled_from(["champion", "canary"]),
            "status": st.sampled_from([200, 500]),
            "latency_ms": MILLISECONDS,
            "ttft_ms": st.none() | MILLISECONDS,
            "prompt_tokens": st.none() | st.integers(0, 9),
            "completion_tokens": st.none() | st.integers(0, 9),
        }
    ),
    max_size=20,
)


def values(registry: CollectorRegistry) -> dict[Any, Any]:
    """Every value above 0 as Prometheus reads it, by name and labels."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [each for family in families for each in family.samples if not each.name.endswith("_created")]
    return {(each.name, *sorted(each.labels.items())): pytest.approx(each.value) for each in samples if each.value}


@given(REQUESTS)
def test_sums_are_those_of_prometheus_own_metrics(requests: list[dict[str, Any]]) -> None:
    ours, theirs = RequestMetrics(), CollectorRegistry()
    counted = Counter("loraloop_requests", "-", (*BY_ARM, "status"), registry=theirs)
    seconds = Histogram("loraloop_request_seconds", "-", BY_ARM, buckets=BUCKETS, registry=theirs)
    first = Histogram("loraloop_first_token_seconds", "-", BY_ARM, buckets=BUCKETS, registry=theirs)
    tokens = Counter("loraloop_tokens", "-", (*BY_ARM, "kind"), registry=theirs)
    for request in requests:
        ours.observe(asked("i", model="reviews", **request))
        labels = ("reviews", str(request["version"]), request["arm"])
        counted.labels(*labels, str(request["status"])).inc()
        seconds.labels(*labels).observe(request["latency_ms"] / 1000)
        if request["ttft_ms"] is not None:
            first.labels(*labels).observe(request["ttft_ms"] / 1000)
        tokens.labels(*labels, "prompt").inc(request["prompt_tokens"] or 0)
        tokens.labels(*labels, "completion").inc(request["completion_tokens"] or 0)
    registry = CollectorRegistry()
    registry.register(ours)
    assert values(registry) == values(theirs)
