"""The source of the installed vLLM, for tests that compare with it: importing vLLM takes half a minute."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def vllm_folder() -> Path:
    """The folder of the package. Skips the test if vLLM is not installed."""
    found = find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed")
    return Path(found.origin).parent
