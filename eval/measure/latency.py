"""Timing: how long each arm takes to answer, one request at a time.

It owns what a fair time is; it must not know what was answered.
"""

import secrets
import time
from collections.abc import Mapping, Sequence

import numpy as np

from core.errors import PromptRefused
from eval.engine_queries import Query, send_query
from eval.kpis.classification import Floats
from serve.engines.vllm_client import VllmClient


def times(client: VllmClient, asked: Mapping[str, Sequence[Sequence[Query]]]) -> dict[str, Floats]:
    """Milliseconds by arm, (n,), for n items of one or more questions each; the arms take turns at every item.

    The items were scored a moment ago, some arms' from kept answers: were their prompts still in the engine's
    prefix cache, the longest would cost least and the arm that was not asked anew most. A salt of this pass alone
    keeps them out, and leaves what the items share, their instruction, as warm as in service. An item that the engine
    refuses to any arm is timed for none.
    """
    salt = secrets.token_hex(16)
    found: dict[str, list[float]] = {arm: [] for arm in asked}
    for turn in zip(*asked.values(), strict=True):
        try:
            taken = [_taken(client, questions, salt) for questions in turn]
        except PromptRefused:
            continue
        for arm, one in zip(asked, taken, strict=True):
            found[arm].append(one)
    return {arm: np.array(values, dtype=np.float64) for arm, values in found.items()}


def _taken(client: VllmClient, questions: Sequence[Query], salt: str) -> float:
    started = time.perf_counter()
    for question in questions:
        send_query(client, question, salt)
    return (time.perf_counter() - started) * 1000
