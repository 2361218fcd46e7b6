"""Waiting for a condition that another thread or process brings about."""

import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], Any], seconds: float = 120, what: str = "the condition") -> None:
    """Poll until `condition` is true. Raises AssertionError after `seconds`, naming what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds:g} s"
        time.sleep(0.05)
