"""Facts about the gateway's OpenAPI document, checked by schemathesis with the real gateway and engine.

Requests are made from the document, right and wrong ones; no answer may be a server error or one that the
document does not tell of.
"""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tools.live_stack import LiveStack

pytestmark = pytest.mark.integration

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
HOOKS = Path(__file__).with_name("schema_hooks.py")
CONFIG = """
hooks = "HOOKS"
parameters = { "path.model" = "plain" }
[phases.stateful]
enabled = false
"""


def test_the_gateway_shows_the_document(running: LiveStack):
    document = httpx.get(f"{running.gateway}/openapi.json", headers=running.bearer("app")).json()
    assert {"ChatRequest", "CompletionRequest", "Signal", "Error"} <= set(document["components"]["schemas"])


@pytest.mark.slow
def test_no_request_made_from_the_document_meets_a_server_error_or_an_untold_answer(
    running: LiveStack, tmp_path: Path, schema_cases: int
):
    document = httpx.get(f"{running.gateway}/openapi.json", headers=running.bearer("app")).json()
    offered = {path for path in document["paths"] if path.startswith("/v1/")}
    (tmp_path / "schemathesis.toml").write_text(CONFIG.replace("HOOKS", str(HOOKS)))
    report = tmp_path / "report.ndjson"
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{running.gateway}/openapi.json",
        "--checks",
        CHECKS,
        "--include-path-regex",
        "^/v1/",
        "--max-examples",
        str(schema_cases),
        "--seed",
        "1",
        "--generation-database",
        "none",
        "--phases",
        "examples,coverage,fuzzing",
        "--no-color",
        "--continue-on-failure",
        "--request-timeout",
        "60",
        "--header",
        f"Authorization: {running.bearer('app')['Authorization']}",
        "--report",
        "ndjson",
        "--report-ndjson-path",
        str(report),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60 + 20 * schema_cases, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    events = [json.loads(line) for line in report.read_text().splitlines()]
    tested = {event["ScenarioFinished"]["recorder"]["label"] for event in events if "ScenarioFinished" in event}
    assert {label.partition(" ")[2] for label in tested} == offered
