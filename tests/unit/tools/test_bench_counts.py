"""Facts about the counts of bench.faults and bench.switch: what is lost, doubled or late shows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.client_load import Asked, ClientLoad, p95
from bench.faults import account
from bench.switch import Switched, late
from core.db.store import Store
from core.record_codec import encode
from core.records import Feedback, Interaction
from core.spool import frame
from feedback.ingest import ingest

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def asked(identity: str, user: str, status: int = 200) -> Interaction:
    return Interaction(
        identity,
        NOW,
        "m",
        0,
        "champion",
        0.0,
        None,
        user,
        None,
        "chat",
        None,
        "a",
        "stop",
        status,
        1.0,
        None,
        1,
        1,
        False,
    )


def vote(identity: str, mark: str) -> Feedback:
    return Feedback(identity, NOW, "c1", None, "thumbs", True, metadata={"mark": mark})


def users(**what: Any) -> ClientLoad:
    return ClientLoad("http://c", {}, "m", 1, 0.0, **what)


@pytest.mark.parametrize(
    ("records", "lost", "duplicated"),
    [
        ([asked("c1", "u0-1"), vote("f1", "v0-1-t"), vote("f2", "v0-1-r")], 0, 0),
        ([asked("c1", "u0-1"), vote("f1", "v0-1-t")], 1, 0),
        ([asked("c1", "u0-1", status=503), vote("f1", "v0-1-t"), vote("f2", "v0-1-r")], 1, 0),
        ([asked("c1", "u0-1"), asked("c2", "u0-1"), vote("f1", "v0-1-t"), vote("f2", "v0-1-r")], 0, 1),
        ([asked("c1", "u0-1"), vote("f1", "v0-1-t"), vote("f2", "v0-1-r"), vote("f3", "v0-1-r")], 0, 1),
    ],
)
def test_what_is_lost_or_stored_twice_is_counted(
    tmp_path: Path, records: list[Any], lost: int, duplicated: int
) -> None:
    store = Store(tmp_path / "s.duckdb")
    ingest(store, "g", 1, 0, b"".join(frame(encode(record)) for record in records))
    store.close()
    found = account(tmp_path / "s.duckdb", users(completions={"c1"}, feedback={"f1", "f2"}))
    assert (found["lost"], found["duplicated"], found["dead_letters"], found["ledger_ok"]) == (
        lost,
        duplicated,
        0,
        True,
    )


def test_only_an_old_version_more_than_a_second_after_the_switch_is_late() -> None:
    switches = [Switched(9.9, 10.0, 1, 5.0), Switched(20.0, 20.2, 0, 5.0)]
    seen = [
        Asked(began, began + 0.1, 200, version)
        for began, version in ((9.0, 0), (10.5, 0), (12.0, 1), (12.0, 0), (20.1, 0), (20.5, 1), (22.0, 1), (22.0, 0))
    ]
    seen.append(Asked(15.0, 15.1, 503, None))
    assert late(users(asked=seen), switches) == 2


def test_a_service_is_back_with_the_first_whole_answer_to_a_request_that_began_after_the_kill() -> None:
    seen = [Asked(1.0, 6.0, 200, 0), Asked(5.5, 7.0, 503, None), Asked(5.6, 9.0, 200, 0), Asked(6.0, 9.5, 200, 0)]
    assert users(asked=seen).good_after(5.0) == seen[2]
    assert users(asked=seen[:2]).good_after(5.0) is None


def test_p95_is_the_nearest_rank() -> None:
    assert p95([1.0]) == 1.0
    assert p95([float(n) for n in range(1, 21)]) == 19.0
