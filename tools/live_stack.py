"""A running LoraLoop for tests and benchmarks: the real `loraloop up` with simulated users who ask and vote."""

import os
import random
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import yaml

from core.settings import KEY_VARIABLES, KeySettings, Settings, load
from ops.client import ControlClient
from tools.tiny_model import CUES, FILLER, LABELS

TOOLS = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]  # what an operator adds for tools
# For a wait that would never end. On a machine with other work, an engine alone has taken 134 s to start.
PATIENCE_SECONDS = 900
STOP_SECONDS = 60
# Less than the usual 15 s, so that tests go on. With 0.5 s, control alone used a quarter of a core.
CHECK_SECONDS = 1.5


def free_ports(count: int) -> list[int]:
    """Ports of loopback that are free at the moment of the call."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@dataclass(frozen=True)
class Answer:
    """One request as its user saw it."""

    id: str
    version: int
    text: str
    right: bool


class LiveStack:
    """`loraloop up` as a process of its own, and the ways to use it."""

    def __init__(
        self,
        folder: Path,
        content: dict[str, Any],
        *,
        engines: Sequence[str] = (),
        engine_settings: dict[str, Any] | None = None,
    ) -> None:
        """Start `loraloop up` in `folder`. With `engines` (URLs) no engine is started.

        `engine_settings` replace those for a tiny model.
        """
        self.folder = folder
        gateway, control, engine = (f"127.0.0.1:{port}" for port in free_ports(3))
        content = content | {
            "data": str(folder / "data"),
            "gateway": {"listen": gateway},
            "control": {"listen": control, "check_seconds": CHECK_SECONDS},
            "engine": {
                "listen": engine,
                "max_loras": 2,
                "max_lora_rank": 8,
                "max_model_len": 256,
                "dtype": "float32",
                "kv_cache_gib": 1,
                "extra_args": TOOLS,
                "start_timeout_s": PATIENCE_SECONDS,
                "urls": list(engines),
                **(engine_settings or {}),
            },
        }
        self.config = folder / "loraloop.yaml"
        self.config.write_text(yaml.safe_dump(content), encoding="utf-8")
        # In the environment alone, as a Kubernetes Secret passes them.
        self.keys = {name: secrets.token_urlsafe() for name in ("app", "ops", "internal")}
        self.settings: Settings = load(self.config).model_copy(update={"keys": KeySettings.model_validate(self.keys)})
        self.log = (folder / "up.log").open("wb")
        self.process = self._command("up", stdout=self.log, stderr=self.log)
        self.gateway = f"http://{gateway}"
        self.control = ControlClient(self.settings)
        self._openai = openai.OpenAI(base_url=f"{self.gateway}/v1", api_key=self.keys["app"], max_retries=0, timeout=60)
        self._http = httpx.Client(base_url=self.gateway, headers=self.bearer("app"), timeout=30)

    def _command(self, *words: str, **how: Any) -> "subprocess.Popen[Any]":
        env = os.environ | {KEY_VARIABLES[name]: key for name, key in self.keys.items()}
        command = [sys.executable, "-m", "ops.cli.app", *words, "--config", str(self.config)]
        return subprocess.Popen(command, env=env, **how)

    def bearer(self, name: str) -> dict[str, str]:
        """The header with one of the keys: app, ops or internal."""
        return {"Authorization": f"Bearer {self.keys[name]}"}

    def await_ready(self) -> None:
        """Wait until `up` reports that it answers requests."""
        self.wait(lambda: b"Ready." in (self.folder / "up.log").read_bytes(), "the start")

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until `condition` is true and return its value. Raises AssertionError with the log after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"{what} did not happen:\n{(self.folder / 'up.log').read_text()[-2000:]}")

    def stop(self) -> list[int]:
        """End the stack as Ctrl-C does. Returns the ids of processes that still run; there must be none."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        for closing in (self.log, self._openai, self._http, self.control):
            closing.close()
        return [child.pid for child in psutil.wait_procs(children, 15)[1]]

    def child(self, word: str) -> psutil.Process:
        """The child process whose command contains `word`: gateway, control or vllm."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if any(word in part for part in child.cmdline()))

    def ask(self, model: str, user: str, text: str, label: str, *, plain: bool = False) -> Answer:
        """Send one request through the official client."""
        common: dict[str, Any] = {"model": model, "user": user, "max_tokens": 1, "temperature": 0}
        if plain:
            raw: Any = self._openai.completions.with_raw_response.create(prompt=f"<user> {text} <end> rate", **common)
        else:
            messages: Any = [{"role": "user", "content": text}]
            raw = self._openai.chat.completions.with_raw_response.create(messages=messages, **common)
        body = raw.parse()
        said = (body.choices[0].text if plain else body.choices[0].message.content) or ""
        version = int(raw.headers["x-loraloop-version"].rpartition("@")[2])
        return Answer(body.id, version, said, said.strip() == label)

    def vote(self, answer: Answer, label: str | None = None) -> list[str]:
        """Send thumbs by whether the answer was right, and the label if given. Returns the acknowledged ids."""
        said: list[dict[str, Any]] = [{"interaction_id": answer.id, "type": "thumbs", "value": answer.right}]
        if label:
            said.append({"interaction_id": answer.id, "type": "label", "value": label})
        response = self._http.post("/v1/feedback", json=said)
        response.raise_for_status()
        return [entry["feedback_id"] for entry in response.json()]

    def simulate_users(
        self,
        model: str,
        texts: list[tuple[str, str, str]],
        *,
        labels: bool,
        plain_every: int = 5,
        until: Callable[[], bool] = lambda: False,
    ) -> list[Answer]:
        """Send one request and its votes per (user, text, label), with 12 users at a time."""

        def one(numbered: tuple[int, tuple[str, str, str]]) -> Answer | None:
            index, (user, text, label) = numbered
            if until():
                return None
            answer = self.ask(model, user, text, label, plain=index % plain_every == 0)
            self.vote(answer, label if labels else None)
            return answer

        with ThreadPoolExecutor(12) as pool:
            return [answer for answer in pool.map(one, enumerate(texts)) if answer]

    def model(self, name: str) -> dict[str, Any]:
        """The versions that serve a model now. `canary` is None while there is none."""
        return next(dict(row) for row in self.control.get("/api/models") if row["model"] == name)

    def decisions(self, model: str) -> list[dict[str, Any]]:
        """The ledger's entries about a model, oldest first."""
        return list(self.control.get("/api/promotions", model=model, limit=500))[::-1]


def texts(count: int, seed: int, *, users: int = 150) -> list[tuple[str, str, str]]:
    """Pairs of user and text with the right label: filler words around one word that decides the label."""
    rng = random.Random(seed)
    found = []
    for index in range(count):
        label = rng.choice(LABELS)
        words = [rng.choice(FILLER[:20]) for _ in range(6)]
        words.insert(rng.randrange(7), rng.choice(CUES[label]))
        found.append((f"user-{seed}-{index % users}", " ".join(words), label))
    return found
