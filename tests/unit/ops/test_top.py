"""Facts about the live view: its numbers by hand, its picture on a terminal, what it says of parts that are down."""

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI, Response
from rich.console import Console
from typer.testing import CliRunner

from core.records import Interaction
from ops.cli.app import app
from ops.cli.top import draw
from ops.top import Counts, Sample, count, percentile, summarize
from serve.engines.fake import running
from serve.gateway.metrics import Metrics
from tests.support.wait import wait_until
from tools.live_stack import free_ports

MODEL = {"model": "reviews", "champion": 7, "canary": 8, "share": 0.1, "new_feedback": 12, "run": None, "since": None}
RUN = {
    "id": "run-1",
    "model": "reviews",
    "state": "training",
    "started": "2026-03-01T03:00:00+00:00",
    "reason": None,
    "progress": {"phase": "training", "done": 3, "total": 9, "text": "training 3 of 9"},
}
ENGINE = {"url": "http://e", "ready": False, "missing": ["reviews-8"], "error": "no [red]memory[/]"}


def served(metrics: Metrics, version: int, times: int, *, ms: float = 60.0, status: int = 200) -> None:
    for _ in range(times):
        metrics.requests.observe(
            Interaction(
                "i",
                None,
                "reviews",
                version,
                "champion",
                0,
                None,
                None,
                None,
                "chat",
                None,
                None,  # type: ignore[arg-type]
                None,
                status,
                ms,
                None,
                None,
                None,
                False,
            )
        )


def text_of(metrics: Metrics) -> str:
    from prometheus_client import generate_latest

    return generate_latest(metrics.registry).decode()


def look(at: float, counts: Counts, **changes: Any) -> Sample:
    common: dict[str, Any] = {"models": [MODEL], "runs": [RUN], "engines": [ENGINE], "down": []}
    return Sample(at, counts=counts, **common | changes)


def test_rates_and_shares_are_of_the_time_between_two_looks():
    metrics = Metrics()
    served(metrics, 7, 100, ms=5)
    before = look(10.0, count([text_of(metrics)]))
    served(metrics, 7, 18, ms=60)
    served(metrics, 8, 2, ms=700, status=502)
    metrics.feedback.labels("thumbs").inc(4)
    seen = summarize(look(12.0, count([text_of(metrics)])), before)
    champion, canary = seen["models"][0]["versions"]
    assert (champion["role"], champion["per_second"], champion["share"]) == ("champion", 9.0, 0.9)
    assert (canary["role"], canary["per_second"], canary["errors"]) == ("canary", 1.0, 2)
    assert 50 < champion["p95_ms"] <= 100 and 500 < canary["p95_ms"] <= 1000
    assert seen["feedback"]["thumbs"] == {"count": 4, "per_second": 2.0}


def test_gateways_are_added_up():
    metrics = Metrics()
    served(metrics, 7, 3)
    assert count([text_of(metrics)] * 2).requests["reviews", "7"] == 6


def test_a_gateway_that_was_restarted_has_no_rate():
    many, few = Metrics(), Metrics()
    served(many, 7, 9)
    served(few, 7, 1)
    seen = summarize(look(2.0, count([text_of(few)])), look(1.0, count([text_of(many)])))
    assert seen["models"][0]["versions"][0]["per_second"] is None


@pytest.mark.parametrize(
    ("buckets", "seconds"),
    [
        ({}, None),
        ({0.1: 0, float("inf"): 0}, None),
        ({0.1: 100, float("inf"): 100}, 0.095),
        ({0.1: 0, 0.2: 100, float("inf"): 100}, 0.195),
        ({0.1: 10, float("inf"): 100}, 0.1),
    ],
)
def test_a_percentile_is_interpolated_within_its_bucket(buckets: dict[float, int], seconds: float | None):
    assert percentile(buckets) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("width", [20, 80, 200])
def test_the_picture_fits_any_width_and_takes_no_markup(width: int):
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(draw(summarize(look(1.0, Counts(), down=["control is gone"]), None)))
    console.file.close()
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "DOWN: control is" in text
    if width == 200:
        assert (
            "NOT READY" in text
            and "no [red]memory[/]" in text
            and "training 3 of 9" in text
            and "canary v8 with 10%" in text
        )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    control, gateway = free_ports(2)
    file = tmp_path / "loraloop.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "models": {"reviews": {"labels": ["a", "b"]}},
                "control": {"listen": f"127.0.0.1:{control}"},
                "gateway": {"listen": f"127.0.0.1:{gateway}"},
            }
        )
    )
    return file


def test_with_everything_down_it_says_so_and_fails(config: Path):
    done = CliRunner().invoke(app, ["top", "--once", "--config", str(config)])
    assert done.exit_code == 1 and done.stderr.count("does not answer; start it with: loraloop up") == 2
    done = CliRunner().invoke(app, ["top", "--json", "--config", str(config)])
    assert done.exit_code == 1 and len(json.loads(done.stdout)["down"]) == 2


def test_with_control_down_the_gateway_is_shown_anyway(config: Path):
    metrics, api = Metrics(), FastAPI()
    metrics.feedback.labels("thumbs").inc(5)
    api.get("/metrics")(lambda: Response(text_of(metrics)))
    port = int(yaml.safe_load(config.read_text())["gateway"]["listen"].rpartition(":")[2])
    with running(api, port):
        seen = json.loads(CliRunner().invoke(app, ["top", "--json", "--config", str(config)]).stdout)
    assert seen["feedback"]["thumbs"]["count"] == 5 and len(seen["down"]) == 1


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_on_a_terminal_a_key_ends_it_and_the_terminal_is_as_before(config: Path, key: bytes):
    import termios

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.app", "top", "--config", str(config)],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "90", "LINES": "30"},
        preexec_fn=lambda: (os.setsid(), __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0)),  # noqa: PLW1509  nothing else runs
    )
    shown = bytearray()

    def read() -> None:  # to the end, as a terminal does: a process waits for one that is full
        with contextlib.suppress(OSError):
            while True:
                shown.extend(os.read(ours, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: b"DOWN" in shown, alive=lambda: process.poll() is None)
    os.write(ours, key)
    _, said = process.communicate()
    assert (process.returncode, said) == (0, b"")
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    reader.join()
    os.close(ours)


def test_off_a_terminal_it_says_what_to_use(config: Path):
    done = CliRunner().invoke(app, ["top", "--config", str(config)])
    assert "--once" in str(done.exception)
