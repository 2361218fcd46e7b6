"""Feedback, its revocations, and the queries that count and list it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import msgspec
import pyarrow as pa

from core.db.columns import table
from core.db.interactions import Served
from core.db.rows import FeedbackRow, utc
from core.db.store import IDS_AT_ONCE, Database, Row, Transaction
from core.records import Arm

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("time", pa.timestamp("us")),
        ("interaction_id", pa.string()),
        ("conversation_id", pa.string()),
        ("type", pa.string()),
        ("value", pa.string()),
        ("comment", pa.string()),
        ("user_id", pa.string()),
        ("metadata", pa.string()),
        ("model", pa.string()),
        ("version", pa.int32()),
        ("key_id", pa.string()),
        ("arm", pa.string()),
        ("choice", pa.int32()),
        ("asker", pa.string()),
    ]
)
HISTORY = pa.schema(
    [
        ("feedback_id", pa.string()),
        ("content", pa.string()),
        ("type", pa.string()),
        ("value", pa.string()),
        ("comment", pa.string()),
        ("user_id", pa.string()),
        ("first", pa.timestamp("us")),
        ("last", pa.timestamp("us")),
    ]
)
REVOCATIONS = pa.schema(
    [("feedback_id", pa.string()), ("key_id", pa.string()), ("time", pa.timestamp("us")), ("asked", pa.string())]
)
WAITING = pa.schema([("interaction_id", pa.string()), ("feedback_id", pa.string())])


@dataclass(frozen=True, slots=True)
class WaitingFeedback:
    """Feedback that arrived before its interaction."""

    id: str
    interaction_id: str


@dataclass(frozen=True, slots=True)
class VersionCount:
    """Number of feedback rows of one type on the answers of a version."""

    model: str
    version: int
    arm: Arm
    type: str
    n: int


def newest_arrival(db: Database, *, model: str) -> datetime | None:
    """When the newest feedback of a model arrived, by the store's clock."""
    return db.one("feedback.newest_arrival", model=model)["newest"]


def subject_of(row: FeedbackRow) -> str | None:
    """What feedback waits for: its interaction, or one of its conversation. None for a preference: see `compared`."""
    return row.interaction_id or (conversation_key(row.conversation_id) if row.conversation_id else None)


def compared(row: FeedbackRow) -> list[str]:
    """The interactions that a preference compares, by their ids. Other feedback has none."""
    return [id for id in _pair(row).values() if isinstance(id, str)]


def chosen(row: FeedbackRow) -> str | None:
    """The interaction whose answer a preference chooses. Other feedback has none."""
    id = _pair(row).get("chosen")
    return id if isinstance(id, str) else None


def _pair(row: FeedbackRow) -> Row:
    value = msgspec.json.decode(row.value) if row.type == "preference" else None
    return value if isinstance(value, dict) else {}


def conversation_key(conversation: str) -> str:
    """A conversation among ids of interactions, which have no spaces."""
    return f"conversation {conversation}"


def answer_key(interaction: str) -> str:
    """An answer that a preference waits for."""
    return f"answer {interaction}"


def add(transaction: Transaction, rows: Sequence[FeedbackRow], about: Mapping[str, Served]) -> None:
    """Add feedback, with the interactions that are known by their ids. Raises RowKnown if one of the ids is stored."""
    transaction.run_table(
        "feedback.add",
        table(
            COLUMNS,
            [
                (
                    row.id,
                    utc(row.time),
                    row.interaction_id,
                    row.conversation_id,
                    row.type,
                    bytes(row.value),
                    row.comment,
                    row.user,
                    bytes(row.metadata),
                    served.model if served else None,
                    served.version if served else None,
                    row.key_id,
                    served.arm if served else None,
                    row.choice,
                    _asker(row, served, about),
                )
                for row in rows
                for served in (about.get(subject_of(row) or ""),)
            ],
        ),
    )


def _asker(row: FeedbackRow, served: Served | None, about: Mapping[str, Served]) -> str | None:
    """The user of the answer, or of the answer that is preferred, where the feedback names no user."""
    if row.user is not None:
        return None
    if row.type == "preference":
        served = about.get(chosen(row) or "")
    return served.user if served else None


def current(transaction: Transaction, ids: Sequence[str]) -> dict[str, FeedbackRow]:
    """Those of the ids that are stored, with what they say."""
    found: dict[str, FeedbackRow] = {}
    for row in transaction.rows_in("feedback.current", ids):
        value, metadata = msgspec.Raw(row.pop("value").encode()), msgspec.Raw(row.pop("metadata").encode())
        found[row["id"]] = FeedbackRow(**row, value=value, metadata=metadata)
    return found


def replace(transaction: Transaction, ids: Sequence[str]) -> None:
    """Delete feedback whose place a later word takes."""
    transaction.run_in("feedback.delete", ids)
    transaction.run_in("feedback.delete_waiting", ids)


def history(transaction: Transaction, ids: Sequence[str]) -> list[Row]:
    """What was said under these ids, where it was said more than once. Times are UTC with a zone."""
    return transaction.rows_in("feedback.history", ids)


def set_history(transaction: Transaction, ids: Sequence[str], rows: Sequence[Row]) -> None:
    """Write the whole history of these ids."""
    transaction.run_in("feedback.delete_history", ids)
    transaction.run_table("feedback.add_history", table(HISTORY, [tuple(row.values()) for row in rows]))


def add_waiting(transaction: Transaction, feedback: Sequence[WaitingFeedback]) -> None:
    """Record feedback whose interaction has not arrived."""
    rows = [(one.interaction_id, one.id) for one in feedback]
    transaction.run_table("feedback.add_waiting", table(WAITING, rows))


def waiting_for(transaction: Transaction, ids: Sequence[str]) -> list[WaitingFeedback]:
    """Waiting feedback about these interactions. The cost grows with the feedback that waits."""
    if not ids or not transaction.one("feedback.count_waiting")["n"]:
        return []
    return [WaitingFeedback(**row) for row in transaction.rows("feedback.waiting_for", ids=ids)]


def set_interactions(transaction: Transaction, about: Mapping[str, Served]) -> None:
    """Fill in the interaction that arrived, by the id of the feedback. DuckDB searches a list of users for each row."""
    by_version: defaultdict[tuple[str, int, Arm], list[str]] = defaultdict(list)
    for id, served in about.items():
        by_version[served.model, served.version, served.arm].append(id)
    for (model, version, arm), ids in by_version.items():
        transaction.run_in("feedback.set_interaction", ids, model=model, version=version, arm=arm)
    for part in _parts({id: served.user for id, served in about.items()}):
        transaction.run_in("feedback.set_asker", list(part), feedback=list(part), users=list(part.values()))
    transaction.run_in("feedback.delete_waiting", list(about))


def meet_answers(transaction: Transaction, ids: Sequence[str], answers: Mapping[str, str | None]) -> None:
    """Preferences for which some of these answers arrived wait for them no more, and count as new from now on.

    `answers` has the user of each answer by its id.
    """
    transaction.run_in("feedback.set_arrived", ids)
    for part in _parts(answers):
        transaction.run_in("feedback.set_chosen_asker", ids, answers=list(part), users=list(part.values()))
    transaction.run_in("feedback.delete_waiting_for", [answer_key(id) for id in answers])


def _parts(users: Mapping[str, str | None]) -> Iterator[dict[str, str | None]]:
    rest = iter(users.items())
    while part := dict(islice(rest, IDS_AT_ONCE)):
        yield part


def keys_of_one_name(transaction: Transaction, ids: Sequence[str]) -> dict[str, list[str]]:
    """For each of these keys, the keys of the same name, itself included."""
    found: dict[str, list[str]] = {}
    for row in transaction.rows_in("feedback.keys_of_one_name", ids):
        found.setdefault(row["id"], []).append(row["other"])
    return found


def outside_of_key(transaction: Transaction, ids: Sequence[str]) -> list[Row]:
    """Those of the ids that are about a model which their key may not use, with the key and the newest time."""
    if not transaction.one("feedback.count_limited_keys")["n"]:
        return []
    return transaction.rows_in("feedback.outside_of_key", ids)


def add_revocations(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Add revocations: `feedback_id`, `key_id`, `time` with a zone, and what `asked` for it. The first one counts."""
    stored = transaction.rows_in("feedback.revocations", list({row["feedback_id"] for row in rows}))
    known = {(row["feedback_id"], row["key_id"], utc(row["time"])) for row in stored}
    new: dict[tuple[str, str, datetime], str] = {}
    for row in rows:
        key = row["feedback_id"], row["key_id"], utc(row["time"])
        if key not in known:
            new.setdefault(key, row["asked"])
    added = [(*key, asked) for key, asked in new.items()]
    transaction.run_table("feedback.add_revocations", table(REVOCATIONS, added))


def apply_revocations(transaction: Transaction, *, ids: Sequence[str], changed: Sequence[str]) -> None:
    """Mark those of these feedback rows as revoked that have a revocation. `changed` are those with another word."""
    found = list({row["feedback_id"] for row in transaction.rows_in("feedback.revocations", ids)})
    transaction.run_in("feedback.clear_revocations", list(set(changed) & set(found)))
    transaction.run_in("feedback.apply_revocations", found)
    transaction.run_in("feedback.meet_revocations", found)


def unmet_revocations(db: Database) -> list[Row]:
    """Requests to take back feedback that is not there (yet), newest first."""
    return db.rows("feedback.unmet_revocations")


def count_unmet_revocations(db: Database) -> int:
    """Number of requests to take back feedback that is not there (yet)."""
    return db.one("feedback.count_unmet_revocations")["n"]


def waiting_by_type(db: Database) -> list[Row]:
    """Feedback whose interaction is not there (yet), by key and type."""
    return db.rows("feedback.waiting_by_type")


def counts(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by model and type."""
    return db.rows("feedback.counts", model=model, key=key)


def counts_by_key(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by API key, model and type."""
    return db.rows("feedback.counts_by_key", model=model, key=key)


def counts_by_user(db: Database, *, model: str | None, key: str | None) -> list[Row]:
    """Feedback counts by voter, model and type: those with most feedback come first."""
    return db.rows("feedback.counts_by_user", model=model, key=key)


def counts_by_version(db: Database) -> list[VersionCount]:
    """Feedback counts by version, arm and type, for the five newest versions of each model."""
    return [VersionCount(**row) for row in db.rows("feedback.counts_by_version")]


def count_waiting(db: Database) -> int:
    """Number of feedback rows whose interaction has not arrived."""
    return db.one("feedback.count_waiting")["n"]


def by_day(db: Database, *, model: str, since: datetime) -> list[Row]:
    """Feedback of a model per day and type."""
    return db.rows("feedback.by_day", model=model, since=since)


def recent_thumbs(db: Database, *, since: datetime) -> list[Row]:
    """Thumbs up and all thumbs per model. The cost grows with the feedback since then."""
    return db.rows("feedback.recent_thumbs", since=since)


def thumbs_by_version(db: Database, *, model: str, since: datetime) -> list[Row]:
    """Thumbs up and all thumbs per version of a model. The cost grows with the feedback since then."""
    return db.rows("feedback.thumbs_by_version", model=model, since=since)


def page(
    db: Database,
    *,
    before: datetime,
    before_id: str,
    model: str | None,
    type: str | None,
    words: str | None,
    limit: int,
    reader: str | None = None,
    blind: Sequence[str] = (),
) -> list[Row]:
    """One page of feedback, newest first, by model, type and words.

    For models in `blind`, words are not searched in what reviewers other than `reader` said.
    """
    of_page = {"before": before, "before_id": before_id, "model": model, "type": type, "limit": limit}
    return db.rows("feedback.page", **of_page, words=words, reader=reader, blind=list(blind))


def on_interaction(db: Database, *, id: str) -> list[Row]:
    """Feedback about one interaction, oldest first."""
    return db.rows("feedback.on_interaction", id=id)


def find(db: Database, *, id: str) -> Row | None:
    """One piece of feedback by its id."""
    return db.maybe("feedback.find", id=id)


def total(db: Database) -> int:
    """Number of feedback rows."""
    return db.one("feedback.total")["n"]
