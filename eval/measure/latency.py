"""Measure how long each arm takes to answer, one request at a time."""

import secrets
import time
from collections.abc import Mapping, Sequence

import numpy as np

from core.errors import PromptRefused
from eval.engine_queries import Query, send_query
from eval.kpis.arrays import Floats
from serve.engines.control_client import VllmClient


def measure_latency(client: VllmClient, queries: Mapping[str, Sequence[Sequence[Query]]]) -> dict[str, Floats]:
    """Milliseconds by arm, (n,), for n items of one or more queries each. The arms take turns at every item.

    The items were scored shortly before, for some arms from cached replies. With their prompts still in the engine's
    prefix cache, the longest prompt would seem cheapest. The salt of this pass keeps them out of that cache. What the
    items share, such as their instruction, is cached as in service. An item that the engine refuses for one arm is
    not timed for any.
    """
    salt = secrets.token_hex(16)
    times: dict[str, list[float]] = {arm: [] for arm in queries}
    for by_arm in zip(*queries.values(), strict=True):
        try:
            taken = [_milliseconds(client, item_queries, salt) for item_queries in by_arm]
        except PromptRefused:
            continue
        for arm, milliseconds in zip(queries, taken, strict=True):
            times[arm].append(milliseconds)
    return {arm: np.array(values, dtype=np.float64) for arm, values in times.items()}


def _milliseconds(client: VllmClient, queries: Sequence[Query], salt: str) -> float:
    started = time.perf_counter()
    for query in queries:
        send_query(client, query, salt)
    return (time.perf_counter() - started) * 1000
