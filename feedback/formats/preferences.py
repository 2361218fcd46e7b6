"""Hugging Face's sets for training by preference, as TRL reads them.

A row has `chosen` and `rejected` with or without a `prompt`, or `prompt` and `completion` with or without a `label`.
Each text may be a list of messages instead.
"""

import re
from typing import Any

from core.errors import InputError
from feedback.formats.openai_chat import preference, right_answer
from feedback.formats.source import Part, Target, answer_of, content_id, messages_of

# Dialogues of older sets, which are one text.
TURN = re.compile(r"\n\n(Human|Assistant): ?")
ROLES = {"Human": "user", "Assistant": "assistant"}


def matches(row: dict[str, Any]) -> bool:
    """Whether a row is one of these."""
    return row.keys() >= {"chosen", "rejected"} or row.keys() >= {"prompt", "completion"}


def parts(row: dict[str, Any], target: Target) -> list[Part]:
    """A row as interactions with a preference, a thumb or the right answer."""
    if "chosen" in row:
        better, chosen = _split("chosen", row["chosen"], row.get("prompt"))
        worse, rejected = _split("rejected", row["rejected"], row.get("prompt"))
        if better != worse:
            raise InputError("chosen and rejected have different prompts.", hint="A pair answers one prompt.")
        return preference(row, target, {"messages": better}, chosen, rejected)
    messages, completion = _split("completion", row["completion"], row["prompt"])
    request = {"messages": messages}
    if row.get("label") is None:
        return right_answer(row, target, request, completion)
    if not isinstance(row["label"], bool):
        raise InputError("label: takes true or false: whether the completion is a good one.", field="label")
    user = target.user_of(row)
    identity = content_id("imp", request, completion, user)
    vote = {"interaction_id": identity, "type": "thumbs", "value": row["label"], "user": user}
    return [
        target.interaction(identity, request, completion, user=user),
        target.feedback(content_id("impf", identity, user), None, **vote),
    ]


def _split(field: str, value: Any, prompt: Any) -> tuple[list[dict[str, Any]], str]:
    """(prompt, answer) of a side: the prompt may be a column of its own, the beginning of the side, or both."""
    said = messages_of(field, value) if isinstance(value, list) else None
    if said is None and isinstance(value, str) and prompt is None:
        said = _dialogue(field, value)
    if said is None:
        return _prompt(prompt), answer_of(field, value)
    if said[-1]["role"] != "assistant":
        raise InputError(f"{field}: the last message is not an assistant's.", field=field)
    before = said[:-1] or (_prompt(prompt) if prompt is not None else [])
    if not before:
        raise InputError(f"{field}: there is no prompt before the answer.", field=field)
    return before, answer_of(field, said[-1])


def _prompt(prompt: Any) -> list[dict[str, Any]]:
    if isinstance(prompt, str) and TURN.match(prompt):
        return _dialogue("prompt", prompt)
    return messages_of("prompt", prompt)


def _dialogue(field: str, text: str) -> list[dict[str, Any]]:
    before, *turns = TURN.split(text)
    if before.strip() or not turns:
        raise InputError(f"{field}: has no prompt.", hint="Add a column prompt, or a list of messages.", field=field)
    found = [{"role": ROLES[who], "content": said.strip()} for who, said in zip(turns[::2], turns[1::2], strict=True)]
    return found if found[-1]["content"] else found[:-1]
