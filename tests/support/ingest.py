"""Records for ingest."""

from datetime import UTC, datetime
from typing import Any

from core.db.store import Store
from core.record_codec import Record, encode
from core.records import Feedback, Interaction, Revocation
from core.spool import frame

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def asked(identity: str, **changes: Any) -> Interaction:
    fields: dict[str, Any] = {
        "id": identity,
        "time": NOW,
        "model": "m",
        "version": 0,
        "arm": "champion",
        "share": 0.0,
        "bucket": 0.5,
        "user": "u",
        "conversation": None,
        "endpoint": "chat",
        "request": {"messages": []},
        "answer": "a",
        "finish_reason": "stop",
        "status": 200,
        "latency_ms": 1.0,
        "ttft_ms": None,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "streamed": False,
    }
    return Interaction(**(fields | changes))


def said(identity: str, about: str, value: Any = True, kind: str = "thumbs") -> Feedback:
    return Feedback(identity, NOW, about, None, kind, value)


def pieces(*records: Record) -> bytes:
    return b"".join(frame(encode(record)) for record in records)


def query(store: Store, sql: str) -> list[Any]:
    with store.transaction() as transaction:
        return transaction._connection.execute(sql).fetchall()


records = [asked("i1"), said("f1", "i1"), asked("i2"), Revocation("f2", NOW), said("f2", "i2"), asked("i3", user="ü\0")]
