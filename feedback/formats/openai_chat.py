"""OpenAI's files for fine-tuning of chats, one example per line: the supervised form, and pairs of preferences."""

from typing import Any

from core.errors import InputError
from feedback.formats.source import Part, Target, answer_of, content_id, messages_of

# Fields of a request that an example may have, and that the model saw.
REQUEST = ("tools", "functions", "parallel_tool_calls")


def matches(row: dict[str, Any]) -> bool:
    """Whether a row is one of these."""
    return isinstance(row.get("messages"), list) or "preferred_output" in row or "non_preferred_output" in row


def parts(row: dict[str, Any], target: Target) -> list[Part]:
    """An example as an interaction with its right answer, or as two interactions and a preference."""
    return _preference(row, target) if "messages" not in row else _supervised(row, target)


def _supervised(row: dict[str, Any], target: Target) -> list[Part]:
    *before, last = messages_of("messages", row["messages"])
    if last["role"] != "assistant" or last.get("weight") == 0:
        raise InputError(
            "messages: the last one is not an assistant's answer to learn from.",
            hint="End each example with an assistant's message without weight 0.",
            field="messages",
        )
    if not before:
        raise InputError("messages: there is nothing before the answer.", field="messages")
    request = {"messages": [_without_weight(message) for message in before]} | _kept(row)
    return right_answer(row, target, request, answer_of("messages", last))


def right_answer(row: dict[str, Any], target: Target, request: dict[str, Any], answer: str) -> list[Part]:
    """An interaction without an answer of a model, and the label or correction that says the right one."""
    user = target.user_of(row)
    identity = content_id("imp", request, user)
    value = target.checked_answer("messages" if "messages" in row else "completion", answer)
    vote = {"interaction_id": identity, "type": target.right_answer, "value": value, "user": user}
    return [
        target.interaction(identity, request, None, user=user),
        target.feedback(content_id("impf", identity, value), None, **vote),
    ]


def _preference(row: dict[str, Any], target: Target) -> list[Part]:
    for field in ("input", "preferred_output", "non_preferred_output"):
        if field not in row:
            raise InputError(f"{field}: is missing.", hint="A pair has input and both outputs.", field=field)
    request = {"messages": messages_of("input", row["input"])}
    if isinstance(row["input"], dict):
        request |= _kept(row["input"])
    answers = (
        answer_of("preferred_output", row["preferred_output"]),
        answer_of("non_preferred_output", row["non_preferred_output"]),
    )
    return preference(row, target, request, *answers)


def preference(row: dict[str, Any], target: Target, request: dict[str, Any], chosen: str, rejected: str) -> list[Part]:
    """Two interactions with one request, and the preference of one over the other."""
    if chosen == rejected:
        raise InputError("Both answers are the same text.", hint="Leave the pair out.")
    user = target.user_of(row)
    better, worse = content_id("imp", request, chosen, user), content_id("imp", request, rejected, user)
    vote = {"type": "preference", "value": {"chosen": better, "rejected": worse}, "user": user}
    return [
        target.interaction(better, request, chosen, user=user),
        target.interaction(worse, request, rejected, user=user),
        target.feedback(content_id("impf", better, worse), None, **vote),
    ]


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in REQUEST if row.get(name)}


def _without_weight(message: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in message.items() if name != "weight"}
