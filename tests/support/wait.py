"""Waiting for a condition that another thread or process brings about."""

import time
from collections.abc import Callable
from typing import Any


def wait_until(
    condition: Callable[[], Any],
    seconds: float = 600,
    *,
    alive: Callable[[], bool] = lambda: True,
    log: Callable[[], str] = lambda: "",
) -> None:
    """Poll until `condition` is true.

    Raises AssertionError with the end of `log` after `seconds`, or as soon as `alive` is false.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"The condition did not come true within {seconds:g} s. {log()[-3000:]}"
        assert alive(), f"The process ended. {log()[-3000:]}"
        time.sleep(0.02)
