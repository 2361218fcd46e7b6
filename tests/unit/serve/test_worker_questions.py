"""Facts about what the workers of one gateway tell each other: metrics, state, and the first table of a new one."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from ops.apps.gateway_worker import combine, worker_name
from serve.routing.subscriber import RouteSubscriber
from serve.routing.table import ModelRoute, RoutingTable, Target
from serve.workers import metrics
from serve.workers.channel import WorkerChannel, WorkerFailed


def test_a_familys_samples_stay_together_with_the_name_of_their_worker() -> None:
    text = (
        '# HELP a_total Of {a} b.\n# TYPE a_total counter\na_total{x="{1} 2"} 3.0\n# HELP b B\n# TYPE b gauge\nb 1.0\n'
    )
    assert metrics.merge({"g": text, "g_2": text}) == (
        "# HELP a_total Of {a} b.\n# TYPE a_total counter\n"
        'a_total{worker="g",x="{1} 2"} 3.0\na_total{worker="g_2",x="{1} 2"} 3.0\n'
        "# HELP b B\n# TYPE b gauge\n"
        'b{worker="g"} 1.0\nb{worker="g_2"} 1.0\n'
        "# HELP loraloop_workers Workers of this gateway that answered.\n# TYPE loraloop_workers gauge\n"
        "loraloop_workers 2\n"
    )


def test_the_state_of_workers_is_what_is_true_of_all_and_sums() -> None:
    assert combine([{"up": True, "bytes": 2}, {"up": False, "bytes": 3}, {"up": True, "bytes": 0}]) == {
        "up": False,
        "bytes": 5,
    }
    assert [worker_name("g", number) for number in range(3)] == ["g", "g_2", "g_3"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short name, as the paths of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="ll-") as name:
        yield Path(name)


def test_workers_answer_each_other_and_one_that_does_not_run_gives_no_answer(folder: Path) -> None:
    async def well() -> bytes:
        return b"line\nline"

    async def badly() -> bytes:
        raise ValueError("no file")

    async def never() -> bytes:
        await asyncio.sleep(60)
        return b""

    async def run() -> None:
        channels = [WorkerChannel(folder, number, 3) for number in range(3)]
        (folder / "1.sock").touch()  # of a worker that was killed
        await channels[0].open({"state": well, "reload": badly, "flush": never})
        assert await channels[1].ask("state") == {0: b"line\nline", 2: None}
        failed = (await channels[2].ask("reload"))[0]
        assert isinstance(failed, WorkerFailed) and str(failed) == "no file"
        began = time.monotonic()
        late = (await channels[1].ask("flush", 0.05))[0]
        assert isinstance(late, WorkerFailed) and "did not answer" in str(late) and time.monotonic() - began < 30
        channels[0].close()
        await asyncio.sleep(0)
        assert await channels[1].ask("state") == {0: None, 2: None}

    asyncio.run(run())


def test_a_new_worker_begins_with_the_table_of_the_first_and_another_with_the_newer_one(tmp_path: Path) -> None:
    first, own = tmp_path / "g" / "routes.json", tmp_path / "g_2" / "routes.json"
    first.parent.mkdir()
    own.parent.mkdir()
    route = ModelRoute(Target(7, "reviews-7"), None, 0.0, "s")
    old, new = (RoutingTable({"http://e": names}, {"reviews": route}) for names in ((), ("reviews-7",)))
    first.write_text(old.to_json())

    def started() -> RoutingTable:
        made = RouteSubscriber(
            session=cast(Any, None), control_url="http://c", name="g_2", key="", cache=own, first_cache=first
        )
        made.load_cache()
        return made.table

    assert started() == old
    own.write_text(new.to_json())
    os.utime(first, (1e9, 1e9))
    assert started() == new
    os.utime(own, (1e8, 1e8))  # of a time when there were more workers
    assert started() == old
