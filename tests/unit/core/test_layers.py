"""What a process imports before it serves: a control or gateway that was killed must be back soon."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "transformers", "vllm")


@pytest.mark.parametrize("module", ["ops.apps.control", "ops.apps.gateway", "ops.cli.app"])
def test_nothing_heavy_is_imported_at_the_start(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
