"""Facts about `/ready` of the gateway: it is true only while an engine answers."""

from dataclasses import replace
from typing import Any

from tests.support.gateway import CLOSED


def is_ready(gateway: Any) -> bool:
    answer = gateway.http.get("/ready")
    assert (answer.status_code == 200) is answer.json()["ready"] is answer.json()["engines_answer"]
    return answer.json()["ready"]


def test_a_gateway_is_ready_while_an_engine_of_its_table_answers(gateway: Any) -> None:
    gateway.open(gateway.engine_url, CLOSED)
    gateway.until(lambda: is_ready(gateway))
    gateway.engine.fault = "down"
    gateway.until(lambda: not is_ready(gateway))
    vote = {"interaction_id": "i", "type": "thumbs", "value": True}
    assert gateway.http.post("/v1/feedback", json=vote).status_code == 202
    gateway.engine.fault = ""
    gateway.until(lambda: is_ready(gateway))


def test_a_gateway_whose_engines_are_gone_is_not_ready_and_says_503(gateway: Any) -> None:
    gateway.open(CLOSED)
    assert not is_ready(gateway)
    gateway.until(lambda: gateway.app.state.probe._well == {CLOSED: False})
    assert not is_ready(gateway) and gateway.post().status_code == 503


def test_a_gateway_is_not_ready_before_control_has_checked_an_engine(gateway: Any) -> None:
    gateway.open()
    tables = gateway.app.state.tables
    checked = tables.table
    tables._table = replace(checked, engines={gateway.engine_url: ()})
    gateway.until(lambda: not is_ready(gateway))
    assert gateway.post().status_code == 503
    tables._table = checked
    gateway.until(lambda: is_ready(gateway))
    assert gateway.post().status_code == 200


def test_an_engine_that_a_probe_reaches_gets_requests_at_once(gateway: Any) -> None:
    gateway.open()
    gateway.until(lambda: is_ready(gateway))
    pool = gateway.app.completions.upstream
    state = pool.states[gateway.engine_url]
    state.probed(pool.clock() + 3600, well=False)  # alone for an hour
    gateway.until(lambda: state.failures == 0)
    assert is_ready(gateway) and gateway.post().status_code == 200
