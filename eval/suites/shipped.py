"""The suites that come with LoraLoop, by name.

It owns the list alone; each suite is built when it is asked for, the same every time.
"""

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
def suite(name: str) -> Suite:
    """A shipped suite. Raises InputError with the names there are."""
    if name not in BUILDERS:
        raise InputError(f"There is no suite {name!r}.", hint=f"Shipped: {', '.join(BUILDERS)}; or name a folder.")
    return BUILDERS[name]()
