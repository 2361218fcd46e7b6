"""The types of feedback and the values that each of them accepts.

Feedback may arrive before its interaction, so nothing here checks that the interaction exists.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from core.answers import as_canonical, canonical_calls
from core.clock import Clock, new_id
from core.errors import InputError
from core.names import LONGEST_NAME, REVIEWER, checked_name, in_one_form, wrong_characters
from core.records import Feedback

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
# A user or a conversation, as a completion request names it. The empty text names nobody there too.
Name = Annotated[
    str,
    AfterValidator(lambda name: _in_limit(name) or None),
    Field(json_schema_extra={"maxLength": LONGEST_NAME}),
]
# The index of an answer's choice, as OpenAI's API counts them.
Choice = Annotated[int, Field(ge=0, le=1023)]
Comment = Annotated[str, StringConstraints(max_length=10_000)]
FLAGS = ("unsafe", "hallucination", "private", "other")
MAX_BATCH = 1000
LONGEST_TEXT = 100_000
# An app's id as it is stored, prefixed with its key's id: longer than an id in a request.
StoredIdentifier = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
# The `metadata.source` of what reviewers give in the console.
CONSOLE = "console"


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
    conversation_id: Name | None = None
    choice: Choice | None = None
    type: Literal["thumbs", "rating", "label", "correction", "preference", "comment", "flag"]
    value: Any = None
    comment: Comment | None = None
    user: Name | None = None
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
        if self.choice is not None and self.interaction_id is None:
            raise ValueError("choice: names a choice of an interaction; name the interaction_id too")
        self.value = VALUES[self.type](self.value)
        return self


def _in_limit(name: str) -> str:
    try:
        return checked_name("", name)
    except InputError as error:
        raise ValueError(error.message.removeprefix(": ").removesuffix(".")) from None


class OfUser(BaseModel):
    """The body of `DELETE /v1/feedback`: whose feedback on which interaction."""

    model_config = ConfigDict(extra="forbid")

    interaction_id: Identifier
    user: Annotated[str, AfterValidator(_in_limit), Field(min_length=1)]


def _thumbs(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("value: thumbs takes true or false")
    return value


def _rating(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise ValueError("value: rating takes a finite number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        said = f"; this one has {len(value):,}" if isinstance(value, str) and value.strip() else ""
        raise ValueError(f"value: takes a text of 1 to {LONGEST_TEXT:,} characters{said}")
    return value


def _correction(value: Any) -> Any:
    """A text, or an object or a list in canonical form. Calls of tools have one form of their own."""
    match value:
        case {"tool_calls": calls, **rest} if not rest:
            try:
                value = canonical_calls(calls)
            except ValueError as error:
                raise ValueError(f"value: {error}") from None
        case dict() | list() if value:
            pass
        case _:
            return _text(value)
    text = as_canonical(value)
    _text(text)
    return json.loads(text)


def _label(value: Any) -> str:
    if isinstance(value, bool | int | float):
        raise ValueError(
            f'value: takes a text of 1 to {LONGEST_TEXT:,} characters; write the label in quotes: "{value}"'
        )
    return in_one_form(_text(value))


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
    "label": _label,
    "correction": _correction,
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


def parse(body: Any, clock: Clock, key_id: str | None = None, *, reviewer: bool = False) -> list[Feedback]:
    """Records of one object or a list, as given by a key. Raises InputError that names the field and the fix."""
    found = parse_each(body, clock, key_id, reviewer=reviewer)
    records = [each for each in found if isinstance(each, Feedback)]
    if len(records) < len(found):
        raise next(each for each in found if isinstance(each, InputError))
    return records


def parse_each(
    body: Any, clock: Clock, key_id: str | None = None, *, reviewer: bool = False
) -> Sequence[Feedback | InputError]:
    """A record of each object of a list or of one object, or the error that says why it is none.

    `reviewer` says whether feedback may be a reviewer's. Raises InputError if the number of objects is wrong.
    """
    entries = body if isinstance(body, list) else [body]
    if not 1 <= len(entries) <= MAX_BATCH:
        raise InputError(f"Send 1 to {MAX_BATCH} feedback objects, not {len(entries)}.")
    found: list[Feedback | InputError] = []
    for index, entry in enumerate(entries):
        try:
            found.append(_record(entry, clock, key_id, reviewer))
        except InputError as error:
            found.append(_at(index, error) if isinstance(body, list) else error)
    return found


def _record(entry: Any, clock: Clock, key_id: str | None, reviewer: bool) -> Feedback:
    for where, trouble in wrong_characters(entry):
        raise InputError(f"{where}: {trouble}.", hint="Leave that character out.", field=where)
    try:
        signal = _one.validate_python(entry, strict=True)
    except ValidationError as error:
        raise _refusal(error) from error
    for field, given in (("user", signal.user), ("metadata.source", signal.metadata.get("source"))):
        if not reviewer and given is not None and (given.startswith(REVIEWER) if field == "user" else given == CONSOLE):
            raise InputError(
                f"{field}: only the console and keys with ops:write may give a reviewer's feedback.",
                hint="Send another text.",
                field=field,
            )
    return Feedback(
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
        choice=signal.choice,
    )


def parse_of_user(body: Any) -> OfUser:
    """Whose feedback to take back. Raises InputError that names the field and the fix."""
    for where, trouble in wrong_characters(body):
        raise InputError(f"{where}: {trouble}.", hint="Leave that character out.", field=where)
    try:
        return OfUser.model_validate(body, strict=True)
    except ValidationError as error:
        raise _refusal(error, OfUser) from error


def _refusal(error: ValidationError, shape: type[BaseModel] = FeedbackRequest) -> InputError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return InputError(f"{where}: no such field. Fields: {', '.join(shape.model_fields)}.", field=where)
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "string_too_long":
        message += f", this one has {len(first['input']):,}"
    # A rule about several fields names the one at fault in its message.
    named = where or (message.partition(":")[0] if message.startswith(("value: ", "choice: ")) else None)
    return InputError(f"{where}: {message}." if where else f"{message}.", field=named)


def _at(index: int, error: InputError) -> InputError:
    """The error of an object in a list, which says the object's place."""
    field = f"{index}.{error.field}" if error.field else str(index)
    joined = "." if error.field and error.message.startswith(error.field) else ": "
    return InputError(f"{index}{joined}{error.message}", hint=error.hint, field=field)
