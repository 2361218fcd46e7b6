"""Facts about the compiled loop: it is compiled once, or by each process where nothing can be stored."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("vllm")

import numba
from numba import types

from serve.cpu_lora.kernel import add_rows, compiled

HITS = "from serve.cpu_lora.kernel import add_rows; print(sum(add_rows.stats.cache_hits.values()))"


def test_the_next_process_loads_what_the_first_one_compiled() -> None:
    assert len(add_rows.signatures) == 2  # compiled in this process at the latest
    said = subprocess.run([sys.executable, "-c", HITS], capture_output=True, text=True, check=True)
    assert int(said.stdout) == 2


def double(number: float) -> float:
    return 2 * number


@pytest.mark.parametrize("kind", [RuntimeError, OSError])
def test_a_place_where_nothing_can_be_stored_does_not_keep_it_from_being_compiled(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **options: Any) -> Callable[[Any], Any]:
        if options.get("cache"):
            raise kind("no locator available")
        return numba.njit(*_, **options)

    monkeypatch.setattr("serve.cpu_lora.kernel.njit", full)
    made = compiled(double, [types.float64(types.float64)])
    assert made(2.5) == 5.0 and len(made.signatures) == 1
