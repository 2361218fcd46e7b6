"""What every format makes of a row: interactions, and feedback on them, each with an id that is the same next time."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from core.answers import calls_text
from core.errors import InputError
from core.names import checked_name, label_key, wrong_characters
from core.records import Feedback, Interaction, Revocation
from feedback.formats.metrics import Metrics, text_of
from feedback.imported_rows import parse_record, parse_time
from feedback.schema import Identifier

_identifier = TypeAdapter(Identifier)
# Digits of a choice's index.
LONGEST_CHOICE = 4


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of a row that is not taken, and why."""

    reason: str


Part = Interaction | Feedback | Revocation | LeftOut


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go: a model, its labels, the time of rows that have none, and the field that names the user."""

    model: str
    labels: tuple[str, ...]
    metrics: Metrics
    now: datetime
    user_field: str | None = None

    @property
    def right_answer(self) -> str:
        """The type of feedback that says what the answer should have been."""
        return "label" if self.labels else "correction"

    def user_of(self, row: Mapping[str, Any]) -> str | None:
        """Who gave the feedback of a row, in the field that the person named or one of the usual ones."""
        if self.user_field:
            return name_of(self.user_field, row.get(self.user_field))
        found = row.get("user") or row.get("user_id")
        return name_of("user", found) if found is not None else None

    def interaction(
        self,
        identity: str,
        request: dict[str, Any],
        answer: str | None,
        *,
        time: datetime | None = None,
        user: str | None = None,
        conversation: str | None = None,
    ) -> Interaction:
        """An interaction of before. No version of the model served it, so that no live test counts it."""
        for where, trouble in wrong_characters(request):
            raise InputError(f"{where}: {trouble}.", hint="Leave that character out.", field=where)
        return Interaction(
            id=id_of(identity),
            time=time or self.now,
            model=self.model,
            version=0,
            arm="pinned",
            share=0.0,
            bucket=None,
            user=user,
            conversation=conversation,
            endpoint="chat",
            request=request,
            answer=answer,
            finish_reason="stop",
            status=200,
            latency_ms=0.0,
            ttft_ms=None,
            prompt_tokens=None,
            completion_tokens=None,
            streamed=False,
        )

    def feedback(self, identity: str, time: datetime | None, **fields: Any) -> Feedback:
        """Feedback of before, checked as `POST /v1/feedback` checks it."""
        given = {name: value for name, value in fields.items() if value is not None}
        found = parse_record(given | {"id": identity, "time": time or self.now}, lambda: self.now)[0]
        assert isinstance(found, Feedback)
        return found

    def checked_answer(self, field: str, answer: str) -> str:
        """A right answer. Raises InputError if the model has labels, and this is none of them."""
        if self.labels and label_key(answer) not in {label_key(label) for label in self.labels}:
            raise InputError(
                f"{field}: {answer[:64]!r} is not a label of {self.model}.",
                hint=f"Labels: {', '.join(self.labels)}.",
                field=field,
            )
        return answer


def content_id(kind: str, *parts: Any) -> str:
    """An id that follows from content, so that a second import of the same row adds nothing."""
    content = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS, default=str)
    return f"{kind}-{hashlib.sha256(content).hexdigest()[:40]}"


def id_of(value: Any, field: str = "id") -> str:
    """An id that feedback can name. Raises InputError."""
    try:
        return _identifier.validate_python(value)
    except ValidationError:
        raise InputError(f"{field}: takes 1 to 128 visible ASCII characters.", field=field) from None


def name_of(field: str, value: Any) -> str | None:
    """A user or a conversation; a number becomes text. Raises InputError."""
    if value is None or value == "":
        return None
    if isinstance(value, bool | dict | list):
        raise InputError(f"{field}: takes a text.", field=field)
    return checked_name(field, str(value))


def time_of(field: str, value: Any, target: Target) -> datetime | None:
    """A time as ISO text or as seconds since 1970. A time without a zone is in UTC. Raises InputError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, ValueError, OSError):
            raise InputError(f"{field}: is no time in seconds since 1970.", field=field) from None
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
        value = found.replace(tzinfo=UTC) if found and found.tzinfo is None else value
    return parse_time(field, value, target.now)


def choice_of(pairs: dict[str, Any]) -> int | None:
    """The index of the choice that tags or metadata name under `choice`, which is taken out if it is one."""
    found = str(pairs.get("choice", ""))
    if not (found.isascii() and found.isdigit() and len(found) <= LONGEST_CHOICE):
        return None
    del pairs["choice"]
    return int(found)


def object_of(field: str, value: Any) -> dict[str, Any]:
    """An object, empty for null. Raises InputError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{field}: takes an object.", field=field)
    return value


def objects_of(field: str, value: Any) -> list[dict[str, Any]]:
    """A list of objects, empty for null. Raises InputError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{field}: takes a list.", field=field)
    return [object_of(f"{field}.{place}", each) for place, each in enumerate(value)]


def messages_of(field: str, value: Any) -> list[dict[str, Any]]:
    """Messages of a chat: a list of them, an object with `messages`, or a text as one user's. Raises InputError."""
    if isinstance(value, str) and value.strip():
        return [{"role": "user", "content": value}]
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return messages_of(f"{field}.messages", value["messages"])
    if isinstance(value, dict) and "role" in value:
        return messages_of(field, [value])
    if not isinstance(value, list) or not value:
        raise InputError(f"{field}: takes messages, or a text.", field=field)
    for place, message in enumerate(value):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InputError(f"{field}.{place}: is no message with a role.", field=f"{field}.{place}")
    return [{name: part for name, part in message.items() if part is not None} for message in value]


def answer_of(field: str, value: Any) -> str:
    """An answer as text, the last message of several; calls of tools as canonical JSON. Raises InputError."""
    last = (
        value[-1]
        if isinstance(value, list) and value and isinstance(value[-1], dict) and "role" in value[-1]
        else value
    )
    calls = last.get("tool_calls") if isinstance(last, dict) else None
    found = calls_text(calls) if calls else text_of(last)
    if found is None or not found.strip():
        raise InputError(f"{field}: has no text.", field=field)
    return found
