"""Divide a data set's texts by document into training, live traffic and test, with hashes and a fixed seed.

It also writes the demo's configuration. It must not send anything.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from demo.ratings import LABELS, Rated

KEPT_SHARE = 0.25
SEED = 2014
INSTRUCTION = "Sentiment of the text: negative, neutral or positive?"
# With the app's own instruction these make the three prompts among which the base arm takes its best on dev.
OTHER_PROMPTS = (
    "Classify the sentiment of the user's text. Answer with one word: negative, neutral or positive.",
    "You label sentiment. Reply positive if the writer is pleased, negative if displeased, neutral if neither.",
)
COMPLETION_EVERY = 8
# Spare labels replace failed ones, so that the trigger is reached anyway.
SPARE = 40
# The app allows labels only as answers, so users never see what a candidate of few votes would answer otherwise.
LABELS_ALONE = {"kpi": "invalid_mass", "max": 0.05}
# Texts from which on most users can be learnt from.
MANY = 2000


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """One request of the demo: the text, its author as the user, the rater's own opinion, and what is sent."""

    model: str
    text: Rated
    opinion: str
    labels: bool
    plain: bool

    @property
    def user(self) -> str:
        """The document's author."""
        return f"{self.model}-author-{self.text.document}"


@dataclass(frozen=True, slots=True)
class DemoSplit:
    """One model's texts: those to learn from, texts of other documents for live traffic and for the test."""

    model: str
    learn: tuple[DemoRequest, ...]
    spare: tuple[DemoRequest, ...]
    live: tuple[DemoRequest, ...]
    after: tuple[DemoRequest, ...]
    test: tuple[Rated, ...]

    @property
    def labels(self) -> int:
        """Number of labels that the first wave sends. The trigger has the same number."""
        return sum(request.labels for request in self.learn)


def kept(document: str) -> bool:
    """Whether a document is kept for live traffic and the test: a quarter of them, by hash."""
    position = int.from_bytes(hashlib.sha256(f"kept\n{document}".encode()).digest()[:7], "big") / (1 << 56)
    return position < KEPT_SHARE


def make(
    model: str, texts: Sequence[Rated], *, learn: int, label_share: float, live: int, after: int, test: int
) -> DemoSplit:
    """Divide a domain's texts. `live` and `after` come from kept documents, one text per user in turn."""
    rng = random.Random(f"{SEED}:{model}")
    teaching = [text for text in texts if not kept(text.document)]
    rng.shuffle(teaching)
    waiting = in_turn(text for text in texts if kept(text.document))
    tested = sorted(waiting, key=lambda text: hashlib.sha256(text.id.encode()).digest())[:test]
    return DemoSplit(
        model=model,
        learn=tuple(_request(model, text, rng.random() < label_share, n) for n, text in enumerate(teaching[:learn])),
        spare=tuple(_request(model, text, True, n) for n, text in enumerate(teaching[learn : learn + SPARE])),
        live=tuple(_request(model, text, False, n) for n, text in enumerate(waiting[:live])),
        after=tuple(_request(model, text, False, n) for n, text in enumerate(waiting[live : live + after])),
        test=tuple(tested),
    )


def _request(model: str, text: Rated, labels: bool, index: int) -> DemoRequest:
    return DemoRequest(model, text, text.rater(SEED), labels, index % COMPLETION_EVERY == 0)


def in_turn(texts: Iterable[Rated]) -> list[Rated]:
    """Texts with the documents taking turns, so that many users come early."""
    documents: dict[str, list[Rated]] = defaultdict(list)
    for text in texts:
        documents[text.document].append(text)
    rounds = zip_longest(*documents.values())
    return [text for text in chain.from_iterable(rounds) if text is not None]


def configuration(
    splits: Sequence[DemoSplit], *, canaries: frozenset[str], ports: tuple[int, int, int]
) -> dict[str, Any]:
    """The demo's settings. Canary limits are scaled so that minutes of traffic suffice; the output says so."""
    gateway, control, engine = (f"127.0.0.1:{port}" for port in ports)
    return {
        "base_model": "smollm2-135m-instruct",
        "data": "demo-run/data",
        "engine": {"listen": engine, "max_loras": 4, "max_lora_rank": 16, "max_model_len": 1024},
        "gateway": {"listen": gateway},
        "control": {"listen": control, "check_seconds": 3},
        "models": {split.model: _model(split, split.model in canaries) for split in splits},
    }


def _model(split: DemoSplit, canary: bool) -> dict[str, Any]:
    return {
        "labels": list(LABELS),
        "split": _split(split, canary),
        "retrain": {
            "schedule": None,
            "min_new_feedback": split.labels,
            "min_labels": 100,
            "rank": 16,
            "learning_rate": 5e-4,
            "epochs": 1.6 if canary else 1.0,
        },
        "baselines": {"prompts": list(OTHER_PROMPTS), "rag_examples": 4},
        "evaluation": {"latency_items": 12},
        "promotion": {
            "primary": {"kpi": "macro_f1", "min_gain": 0.0},
            "guardrails": [{"kpi": "accuracy", "margin": 0.02}, *([] if canary else [LABELS_ALONE])],
            "holdback": None,
            "limits": {"window_hours": 0, "cooldown_hours": 0},
            "canary": {
                "share": 0.5,
                "margin": 0.05,
                "first_look_users": 30,
                "planned_users": 80,
                "min_minutes": 0,
                "max_hours": 0.1,
            }
            if canary
            else None,
        },
    }


def _split(split: DemoSplit, canary: bool) -> dict[str, float]:
    """Return the split's shares. A holdout needs 20 users, so a model with fewer texts trains on a smaller share."""
    train = 0.46 if not canary else 0.62 if len(split.learn) >= MANY else 0.4
    return {"train": train, "dev": 0.06}
