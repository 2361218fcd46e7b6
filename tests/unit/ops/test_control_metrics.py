"""Facts about what control counts for Prometheus."""

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from core.db import runs
from core.db.store import Store
from core.record_codec import encode
from core.spool import frame
from feedback.ingest import ingest
from ops.apps import control_metrics
from rollout.promotion import RouteManager
from serve.engines.fake import FakeEngines
from serve.routing.publisher import RoutePublisher
from tests.support.ingest import NOW, asked, said

NO_ALARMS: Any = SimpleNamespace(counts=list, checked=None)


def test_feedback_is_counted_by_version_arm_and_type_of_the_newest_versions_alone() -> None:
    store = Store(":memory:")
    records = [asked(f"i{n}", version=n, arm="canary" if n == 6 else "champion") for n in range(7)]
    votes = [said(f"f{n}", f"i{n}") for n in range(7)] + [said("g6", "i6", "a", "label"), said("lost", "i9")]
    ingest(store, "g", 1, 0, b"".join(frame(encode(record)) for record in [*records, *votes]))
    control: Any = SimpleNamespace(store=store, engines=SimpleNamespace(states=[]))
    page = control_metrics.scrape(control, NO_ALARMS).decode().splitlines()
    found = [line for line in page if line.startswith("loraloop_feedback_taken_in{")]
    assert sorted(found) == sorted(
        [f'loraloop_feedback_taken_in{{arm="champion",model="m",type="thumbs",version="{n}"}} 1.0' for n in range(2, 6)]
        + [
            f'loraloop_feedback_taken_in{{arm="canary",model="m",type="{t}",version="6"}} 1.0'
            for t in ("thumbs", "label")
        ]
    )
    assert "loraloop_feedback_orphans 1.0" in page
    late = b"".join(frame(encode(record)) for record in [asked("i9", version=9, arm="holdback")])
    ingest(store, "g", 2, 0, late)
    page = control_metrics.scrape(control, NO_ALARMS).decode().splitlines()
    assert 'loraloop_feedback_taken_in{arm="holdback",model="m",type="thumbs",version="9"} 1.0' in page
    assert "loraloop_feedback_orphans 0.0" in page
    store.close()


def test_a_models_route_and_its_newest_training_are_in_the_metrics() -> None:
    store = Store(":memory:")
    promotion = RouteManager(
        store=store, board=RoutePublisher(), engines=FakeEngines(), base_name="base", clock=lambda: NOW
    )
    promotion.sync_models(["m"])
    shares = (f'loraloop_{name}{{model="m"}} ' for name in ("canary_share", "holdback_share", "champion_version"))
    control: Any = SimpleNamespace(store=store, engines=SimpleNamespace(states=[]))
    page = control_metrics.scrape(control, NO_ALARMS).decode().splitlines()
    assert all(f"{name}0.0" in page for name in shares) and "loraloop_training_seconds{" not in "".join(page)
    for number, seconds in enumerate((40.0, 70.5)):
        run, time = f"run-{number}", NOW + timedelta(days=number)
        runs.add(store, id=run, model="m", trigger="t", state="done", started=time, feedback_until=time)
        for step in (1, 2):
            runs.add_metric(
                store,
                run_id=run,
                time=time,
                phase="training",
                done=step,
                total=2,
                metrics=json.dumps({"seconds": seconds * step / 2}),
            )
        runs.add_metric(store, run_id=run, time=time, phase="evaluation", done=1, total=1, metrics="{}")
    assert (
        'loraloop_training_seconds{model="m"} 70.5' in control_metrics.scrape(control, NO_ALARMS).decode().splitlines()
    )
    later = NOW + timedelta(days=10)

    def skip(name: str) -> None:
        runs.add(store, id=name, model="m", trigger="t", state="done", started=later, feedback_until=later)

    for number in range(19):
        skip(f"skipped-{number}")
    assert b'loraloop_training_seconds{model="m"} 70.5' in control_metrics.scrape(control, NO_ALARMS)
    skip("skipped-19")
    assert b'loraloop_training_seconds{model="m"}' not in control_metrics.scrape(control, NO_ALARMS)
    store.close()
