"""What a process imports before it serves, and what may import what where import-linter cannot see it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

HEAVY = ("torch", "sklearn", "transformers", "vllm")


@pytest.mark.parametrize("module", ["ops.apps.control", "ops.apps.gateway", "ops.cli.app"])
def test_nothing_heavy_is_imported_at_the_start(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "folder", ["core", "serve", "feedback", "eval", "rollout", "retrain", "ops", "demo", "tools", "bench"]
)
def test_nothing_imports_the_tests(folder: str) -> None:
    found = subprocess.run(["git", "grep", "-lE", "(from|import) tests", "--", f"{folder}/*.py"], cwd=ROOT, check=False)
    assert found.returncode == 1
