"""Read a sample of a model's recent requests, and add to a snapshot's report how its rows cover them."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import numpy as np

from core.db import interactions, snapshots
from core.db.store import Store
from core.prompt_fields import Unreadable
from core.prompts import Prompt, read_stored, subject, whole_text
from core.settings.privacy import ScrubRule
from feedback.coverage import Coverage, find_clusters
from feedback.pii import scrub_text
from feedback.snapshot import Snapshot

DAYS = 30
# Requests and rows that are compared. In this many, a cluster with 0.1% of the traffic has 4 requests.
MOST = 4000
# Requests are read in parts, and of each text only the beginning is kept: one request can have megabytes.
AT_ONCE = 200
LONGEST = 1500
# What is scrubbed is this much longer, so that the cut leaves no half of an address.
MARGIN = 300
# A last question that a larger part of the requests has, such as one after each document, says nothing of its own.
FREQUENT = 0.05


def add_coverage(
    store: Store, snapshot: Snapshot, model: str, rules: Sequence[ScrubRule], run_id: str, now: datetime
) -> Snapshot:
    """The snapshot with the coverage of the last 30 days in its report, which is stored as the report of the run.

    `rules` scrub requests as those of the model scrub rows.
    """
    coverage = measure_coverage(store, snapshot, model, rules, now)
    warning = coverage.warning()
    warnings = [*snapshot.report.warnings, *([warning] if warning else [])]
    report = replace(snapshot.report, coverage=coverage.as_report(), warnings=warnings)
    snapshots.set_report(store, hash=snapshot.hash, run_id=run_id, report=json.dumps(asdict(report)))
    return replace(snapshot, report=report)


def measure_coverage(
    store: Store, snapshot: Snapshot, model: str, rules: Sequence[ScrubRule], now: datetime
) -> Coverage:
    """How the rows and pairs to train on cover a sample of the model's requests of the last 30 days."""
    since = now - timedelta(days=DAYS)
    users = interactions.sample(store, model=model, since=since, size=MOST)
    prompts, askers = [], []
    for id, texts in _prompts(store, list(users)):
        prompts.append(tuple(_scrubbed(text, rules) for text in texts))
        askers.append(users[id])
    learnt = _learnt(snapshot)
    frequent = _frequent([asked for asked, _ in prompts])
    requests, rows = ([whole if asked in frequent else asked for asked, whole in texts] for texts in (prompts, learnt))
    total = interactions.count_since(store, model=model, since=since)
    return Coverage(DAYS, total, len(requests), len(rows), find_clusters(requests, askers, rows))


def _prompts(store: Store, ids: list[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Id and texts of each request whose prompt is kept and can be read."""
    for first in range(0, len(ids), AT_ONCE):
        for row in interactions.requests(store, ids=ids[first : first + AT_ONCE]):
            prompt = read_stored(row["endpoint"], row["request"])
            if not isinstance(prompt, Unreadable):
                yield row["id"], _texts(prompt, MARGIN)


def _scrubbed(text: str, rules: Sequence[ScrubRule]) -> str:
    return scrub_text(text, rules)[0][:LONGEST]


def _learnt(snapshot: Snapshot) -> list[tuple[str, str]]:
    """The texts of a sample of what is to train on, one per answer, evenly over time."""
    train = {row.interaction_id: row.prompt for row in (*snapshot.of("train"), *snapshot.pairs_of("train"))}
    prompts = list(train.values())
    places = np.linspace(0, len(prompts) - 1, min(MOST, len(prompts))).astype(int)
    return [_texts(prompts[place]) for place in places.tolist()]


def _texts(prompt: Prompt, margin: int = 0) -> tuple[str, str]:
    """(the last question, the whole text), each cut off."""
    return subject(prompt)[: LONGEST + margin], whole_text(prompt)[: LONGEST + margin]


def _frequent(questions: list[str]) -> frozenset[str]:
    """The questions that many requests have."""
    return frozenset(text for text, n in Counter(questions).items() if n > max(1, FREQUENT * len(questions)))
