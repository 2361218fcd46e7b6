"""Start the systems that are measured: the stub upstreams, the gateway as in production, and its peers.

Every process ends with its `with` block.
"""

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import yaml

from bench.load import Client
from bench.processes import free_port
from bench.stub_upstream import write_nginx
from core.errors import LoraLoopError
from core.model_folder import prepare
from core.settings import EngineSettings
from serve.engines.process import EngineProcess, last_error, stop_group
from serve.routing.table import ModelRoute, RoutingTable, Target

CLIENT = Client(key="sk-bench-on-loopback-alone", model="reviews")
INTERNAL_KEY = "bench-internal-key"
CHAMPION, CANARY = 7, 8
NAME = "bench"
ENGINE_NAMES = ("reviews-7", "reviews-8")
PEERS = Path(__file__).with_name("peers")
SERVED = rf'^loraloop_requests_total{{arm="\w+",model="{CLIENT.model}",status="200",version="%d"}} (\S+)'
START_SECONDS = 90
STOP_SECONDS = 5
Started = AbstractContextManager[str]


class StartFailed(LoraLoopError):
    """A process that is to be measured did not come up."""


@contextmanager
def started(command: Sequence[str], port: int, log: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """A process that answers a chat completion on `port`, as its URL. Raises StartFailed with its log's last error."""
    with running(command, port, log, environment) as (url, _):
        yield url


@contextmanager
def running(
    command: Sequence[str], port: int, log: Path, environment: dict[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """The same, as its URL and the process's id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await_answer(url, lambda: process.poll() is None, log)
        yield url, process.pid
    finally:
        stop_group(process, STOP_SECONDS)


def await_answer(url: str, alive: Callable[[], bool], log: Path) -> None:
    """Waits until a real request is answered, for which a port that listens is not enough."""
    deadline, said = time.monotonic() + START_SECONDS, "it took no connection"
    while alive() and time.monotonic() < deadline:
        try:
            status = CLIENT.ask(url)
        except (OSError, http.client.HTTPException):
            pass
        else:
            if status == 200:
                return
            said = f"it answered {status}"
        time.sleep(0.2)
    raise StartFailed(f"{Path(log).stem} did not come up ({said}): {last_error(log)}")


def nginx(folder: Path) -> Started:
    """The canned upstream of whole answers."""
    port = free_port()
    return started(write_nginx(folder, port), port, folder / "nginx.log")


def streams(folder: Path) -> Started:
    """The canned upstream of streams."""
    port = free_port()
    return started([sys.executable, "-m", "bench.stub_upstream", str(port)], port, folder / "streams.log")


def routing_table(upstream: str, engine_names: tuple[str, str]) -> RoutingTable:
    """One model whose users are split in two halves, between a champion and a canary."""
    champion, canary = (Target(version, name) for version, name in zip((CHAMPION, CANARY), engine_names, strict=True))
    return RoutingTable({upstream: engine_names}, {CLIENT.model: ModelRoute(champion, canary, 0.5, "bench")})


@contextmanager
def ours(upstream: str, folder: Path, engine_names: tuple[str, str] = ENGINE_NAMES) -> Iterator[str]:
    """`loraloop gateway` with everything on: key, sticky split, capture to a spool on disk, metrics."""
    with our_process(upstream, folder, engine_names) as (url, _):
        yield url


def our_process(
    upstream: str, folder: Path, engine_names: tuple[str, str] = ENGINE_NAMES, *, workers: int = 1
) -> AbstractContextManager[tuple[str, int]]:
    """The same, as its URL and the id of its process, with this number of workers.

    It takes its table from its cache, as after a restart while control is down; control stays down, so that
    all that it captures stays in the folder.
    """
    port = free_port()
    own = folder / "gateways" / NAME
    own.mkdir(parents=True)
    (own / "routes.json").write_text(routing_table(upstream, engine_names).to_json(), encoding="utf-8")
    config = folder / "loraloop.yaml"
    content = {
        "data": str(folder),
        "gateway": {"listen": f"127.0.0.1:{port}", "name": NAME, "workers": workers},
        "control": {"listen": f"127.0.0.1:{free_port()}"},
        "models": {CLIENT.model: {"labels": ["negative", "neutral", "positive"]}},
    }
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    command = [sys.executable, "-m", "ops.cli.app", "gateway", "--config", str(config)]
    keys = {"LORALOOP_APP_KEY": CLIENT.key, "LORALOOP_INTERNAL_KEY": INTERNAL_KEY}
    return running(command, port, folder / "gateway.log", keys)


def check_ours(url: str) -> str:
    """What the gateway itself counted, as one line. Raises StartFailed if a part of it was not at work."""
    asked = Request(f"{url}/metrics", headers={"Authorization": f"Bearer {INTERNAL_KEY}"})
    with urlopen(asked, timeout=30) as answer:
        metrics = answer.read().decode()
    served = {
        version: int(float(found[1])) if (found := re.search(SERVED % version, metrics, re.MULTILINE)) else 0
        for version in (CHAMPION, CANARY)
    }
    dropped = re.search(r"^loraloop_interactions_dropped (\S+)", metrics, re.MULTILINE)
    unshipped = re.search(r"^loraloop_spool_unshipped_bytes (\S+)", metrics, re.MULTILINE)
    if not all(served.values()) or not dropped or float(dropped[1]) or not unshipped or not float(unshipped[1]):
        raise StartFailed("The gateway did not split or did not record what it served.", hint=f"It counts {served}.")
    size = float(unshipped[1]) / sum(served.values())
    return f"champion {served[CHAMPION]}, canary {served[CANARY]}, {size:.0f} bytes recorded a request, none dropped"


def bare(upstream: str, folder: Path) -> Started:
    """FastAPI and aiohttp with nothing on, in our own environment and so at our versions."""
    port = free_port()
    return started([sys.executable, "-m", "bench.peers.bare", upstream, str(port)], port, folder / "bare.log")


def litellm(upstream: str, folder: Path, binaries: Path) -> Started:
    """LiteLLM's proxy, one worker, logging off; it does not start without a key."""
    port = free_port()
    command = [
        *_peer(binaries, "litellm"),
        "--config",
        str(PEERS / "litellm.yaml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    quiet = {
        "BENCH_UPSTREAM": f"{upstream}/v1",
        "LITELLM_MASTER_KEY": CLIENT.key,
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    return started(command, port, folder / "litellm.log", quiet)


def vllm_router(upstream: str, folder: Path, binaries: Path) -> Started:
    """vLLM's router before its only worker, logging off."""
    port = free_port()
    command = [
        *_peer(binaries, "vllm-router"),
        "--worker-urls",
        upstream,
        "--policy",
        "round_robin",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--prometheus-port",
        str(free_port()),
        "--log-level",
        "error",
    ]
    return started(command, port, folder / "vllm-router.log")


def _peer(binaries: Path, name: str) -> list[str]:
    program = binaries / name
    if not program.is_file():
        raise StartFailed(f"There is no {program}.", hint="Make the peers' environment with: make bench-gateway")
    return [str(program)]


@contextmanager
def engine(folder: Path) -> Iterator[tuple[str, str]]:
    """The real vLLM with the packaged base model: its URL and the model's name."""
    base = prepare("smollm2-135m-instruct", lambda _: None)
    settings = EngineSettings(listen=f"127.0.0.1:{free_port()}")
    process = EngineProcess(settings, base.path, base.name, folder / "engine.log")
    try:
        process.wait_ready()
        yield process.url, base.name
    finally:
        process.stop()
