"""The types of feedback and the values that each of them accepts.

Feedback may arrive before its interaction, so nothing here checks that the interaction exists.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from core.clock import Clock, new_id
from core.errors import InputError
from core.records import Feedback

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
Comment = Annotated[str, StringConstraints(max_length=10_000)]
FLAGS = ("unsafe", "hallucination", "private", "other")
MAX_BATCH = 1000
# An app's id as it is stored, prefixed with its key's id: longer than an id in a request.
StoredIdentifier = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]


class Pair(BaseModel):
    """Two interactions, the better one named first."""

    model_config = ConfigDict(extra="forbid")
    chosen: Identifier
    rejected: Identifier


class FeedbackRequest(BaseModel):
    """One object of `POST /v1/feedback`; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    id: Identifier | None = None
    interaction_id: Identifier | None = None
    conversation_id: Identifier | None = None
    type: Literal["thumbs", "rating", "label", "correction", "preference", "comment", "flag"]
    value: Any = None
    comment: Comment | None = None
    user: Identifier | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] = Field(
        default_factory=dict, max_length=16
    )

    @model_validator(mode="after")
    def _names_what_it_is_about(self) -> "FeedbackRequest":
        named = (self.interaction_id is not None) + (self.conversation_id is not None)
        wanted = 0 if self.type == "preference" else 1
        if named != wanted:
            raise ValueError(
                "preference names its interactions in value; leave interaction_id and conversation_id out"
                if self.type == "preference"
                else "name exactly one of interaction_id and conversation_id"
            )
        self.value = VALUES[self.type](self.value)
        return self


def _thumbs(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("value: thumbs takes true or false")
    return value


def _rating(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise ValueError("value: rating takes a finite number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 100_000:
        raise ValueError("value: takes a text of 1 to 100,000 characters")
    return value


def _flag(value: Any) -> str:
    if value not in FLAGS:
        raise ValueError(f"value: flag takes one of {', '.join(FLAGS)}")
    return str(value)


def _pair(value: Any) -> dict[str, str]:
    try:
        pair = Pair.model_validate(value)
    except ValidationError as error:
        raise ValueError('value: preference takes {"chosen": id, "rejected": id}') from error
    if pair.chosen == pair.rejected:
        raise ValueError("value: chosen and rejected are the same interaction")
    return pair.model_dump()


VALUES = {
    "thumbs": _thumbs,
    "rating": _rating,
    "label": _text,
    "correction": _text,
    "comment": _text,
    "flag": _flag,
    "preference": _pair,
}
_one = TypeAdapter(FeedbackRequest)


def kept_id(key_id: str | None, own: str) -> str:
    """An id that an app chose as it is kept: behind its key's, so that no app's ids get in the way of another's.

    Ids that are made here are random, and hold no colon.
    """
    return f"{key_id}:{own}" if key_id else own


def own_id(key_id: str | None, kept: str) -> str:
    """The inverse of `kept_id` for the key that chose."""
    return kept.removeprefix(f"{key_id}:")


def parse(body: Any, clock: Clock, key_id: str | None = None) -> list[Feedback]:
    """Records of one object or a list, as given by a key. Raises InputError that names the field and the fix."""
    entries = body if isinstance(body, list) else [body]
    if not 1 <= len(entries) <= MAX_BATCH:
        raise InputError(f"Send 1 to {MAX_BATCH} feedback objects, not {len(entries)}.")
    found = []
    for index, entry in enumerate(entries):
        try:
            signal = _one.validate_python(entry, strict=True)
        except ValidationError as error:
            raise InputError(_sentence(error, index if isinstance(body, list) else None)) from error
        found.append(
            Feedback(
                id=kept_id(key_id, signal.id) if signal.id else new_id("fb"),
                time=clock(),
                interaction_id=signal.interaction_id,
                conversation_id=signal.conversation_id,
                type=signal.type,
                value=signal.value,
                comment=signal.comment,
                user=signal.user,
                metadata=signal.metadata,
                key_id=key_id,
            )
        )
    return found


def _sentence(error: ValidationError, index: int | None) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in (*([index] if index is not None else []), *first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{where}: no such field. Fields: {', '.join(FeedbackRequest.model_fields)}."
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}." if where else f"{message}."
