"""Facts about the gateway's metrics."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.routing.table import ModelRoute, Target
from tests.support.gateway import CLOSED


def sample(gateway: Any, name: str, **labels: str) -> float:
    """A metric's value as Prometheus reads it; 0 if it is not there."""
    families = text_string_to_metric_families(gateway.http.get("/metrics").text)
    samples = (each for family in families for each in family.samples)
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def test_requests_tokens_and_times_are_counted_by_version_and_arm(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORALOOP_OPS_KEY", "ops")
    gateway.open(access="keys").http.headers["Authorization"] = "Bearer ops"
    gateway.post()
    gateway.events()
    gateway.post(model="reviews@7")
    gateway.engine.fault = "error"
    gateway.post()
    seven = {"model": "reviews", "version": "7"}
    champion = seven | {"arm": "champion"}
    assert sample(gateway, "loraloop_requests_total", **champion, status="200") == 2
    assert sample(gateway, "loraloop_requests_total", **champion, status="500") == 1
    assert sample(gateway, "loraloop_requests_total", **seven, arm="pinned", status="200") == 1
    assert sample(gateway, "loraloop_tokens_total", **champion, kind="prompt") == 4
    assert sample(gateway, "loraloop_tokens_total", **champion, kind="completion") == 8
    assert sample(gateway, "loraloop_request_seconds_count", **champion) == 3
    assert sample(gateway, "loraloop_first_token_seconds_count", **champion) == 1
    assert sample(gateway, "loraloop_first_token_seconds_sum", **champion) > 0


def test_what_is_refused_before_a_version_is_chosen_is_counted_by_status_alone(gateway: Any) -> None:
    gateway.open(CLOSED)
    for number in range(3):
        gateway.post(model=f"m-{number}")
    gateway.post()  # no engine answers: this one had a version
    assert sample(gateway, "loraloop_refused_total") == sample(gateway, "loraloop_refused_total", status="404") == 3
    assert sample(gateway, "loraloop_requests_total", model="reviews", status="503") == 1
    assert "m-1" not in gateway.http.get("/metrics").text


def test_the_series_of_a_version_end_when_no_engine_holds_it_any_more(gateway: Any) -> None:
    gateway.open().post()
    gateway.engine.fault = "error"
    gateway.post()
    gateway.engine.fault = ""
    assert sample(gateway, "loraloop_requests_total", version="7") == 2
    tables = gateway.app.state.tables
    tables._table = replace(tables.table, models={"reviews": ModelRoute(Target(8, "reviews-8"), None, 0.0, "s")})
    gateway.engine.adapters = {"reviews-8": "/y"}
    page = gateway.http.get("/metrics").text
    assert not [line for line in page.splitlines() if 'version="7"' in line and "in_flight" not in line]
    tables._table = replace(tables.table, engines={gateway.engine_url: ("base", "reviews-8")})
    assert gateway.post().status_code == 200 and sample(gateway, "loraloop_requests_total", version="8") == 1
