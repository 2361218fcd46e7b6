"""The suites that LoraLoop ships, by name. Each is built on first use, with the same items every time."""

from collections.abc import Callable
from functools import cache

from core.errors import InputError
from eval.suites import consistency, format, hallucination, length, over_refusal, refusal, sycophancy
from eval.suites.suite import Suite

BUILDERS: dict[str, Callable[[], Suite]] = {
    "hallucination": hallucination.build,
    "consistency": consistency.build,
    "refusal": refusal.build,
    "over_refusal": over_refusal.build,
    "sycophancy": sycophancy.build,
    "format": format.build,
    "length": length.build,
}


@cache
def shipped_suite(name: str) -> Suite:
    """Return a shipped suite. Raises InputError with the known names."""
    if name not in BUILDERS:
        raise InputError(f"There is no suite {name!r}.", hint=f"Shipped: {', '.join(BUILDERS)}; or name a folder.")
    return BUILDERS[name]()
