"""Fixtures of all tests: one tiny base model and one running stack per session, which is one per process."""

import functools
import gc
import os
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx._config import create_ssl_context
from hypothesis import settings

from tests.support.migrated_store import migrated_stores
from tools.live_stack import LiveStack
from tools.tiny_model import LABELS, make_base

WAVE = 500
NOISE = 300
# Requests per operation of an OpenAPI document; --schema-cases is another number.
SCHEMA_CASES = 15

# The same examples in every run, so that chance decides no test. HYPOTHESIS_PROFILE=search draws new ones.
# No example has a time limit: on a busy machine any of them may take longer than 200 ms, the default.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def _own_cores() -> set[int]:
    """This process's share of the cores, for itself and all that it starts; all if there are fewer than processes.

    An engine has a thread per core that spins while it waits: two engines on the same cores slow each other down.
    """
    cores = sorted(os.sched_getaffinity(0))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > len(cores):
        return set(cores)
    return set(cores[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) :: workers])


os.sched_setaffinity(0, _own_cores())

# A background job of a shell may ignore Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many requests the tests of the OpenAPI documents make of each operation."""
    parser.addoption(
        "--schema-cases", type=int, default=SCHEMA_CASES, help="Requests per operation of an OpenAPI document."
    )


@pytest.fixture(scope="session")
def schema_cases(pytestconfig: pytest.Config) -> int:
    """Requests per operation of an OpenAPI document."""
    return pytestconfig.getoption("--schema-cases")


def pytest_collection_finish() -> None:
    """Leave what the test modules have imported out of all later searches for garbage: it is in use to the end."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the end of the process free it: nanobind reports what it finds then as leaked."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _migrated_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New stores of this process are copies of one that its migrations made."""
    with migrated_stores(tmp_path_factory.mktemp("migrated")):
        yield


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """All clients with the usual certificates share them: to read the file takes 20 ms, and tests open many clients."""

    @functools.cache
    def usual(_file: str | None, _folder: str | None, trust_env: bool) -> ssl.SSLContext:
        return create_ssl_context(trust_env=trust_env)

    def context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert:
            return create_ssl_context(verify, cert, trust_env)
        return usual(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"), trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", context)
        yield


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny base model."""
    return make_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def running(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """A real engine, control, gateway and trainer. Tests share them and run in the order of the loop."""
    retrain = {
        "schedule": None,
        "min_labels": 40,
        "rank": 8,
        "epochs": 8,
        "min_steps": 1,
        "learning_rate": 0.005,
        "max_length": 64,
    }
    canary = {"share": 0.5, "first_look_users": 30, "planned_users": 100, "min_minutes": 0, "max_hours": 0.2}
    holdback = {"share": 0.3, "hours": 20 / 3600, "first_look_users": 30, "planned_users": 100}
    # Days must not pass between two runs here, and a tiny model never keeps to its labels as a real one does.
    gate = {"limits": {"window_hours": 0, "cooldown_hours": 0}, "guardrails": [{"kpi": "invalid_mass", "max": 0.9}]}
    common = {"labels": list(LABELS), "evaluation": {"bootstrap": 2000, "latency_items": 2}}
    stack = LiveStack(
        tmp_path_factory.mktemp("running"),
        {
            "base_model": str(tiny_base),
            "models": {
                "notes": common
                | {
                    "retrain": retrain | {"min_new_feedback": WAVE},
                    "promotion": gate | {"canary": canary, "holdback": holdback},
                },
                "noise": common
                | {
                    "split": {"train": 0.4, "dev": 0.1},
                    "retrain": retrain | {"min_new_feedback": NOISE},
                    "promotion": gate | {"canary": None},
                },
                "helped": common
                | {
                    "split": {"train": 0.4, "dev": 0.1},
                    "retrain": retrain | {"min_new_feedback": 1_000_000, "min_labels": 100_000, "fallback": "rag"},
                    "promotion": gate | {"canary": None, "holdback": None},
                },
                "replies": {
                    "task": "generate",
                    "split": {"train": 0.4, "dev": 0.04},
                    # One at a time, so that there is a middle in which it can be cut short.
                    "evaluation": {"bootstrap": 2000, "latency_items": 2, "max_tokens": 4, "concurrency": 1},
                    "retrain": retrain | {"min_new_feedback": 1_000_000},
                    "promotion": {
                        "limits": gate["limits"],
                        "canary": None,
                        "holdback": None,
                        "guardrails": [{"kpi": "kl_to_base", "max": 50}],
                    },
                },
                "plain": common | {"retrain": retrain | {"min_new_feedback": 1_000_000}},
            },
        },
    )
    try:
        stack.await_ready()
        yield stack
    finally:
        left = stack.stop()
        assert not left, f"processes {left} outlived loraloop up"
