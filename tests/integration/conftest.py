"""Fixtures of the integration tests: the official client with the running gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tools.live_stack import LiveStack
from tools.tiny_model import no_blanks


@pytest.fixture(scope="module")
def client(running: LiveStack) -> Iterator[openai.OpenAI]:
    base_url = f"{running.gateway}/v1"
    with openai.OpenAI(base_url=base_url, api_key=running.keys["app"], max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
def grammar_options(tiny_base: Path) -> dict[str, Any]:
    """For answers that follow a grammar, which ends them."""
    return {"extra_body": None, "max_tokens": 120, "logit_bias": no_blanks(tiny_base)}
