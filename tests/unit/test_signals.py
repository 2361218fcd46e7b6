"""Facts about what control counts for Prometheus."""

from types import SimpleNamespace
from typing import Any

from core.spool import frame
from core.store import Store
from core.wire import encode
from feedback.ingest import ingest
from ops import signals
from tests.unit.test_feedback_ingest import asked, said


def test_feedback_is_counted_by_version_arm_and_type_of_the_newest_versions_alone() -> None:
    store = Store(":memory:")
    records = [asked(f"i{n}", version=n, arm="canary" if n == 6 else "champion") for n in range(7)]
    votes = [said(f"f{n}", f"i{n}") for n in range(7)] + [said("g6", "i6", "a", "label"), said("lost", "i9")]
    ingest(store, "g", 1, 0, b"".join(frame(encode(record)) for record in [*records, *votes]))
    control: Any = SimpleNamespace(store=store, engines=SimpleNamespace(states=[]))
    page = signals.scrape(control).decode().splitlines()
    found = [line for line in page if line.startswith("loraloop_feedback_taken_in{")]
    assert sorted(found) == sorted(
        [f'loraloop_feedback_taken_in{{arm="champion",model="m",type="thumbs",version="{n}"}} 1.0' for n in range(2, 6)]
        + [f'loraloop_feedback_taken_in{{arm="canary",model="m",type="{t}",version="6"}} 1.0'
           for t in ("thumbs", "label")]
    )  # fmt: skip
    assert "loraloop_feedback_orphans 1.0" in page
    store.close()
