"""Rows of a file as records. It needs no store, so that the command line starts fast."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.clock import Clock
from core.errors import InputError
from core.records import Feedback, Revocation
from feedback.schema import StoredIdentifier, parse

# Clocks differ a little; a time further ahead is a mistake.
AHEAD = timedelta(minutes=5)
# Fields of a row that `POST /v1/feedback` does not have, or treats differently.
KEPT = ("id", "key_id", "time", "revoked_at")
_stored = TypeAdapter(StoredIdentifier)


def parse_record(entry: Any, clock: Clock) -> list[Feedback | Revocation]:
    """A row of a file as records. Raises InputError that names the field.

    A row has the fields of `POST /v1/feedback` and `time` (default: now), `revoked_at` and `key_id`. `id` is required
    and kept unchanged, so that a second import adds nothing.
    """
    if not isinstance(entry, dict):
        raise InputError("A row is one JSON object.")
    if not entry.get("id"):
        raise InputError("id: is required, so that the same row is never imported twice.")
    own = {"id": _name("id", entry["id"]), "key_id": _name("key_id", entry["key_id"]) if entry.get("key_id") else None}
    plain = {name: value for name, value in entry.items() if name not in KEPT and value is not None}
    if plain.get("type") == "label" and type(plain.get("value")) is int:
        plain["value"] = str(plain["value"])  # a column of Parquet, whose labels are all numbers
    (record,) = parse(plain, clock, reviewer=True)
    now = clock()
    record = replace(record, time=parse_time("time", entry.get("time"), now) or now, **own)
    records: list[Feedback | Revocation] = [record]
    revoked = parse_time("revoked_at", entry.get("revoked_at"), now)
    return [*records, Revocation(record.id, max(revoked, record.time))] if revoked else records


def _name(field: str, value: Any) -> str:
    try:
        return _stored.validate_python(value)
    except ValidationError:
        raise InputError(f"{field}: takes 1 to 256 visible ASCII characters.") from None


def parse_time(name: str, value: Any, now: datetime) -> datetime | None:
    """A time with a zone, in UTC; None for None. Raises InputError that names the field."""
    if value is None:
        return None
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise InputError(f"{name}: is no time; write it as 2026-03-01T03:00:00+00:00.") from None
    if found.tzinfo is None:
        raise InputError(f"{name}: has no time zone; write it as 2026-03-01T03:00:00+00:00.")
    try:
        found = found.astimezone(UTC)
    except OverflowError:
        raise InputError(f"{name}: is before the year 1 or after the year 9999 in UTC.", field=name) from None
    if found > now + AHEAD:
        raise InputError(f"{name}: is in the future; the time now is {now:%Y-%m-%dT%H:%M:%S%z}.", field=name)
    return found
