"""Facts about evaluation with a real engine: its scores, its load, and `loraloop versions evaluate` from end to end."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from core.prompts import Chat, Text
from core.settings import KEY_VARIABLES
from eval.engine_queries import EngineContext, QueryRunner
from eval.measure.labels import Labels
from serve.engines.control_client import VllmClient
from tools.live_stack import LiveStack

pytestmark = pytest.mark.integration

PROMPT = Chat((("user", "the phone is lovely"),))
RENDERED = Text("<user> the phone is lovely <end> <assistant> ")


@pytest.fixture
def client(running: LiveStack) -> Iterator[VllmClient]:
    opened = VllmClient(running.settings.engine_urls[0])
    yield opened
    opened.close()


def test_an_answer_that_has_begun_goes_on_as_the_same_text_does(client: VllmClient, running: LiveStack):
    base = next(name for name in client.models() if "@" not in name)
    tokens = [client.first_token(base, word) for word in ("good", "bad")]
    going_on = client.score(base, PROMPT, tokens, "very")
    as_text = client.score(base, Text(RENDERED.text + "very"), tokens)
    assert going_on.prompt_tokens == as_text.prompt_tokens
    assert going_on.logprobs == pytest.approx(as_text.logprobs, abs=1e-4)


def test_labels_of_two_words_have_the_chances_of_their_tokens(client: VllmClient, running: LiveStack):
    base = next(name for name in client.models() if "@" not in name)
    engine = EngineContext(QueryRunner(client, concurrency=4), base)
    labels = Labels(engine, ["very good", "very bad", "fine"])
    found = labels.log_probabilities(PROMPT, engine.run(labels.queries(base, PROMPT)))
    very, fine, good = (client.first_token(base, word) for word in ("very", "fine", "good"))
    first = client.score(base, RENDERED, [very, fine]).logprobs
    then = client.score(base, Text(RENDERED.text + "very"), [good]).logprobs
    assert found[0] == pytest.approx(first[0] + then[0], abs=1e-3)
    assert found[2] == pytest.approx(first[1], abs=1e-3)
    assert sum(map(math.exp, found)) < 1


def test_an_engine_reports_its_version_and_load_and_stops_at_stop_texts(client: VllmClient, running: LiveStack):
    base = next(name for name in client.models() if "@" not in name)
    assert client.version().split(".")[0].isdigit()
    assert client.in_flight() >= 0
    written = client.write(base, PROMPT, max_tokens=5)
    assert 1 <= written.tokens <= 5 and written.prompt_tokens > 4
    stop = written.text[0]
    assert client.write(base, PROMPT, max_tokens=5, stop=[stop]).text == stop


def test_a_suite_runs_on_the_champion_from_the_command_line(running: LiveStack):
    command = [sys.executable, "-m", "ops.cli.app", "evaluate", "plain", "--suite", "format", "--json"]
    env = os.environ | {KEY_VARIABLES["ops"]: running.keys["ops"]}
    done = subprocess.run(
        [*command, "--config", str(running.config)], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["suites"]["format"]
    assert found["n"] == 520 and found["difference"]["value"] == 0.0
    assert found["arms"]["base"] == found["arms"]["champion"] == found["arms"]["candidate"]
