"""Fixtures of the browser tests: a loop with one decision made, and Chromium with its console open.

Gateway, control and trainer are the real ones; the engine is the fake that ships, with answers that depend on whether
the request names an adapter. Chromium is the system's own: `make test-browser` installs it.
"""

import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.engines.fake import FakeEngine, running
from tools.live_stack import LiveStack, texts
from tools.tiny_model import CUES, LABELS

WAVE = 400
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
PHONE = {"width": 375, "height": 780}
DESK = {"width": 1180, "height": 860}


def label_of(prompt: str) -> str:
    """The label that a text's last cue stands for."""
    cues = {cue: label for label, own in CUES.items() for cue in own}
    return next((cues[word] for word in reversed(prompt.split()) if word in cues), LABELS[0])


@pytest.fixture(scope="session")
def engine(tiny_base: Path) -> FakeEngine:
    """The fake engine: its adapters mostly know which word stands for which label, its base model does not."""
    base = tiny_base.name

    def answer(model: str, prompt: str) -> str:
        if model == base:
            return LABELS[len(prompt) % 3]
        return label_of(prompt) if zlib.crc32(prompt.encode()) % 6 else LABELS[-1]

    return FakeEngine(base_name=base, answer=answer)


@pytest.fixture(scope="session")
def loop(tiny_base: Path, engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """Users sent requests and votes, a run trained and judged a candidate, and it awaits approval."""
    common = {"labels": list(LABELS), "evaluation": {"bootstrap": 2000, "latency_items": 2}}
    retrain = {"schedule": None, "min_labels": 40, "rank": 8, "epochs": 1, "min_steps": 1, "max_length": 64}
    content = {
        "base_model": str(tiny_base),
        "models": {
            "notes": common
            | {
                "retrain": retrain | {"min_new_feedback": WAVE},
                "promotion": {"mode": "approve", "canary": None, "guardrails": [{"kpi": "invalid_mass", "max": 0.9}]},
            },
            "plain": common | {"retrain": retrain | {"min_new_feedback": 1_000_000, "schedule": "0 3 * * *"}},
            "replies": {"task": "generate", "retrain": retrain | {"min_new_feedback": 1_000_000}},
        },
    }
    with running(engine.app()) as url:
        stack = LiveStack(tmp_path_factory.mktemp("browser"), content, engines=[url])
        try:
            stack.await_ready()
            stack.simulate_users("notes", texts(WAVE, 1, users=300), labels=True)
            stack.wait(lambda: awaiting(stack), "a candidate that waits for approval")
            yield stack
        finally:
            left = stack.stop()
            assert not left, f"processes {left} outlived loraloop up"


def awaiting(stack: LiveStack) -> str | None:
    """The decision that awaits approval, if there is one. Raises at once for a run with another verdict."""
    newest = stack.decisions("notes")[-1:]
    assert not newest or newest[0]["verdict"] == "awaiting_approval", newest
    return newest[0]["id"] if newest else None


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "No Chromium is installed; make test-browser does it."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """A window that nobody is logged in to yet, and everything that it asked for."""

    def __init__(self, chromium: Any, loop: LiveStack, **how: Any) -> None:
        self.loop = loop
        self.context = chromium.new_context(base_url=loop.settings.control_url, **({"viewport": DESK} | how))
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page = self.context.new_page()
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def log_in(self, key: str | None = None) -> Any:
        """Logs in with the key for ops and returns the page."""
        self.page.goto("/login")
        self.page.get_by_label("Ops key").fill(key or self.loop.keys["ops"])
        self.page.keyboard.press("Enter")
        self.page.wait_for_url("**/overview")
        return self.page


@pytest.fixture
def visit(chromium: Any, loop: LiveStack) -> Iterator[Visit]:
    """A window. At its end every request must have gone to the console, and no script may have failed."""
    made = Visit(chromium, loop)
    yield made
    made.context.close()
    elsewhere = [url for url in made.asked if not url.startswith((loop.settings.control_url, "data:"))]
    assert not elsewhere and made.asked
    assert not [fault for fault in made.faults if "401" not in fault and "403" not in fault], made.faults
