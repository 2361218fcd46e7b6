"""Rows as ingest stores them, decoded from the spool's payloads without parsing the JSON inside them.

A request and an answer are most of a payload. They stay as the text that they were sent as, which is several times as
fast as parsing and writing them again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from core.errors import RowRefused
from core.record_codec import Record, encode
from core.records import Arm, Cause

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
# A time needs a zone, because one without cannot be compared with the others.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
NULL = msgspec.Raw(b"null")
EMPTY = msgspec.Raw(b"{}")


class InteractionRow(msgspec.Struct, tag_field="kind", tag="interaction", forbid_unknown_fields=True, gc=False):
    """A `core.records.Interaction`; `request` and `choices` are JSON text."""

    id: str
    time: Moment
    model: str
    version: Int32
    arm: Arm
    share: float
    bucket: float | None
    user: str | None
    conversation: str | None
    endpoint: str
    request: msgspec.Raw
    answer: str | None
    finish_reason: str | None
    status: Int32
    latency_ms: float
    ttft_ms: float | None
    prompt_tokens: Int32 | None
    completion_tokens: Int32 | None
    streamed: bool
    key_id: str | None = None
    cause: Cause | None = None
    choices: msgspec.Raw = NULL
    asked: bool = False


class FeedbackRow(msgspec.Struct, tag_field="kind", tag="feedback", forbid_unknown_fields=True, gc=False):
    """A `core.records.Feedback`; `value` and `metadata` are JSON text."""

    id: str
    time: Moment
    interaction_id: str | None
    conversation_id: str | None
    type: str
    value: msgspec.Raw
    comment: str | None = None
    user: str | None = None
    metadata: msgspec.Raw = EMPTY
    key_id: str | None = None
    choice: Int32 | None = None


class RevocationRow(msgspec.Struct, tag_field="kind", tag="revocation", forbid_unknown_fields=True, gc=False):
    """A `core.records.Revocation`."""

    feedback_id: str
    time: Moment
    key_id: str | None = None
    by: str | None = None
    interaction_id: str | None = None
    user: str | None = None


class StoredCompletionRow(msgspec.Struct, tag_field="kind", tag="stored", forbid_unknown_fields=True, gc=False):
    """A `core.records.StoredCompletion`; `metadata` and `completion` are JSON text."""

    id: str
    time: Moment
    key_id: str
    metadata: msgspec.Raw
    completion: msgspec.Raw


SpoolRow = InteractionRow | FeedbackRow | RevocationRow | StoredCompletionRow
_decoder = msgspec.json.Decoder(SpoolRow | list[SpoolRow])


def decode_rows(payload: bytes) -> list[SpoolRow]:
    """The rows of one payload. Raises RowRefused, which names the field."""
    try:
        found = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RowRefused(f"Not a record: {error}") from error
    return found if isinstance(found, list) else [found]


def rows_of(records: Sequence[Record]) -> list[SpoolRow]:
    """Records that this process made, as rows. Raises RowRefused."""
    return [row for record in records for row in decode_rows(encode(record))]


def utc(moment: datetime) -> datetime:
    """The moment in UTC without a zone, as the store keeps it. Raises RowRefused if UTC has no such year."""
    try:
        return moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as error:
        raise RowRefused(f"The time {moment} is before the year 1 or after the year 9999 in UTC.") from error


def text(raw: msgspec.Raw) -> bytes | None:
    """JSON text as bytes, or None for `null`."""
    content = bytes(raw)
    return None if content == b"null" else content
