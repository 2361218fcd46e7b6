"""Answers of a model that generates, and users' votes on them, in a store."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from core.db import spools
from core.db.store import Store
from core.record_codec import Record, encode
from core.records import Feedback, Interaction
from core.settings import ModelSettings
from core.spool import frame
from feedback.ingest import ingest
from feedback.snapshot import Snapshot, create_snapshot
from tests.support.ingest import asked

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def settings(**changes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"task": "generate", **changes})


def fill(store: Store, *records: Record) -> None:
    with store.transaction() as transaction:
        known = spools.offset(transaction, spool="g", segment=1)
    ingest(store, "g", 1, known, b"".join(frame(encode(record)) for record in records))


def answer(
    identity: str, text: str = "", *, prompt: str = "How are you?", user: str | None = None, **more: Any
) -> Interaction:
    request = more.pop("request", {"messages": [{"role": "user", "content": prompt}]})
    return asked(identity, time=NOW, user=user, answer=text or f"answer {identity}", request=request, **more)


def prefer(number: int, chosen: str, rejected: str, voter: str | None, **more: Any) -> Feedback:
    value = {"chosen": chosen, "rejected": rejected}
    time = NOW + timedelta(seconds=number)
    return Feedback(f"f{number}", time, None, None, "preference", value, user=voter, **more)


def vote(number: int, about: str, kind: str, value: Any, voter: str | None, **more: Any) -> Feedback:
    return Feedback(f"f{number}", NOW + timedelta(seconds=number), about, None, kind, value, user=voter, **more)


def snap(store: Store, folder: Path, how: ModelSettings | None = None, run: str = "r") -> Snapshot:
    return create_snapshot(store, "m", how or settings(), run_id=run, folder=folder, clock=lambda: NOW)
