"""The routes that export and import data: interactions, feedback and decisions, one JSON object per line.

It owns how rows are written; which rows is the query's business, what a row of feedback may say `feedback`'s.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import StreamingResponse

from core.acts import Act, act, no_act
from core.clock import Clock
from core.db import exports
from core.db.store import Row, Store
from core.errors import InputError, NotFound
from core.http import read_body, read_json
from core.record_codec import decode_all
from core.records import Interaction
from core.route_list import RouteList
from core.settings import Settings
from feedback import importer
from feedback.schema import MAX_BATCH
from ops.blind_labels import BlindLabels, reader_of
from ops.data_files import NESTED, Kind

BATCH = 1000
LINES = "application/x-ndjson"
MAX_BODY = 64 * 1024 * 1024
EXPORTS = {
    Kind.INTERACTIONS: exports.interactions,
    Kind.DECISIONS: exports.decisions,
}


def lines(store: Store, kind: Kind, model: str | None) -> Iterator[bytes]:
    """All interactions or decisions of this moment, in pieces of many lines."""
    for rows in EXPORTS[kind](store, BATCH, model=model):
        yield _as_lines(rows)


def feedback_lines(store: Store, model: str | None, key: str | None, blind: BlindLabels) -> Iterator[bytes]:
    """All feedback of this moment, or that of a key, in pieces of many lines, without what is hidden."""
    for rows in exports.feedback(store, BATCH, model=model, key=key):
        left_out = {row["id"] for row in blind.hidden([row | {"user_id": row["user"]} for row in rows])}
        shown = [row for row in rows if row["id"] not in left_out]
        for row in shown:
            del row["model"]
        yield _as_lines(shown)


def _as_lines(rows: list[Row]) -> bytes:
    return b"".join(orjson.dumps(_plain(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: orjson.Fragment(value)
        if name in NESTED and value is not None
        else value.isoformat()
        if isinstance(value, datetime)
        else value
        for name, value in row.items()
    }


def create_export_router(store: Store, settings: Callable[[], Settings]) -> RouteList:
    """The route that gives data out."""
    router = RouteList(prefix="/api")

    @router.get("/export/{kind}")
    @act(Act.DATA_EXPORT)
    def export(
        request: Request, kind: Kind, model: str | None = None, key: str | None = None, hidden_labels: bool = False
    ) -> StreamingResponse:
        """All `feedback`, of one key where it is named, `interactions` or `decisions`, a JSON object per line.

        Labels of other reviewers that are hidden from the caller are left out, unless `hidden_labels`.
        """
        if kind is not Kind.FEEDBACK:
            if key:
                raise InputError(f"key: only feedback is given by a key; {kind} have none.")
            return StreamingResponse(lines(store, kind, model), media_type=LINES)
        blind = BlindLabels.of(store, settings().models, None if hidden_labels else reader_of(request), model)
        return StreamingResponse(feedback_lines(store, model, key, blind), media_type=LINES, headers=blind.headers)

    return router


def create_import_router(
    store: Store, clock: Clock, settings: Callable[[], Settings], limit: int = MAX_BODY
) -> RouteList:
    """The routes that take feedback in, and interactions with their feedback."""
    router = RouteList(prefix="/api")

    @router.get("/import")
    @no_act("It shows settings, no data.")
    def known() -> dict[str, Any]:
        """What rows are read by: the labels of each model, and the meanings of metrics by their names."""
        found = settings()
        return {
            "models": {name: model.labels for name, model in found.models.items()},
            "metrics": found.gateway.metrics,
        }

    @router.post("/import")
    @act(Act.DATA_IMPORT)
    async def take_all(request: Request) -> dict[str, Any]:
        """Take interactions and feedback in: a list of records as gateways write them. Names those that it refuses."""
        content = await read_body(request.scope, request.receive, limit)
        try:
            records = decode_all(content)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"The body is no list of records: {error}.") from error
        unknown = {each.model for each in records if isinstance(each, Interaction)} - set(settings().models)
        if unknown:
            raise NotFound("model", min(unknown), where="in the settings")
        return asdict(await asyncio.to_thread(importer.take, store, records))

    @router.post("/feedback/import")
    @act(Act.DATA_IMPORT)
    async def take(request: Request) -> dict[str, int]:
        """Take feedback in with its own times: a list of feedback with `id`, and `time`, `revoked_at` if known."""
        entries = await read_json(request, MAX_BODY)
        if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_BATCH:
            raise InputError(f"Send a list of 1 to {MAX_BATCH} feedback objects.")
        return await asyncio.to_thread(importer.import_records, store, entries, clock)

    return router
