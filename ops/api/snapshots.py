"""The routes of snapshots: the report of one, and its rows as Parquet or in the form of OpenAI's fine-tuning files."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import orjson
from fastapi import APIRouter
from fastapi.responses import FileResponse, Response, StreamingResponse

from core.db import snapshots
from core.db.store import Store
from core.errors import NotFound
from core.prompts import Chat, answer_as_openai, options_of
from feedback.snapshot import Row, read_rows, read_table
from feedback.snapshot_files import ROWS

Bucket = Literal["train", "dev", "h1", "h2", "h3", "h4"]
LINES_AT_ONCE = 1000


class Format(StrEnum):
    """How the rows of a snapshot are written."""

    PARQUET = "parquet"
    OPENAI = "openai"


def create_report_router(store: Store) -> APIRouter:
    """The route of a snapshot's report, which holds no text of a user."""
    router = APIRouter(prefix="/api")

    @router.get("/snapshots/{identity}")
    def show(identity: str) -> dict[str, Any]:
        """The report of a snapshot, by a run's id, the beginning of its hash, or a model: its newest."""
        found = _found(store, identity)
        return {name: found[name] for name in ("hash", "model", "run_id", "time")} | orjson.loads(found["report"])

    return router


def create_rows_router(store: Store) -> APIRouter:
    """The route of a snapshot's rows, which hold what users wrote."""
    router = APIRouter(prefix="/api")

    @router.get("/snapshots/{identity}/rows")
    def rows(identity: str, format: Format = Format.PARQUET, bucket: Bucket = "train") -> Response:
        """The rows of a snapshot. Parquet has all of them, a fine-tuning file those of one bucket."""
        path = Path(_found(store, identity)["path"])
        if format is Format.PARQUET:
            read_table(path)
            return FileResponse(path / ROWS, media_type="application/vnd.apache.parquet")
        chosen = [row for row in read_rows(path) if row.bucket == bucket]
        return StreamingResponse(fine_tuning_lines(chosen), media_type="application/x-ndjson")

    return router


def fine_tuning_lines(rows: list[Row]) -> Iterator[bytes]:
    """Rows as OpenAI's fine-tuning files have them: messages of a chat, or a prompt with its completion."""
    for first in range(0, len(rows), LINES_AT_ONCE):
        part = rows[first : first + LINES_AT_ONCE]
        yield b"".join(orjson.dumps(_example(row), option=orjson.OPT_APPEND_NEWLINE) for row in part)


def _example(row: Row) -> dict[str, Any]:
    if isinstance(row.prompt, Chat):
        tools = options_of(row.prompt).get("tools")
        messages = [*row.prompt.as_openai(), answer_as_openai(row.prompt, row.label)]
        return {"messages": messages} | ({"tools": tools} if tools else {})
    return {"prompt": row.prompt.text, "completion": row.label}


def _found(store: Store, identity: str) -> dict[str, Any]:
    found = snapshots.of_run_or_hash(store, identity=identity)
    if found is None:
        raise NotFound("snapshot", identity, hint="See: loraloop runs")
    return found
