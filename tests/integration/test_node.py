"""Facts about the official OpenAI client for Node with the real gateway and the real engine, and about our types.

Needs node and npm, and the package index once; without them it is left out and says so.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.live_stack import LiveStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PACKAGE = "openai@6.49.0"  # the last that runs on Node 20
SCRIPT = Path(__file__).with_name("client.mjs")
COMPILER = "typescript@5.9.3"
TYPES = Path("docs/loraloop.d.ts")
USE = Path(__file__).with_name("types.ts")
AGAIN = "To run it: install Node 20 or later with npm, reach an npm registry, then: make test-clients"


def installed(made: Path, package: str) -> Path:
    """The folder, with a package of npm installed."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip(f"left out: node or npm is not installed. {AGAIN}")
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(made), package]
    done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"left out: npm could not install {package}: {done.stderr[-200:].strip()}. {AGAIN}")
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client installed."""
    made = installed(tmp_path_factory.mktemp("node"), PACKAGE)
    shutil.copy(SCRIPT, made)
    return made


@pytest.fixture(scope="module")
def found(folder: Path, running: LiveStack) -> dict[str, Any]:
    """What the client was answered."""
    command = ["node", SCRIPT.name, f"{running.gateway}/v1", "plain", running.keys["app"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_chats_and_completions_are_answered(found: dict[str, Any]):
    assert found["chat"]["choices"][0]["message"]["content"]
    assert found["chat"]["usage"]["completion_tokens"] == 8
    assert found["completion"]["choices"][0]["text"]
    assert found["chat"]["id"].startswith("chatcmpl-")


def test_the_request_id_in_the_header_is_the_answers_id(found: dict[str, Any]):
    # The client keeps the header in a property that is not enumerable.
    assert found["request"] == found["chat"]["id"]


def test_streams_hold_what_whole_answers_do(found: dict[str, Any]):
    assert found["streamed"] == found["chat"]["choices"][0]["message"]["content"]
    assert found["completed"] == found["completion"]["choices"][0]["text"]
    assert found["usage"]["completion_tokens"] == 8


def test_models_are_listed_and_feedback_is_taken(found: dict[str, Any]):
    assert "plain" in found["models"]
    assert found["feedback"]["feedback_id"].startswith("fb-")


def test_refusals_are_the_clients_own_classes(found: dict[str, Any]):
    assert (found["unknown"]["class"], found["unknown"]["status"]) == ("NotFoundError", 404)
    assert "See GET /v1/models" in found["unknown"]["message"]
    assert found["unreadable"]["class"] == "UnprocessableEntityError"
    assert found["refused"]["class"] == "BadRequestError"


def test_the_types_of_both_apis_are_typescript_and_refuse_wrong_requests(tmp_path: Path):
    made = installed(tmp_path, COMPILER)
    for file in (TYPES, USE):
        shutil.copy(file, made)
    compiler = made / "node_modules" / "typescript" / "bin" / "tsc"
    command = ["node", str(compiler), "--noEmit", "--strict", "--exactOptionalPropertyTypes", USE.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=made)
    assert done.returncode == 0, done.stdout
