"""Open WebUI: its ratings, live and as its administrators export them."""

from typing import Any

from core.errors import InputError
from feedback.formats.langfuse import COMPLETIONS
from feedback.formats.source import Part, Target, answer_of, id_of, name_of, object_of, time_of

# More messages before an answer are a circle in the file.
MOST_MESSAGES = 10_000


def matches(row: dict[str, Any]) -> bool:
    """Whether a row is one of these."""
    return row.get("type") == "rating" and isinstance(row.get("data"), dict) and "meta" in row


def parts(row: dict[str, Any], target: Target) -> list[Part]:
    """A rating with the answer that it is about, out of the chat that the export holds."""
    meta = object_of("meta", row.get("meta"))
    identity = id_of(meta.get("message_id"), "meta.message_id")
    user = name_of("user_id", row.get("user_id"))
    time = time_of("created_at", row.get("created_at"), target)
    messages, answer = _chat(row, identity)
    found = target.interaction(
        identity,
        {"messages": messages},
        answer,
        time=time,
        user=user,
        conversation=name_of("meta.chat_id", meta.get("chat_id")),
    )
    changed = time_of("updated_at", row.get("updated_at"), target) or time
    vote = rating_signal(row) | {"interaction_id": identity, "user": user}
    return [found, target.feedback(id_of(row.get("id")), changed, **vote)]


def live(body: Any) -> dict[str, Any]:
    """The body of a rating as a body of `POST /v1/feedback`. Raises InputError that names the field.

    Open WebUI does not tell the id of a completion. Its chat is the conversation, and its message is the completion
    where a function has put the completion's id there.
    """
    if not isinstance(body, dict) or body.get("type") != "rating":
        raise InputError("type: takes rating.", field="type")
    meta = object_of("meta", body.get("meta"))
    message, chat = meta.get("message_id"), meta.get("chat_id")
    is_completion = isinstance(message, str) and message.startswith(COMPLETIONS)
    if not is_completion and not chat:
        raise InputError("meta.chat_id: is missing.", field="meta.chat_id")
    about = {"interaction_id": message} if is_completion else {"conversation_id": chat}
    return {"user": name_of("user_id", body.get("user_id"))} | about | rating_signal(body)


def rating_signal(form: dict[str, Any]) -> dict[str, Any]:
    """`type`, `value`, `comment` and `metadata` of a rating. Raises InputError that names the field."""
    data = object_of("data", form.get("data"))
    value = str(data.get("rating"))
    if value not in ("1", "-1"):
        raise InputError("data.rating: takes 1 or -1.", field="data.rating")
    details = object_of("data.details", data.get("details"))
    pairs = {"reason": data.get("reason"), "model": data.get("model_id"), "rating": details.get("rating")}
    return {
        "type": "thumbs",
        "value": value == "1",
        "comment": data.get("comment") or None,
        "metadata": {name: str(found) for name, found in pairs.items() if found not in (None, "")},
    }


def _chat(row: dict[str, Any], message_id: str) -> tuple[list[dict[str, Any]], str]:
    """(messages before the answer, answer) of the rated message: each message names the one before it."""
    inner, where = row, ""
    for name in ("snapshot", "chat", "chat", "history", "messages"):
        where = f"{where}.{name}" if where else name
        inner = object_of(where, inner.get(name))
    messages = {identity: object_of(f"{where}.{identity}", each) for identity, each in inner.items()}
    if message_id not in messages:
        raise InputError(
            "snapshot.chat: does not have the rated message.",
            hint="Export the feedback with its chats.",
            field="snapshot.chat",
        )
    answer, before = messages[message_id], []
    parent = str(answer.get("parentId"))
    while parent in messages and len(before) < MOST_MESSAGES:
        before.append({"role": str(messages[parent].get("role")), "content": messages[parent].get("content") or ""})
        parent = str(messages[parent].get("parentId"))
    if not before:
        raise InputError("snapshot.chat: has nothing before the rated message.", field="snapshot.chat")
    return before[::-1], answer_of("snapshot.chat", answer)
