"""The routes of snapshots: the report, and rows and pairs as Parquet or in the form of OpenAI's fine-tuning files."""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from core.acts import Act, act, only_numbers
from core.db import snapshots
from core.db.store import Store
from core.errors import NotFound
from core.prompts import Chat, answer_as_openai, options_of
from core.route_list import RouteList
from core.settings import Settings
from feedback.pairs import Pair, pairs_of
from feedback.snapshot import Row, TableRows, read_rows
from feedback.snapshot_files import PAIRS, ROWS, read_tables
from ops.blind_labels import BlindLabels, reader_of

Bucket = Literal["train", "dev", "h1", "h2", "h3", "h4"]
One = TypeVar("One", Row, Pair)
LINES_AT_ONCE = 1000


class Format(StrEnum):
    """What of a snapshot is written and how: rows or pairs, as Parquet or as lines of a fine-tuning file."""

    PARQUET = "parquet"
    OPENAI = "openai"
    PAIRS = "pairs"
    PREFERENCES = "preferences"


def create_report_router(store: Store) -> RouteList:
    """The route of a snapshot's report, which holds no text of a user."""
    router = RouteList(prefix="/api")

    @router.get("/snapshots/{identity}")
    @only_numbers
    def show(identity: str) -> dict[str, Any]:
        """The report of a snapshot, by a run's id, the beginning of its hash, or a model: its newest."""
        found = _found(store, identity)
        return {name: found[name] for name in ("hash", "model", "run_id", "time")} | orjson.loads(found["report"])

    return router


def create_rows_router(store: Store, settings: Callable[[], Settings]) -> RouteList:
    """The route of a snapshot's rows, which hold what users wrote."""
    router = RouteList(prefix="/api")

    @router.get("/snapshots/{identity}/rows")
    @act(Act.DATA_EXPORT)
    def rows(
        request: Request,
        identity: str,
        format: Format = Format.PARQUET,
        bucket: Bucket = "train",
        hidden_labels: bool = False,
    ) -> Response:
        """The rows or the pairs of a snapshot. Parquet has all of them, a fine-tuning file those of one bucket.

        Rows of answers that the caller can still label are left out, unless `hidden_labels`.
        """
        snapshot = _found(store, identity)
        path, model = Path(snapshot["path"]), snapshot["model"]
        blind = BlindLabels.of(store, settings().models, None if hidden_labels else reader_of(request), model)
        if blind.models and format in (Format.PARQUET, Format.OPENAI):
            return _without_open_answers(path, model, format, bucket, blind)
        if format is Format.OPENAI:
            return StreamingResponse(_examples(read_rows(path), bucket), media_type="application/x-ndjson")
        compared = read_tables(path).pairs
        if compared is None and format is not Format.PARQUET:
            hint = "A model with task: generate has pairs once its users compare or correct answers."
            raise NotFound("pairs", identity, where="in the snapshot", hint=hint)
        if format in (Format.PARQUET, Format.PAIRS):
            file = path / (ROWS if format is Format.PARQUET else PAIRS)
            return FileResponse(file, media_type="application/vnd.apache.parquet")
        lines = _lines([pair for pair in pairs_of(compared) if pair.bucket == bucket and pair.compares], _preference)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    return router


def _without_open_answers(path: Path, model: str, format: Format, bucket: Bucket, blind: BlindLabels) -> Response:
    """The rows of a snapshot without those of answers that the reader can still label: a row has the right label.

    A file of Parquet is written in memory, so it does not have the hash of the snapshot.
    """
    rows = read_tables(path).rows
    answers = rows["interaction_id"].to_pylist()
    hidden = blind.open_answers(model, set(answers))
    shown = rows.filter(pa.array([answer not in hidden for answer in answers], pa.bool_()))
    if format is Format.OPENAI:
        lines = _examples(list(TableRows(shown)), bucket)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=blind.headers)
    file = pa.BufferOutputStream()
    pq.write_table(shown, file)
    content = file.getvalue().to_pybytes()
    return Response(content, media_type="application/vnd.apache.parquet", headers=blind.headers)


def _examples(rows: Iterable[Row], bucket: Bucket) -> Iterator[bytes]:
    return _lines([row for row in rows if row.bucket == bucket], _example)


def _lines(found: list[One], example: Callable[[One], dict[str, Any]]) -> Iterator[bytes]:
    for first in range(0, len(found), LINES_AT_ONCE):
        part = found[first : first + LINES_AT_ONCE]
        yield b"".join(orjson.dumps(example(one), option=orjson.OPT_APPEND_NEWLINE) for one in part)


def _preference(pair: Pair) -> dict[str, Any]:
    """A pair as OpenAI's files of preferences have it, or a prompt with both completions."""
    if not isinstance(pair.prompt, Chat):
        return {"prompt": pair.prompt.text, "chosen": pair.chosen, "rejected": pair.rejected}
    tools = options_of(pair.prompt).get("tools")
    return {
        "input": {"messages": pair.prompt.as_openai()} | ({"tools": tools} if tools else {}),
        "preferred_output": [answer_as_openai(pair.prompt, pair.chosen)],
        "non_preferred_output": [answer_as_openai(pair.prompt, pair.rejected)],
    }


def _example(row: Row) -> dict[str, Any]:
    """A row as OpenAI's fine-tuning files have it: messages of a chat, or a prompt with its completion."""
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
