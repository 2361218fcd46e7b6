"""Waiting for a condition that another thread or process brings about."""

import time
from collections.abc import Callable
from typing import Any

# For a wait that would never end; on a busy machine all others end within this.
PATIENCE_SECONDS = 600


def wait_until(
    condition: Callable[[], Any],
    seconds: float = PATIENCE_SECONDS,
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
