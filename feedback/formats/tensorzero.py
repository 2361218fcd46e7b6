"""TensorZero: its feedback, live and stored, and its inferences."""

from collections.abc import Iterator
from typing import Any

import orjson

from core.errors import InputError
from feedback.formats.metrics import Metrics, text_of
from feedback.formats.source import (
    LeftOut,
    Part,
    Target,
    answer_of,
    choice_of,
    content_id,
    id_of,
    name_of,
    object_of,
    objects_of,
    time_of,
)

# The tags in which apps of TensorZero name the user.
USER_TAGS = ("user", "user_id")
INFERENCE = frozenset(("function_name", "variant_name", "episode_id", "inference_id"))


def matches(row: dict[str, Any]) -> bool:
    """Whether a row is one of these."""
    return _is_feedback(row) or ("input" in row and "output" in row and bool(row.keys() & INFERENCE))


def parts(row: dict[str, Any], target: Target) -> list[Part]:
    """An inference with its feedback, or feedback of its own."""
    if _is_feedback(row):
        return [_vote(row, target)]
    return [*_inference(row, target)]


def signal(name: Any, value: Any, metrics: Metrics) -> dict[str, Any]:
    """`type` and `value` of a metric. Raises InputError that names the field."""
    if not isinstance(name, str) or not name:
        raise InputError("metric_name: takes a text.", field="metric_name")
    if value is None:
        raise InputError("value: is missing.", field="value")
    if name == "demonstration" and text_of(value) is None and isinstance(value, dict):
        value = orjson.dumps(value).decode()  # what a function with JSON output should have answered
    return metrics.signal(name, value)


LIVE = frozenset(("inference_id", "episode_id", "metric_name", "value", "tags", "dryrun", "internal"))


def live(body: Any, metrics: Metrics) -> dict[str, Any]:
    """The body of `POST /feedback` as a body of `POST /v1/feedback`. Raises InputError that names the field."""
    if not isinstance(body, dict):
        raise InputError("The body is not one JSON object.")
    for field in sorted(body.keys() - LIVE):
        raise InputError(f"{field}: no such field. Fields: {', '.join(sorted(LIVE))}.", field=field)
    about = [name for name in ("inference_id", "episode_id") if body.get(name)]
    if len(about) != 1:
        raise InputError("Name exactly one of inference_id and episode_id.", field="inference_id")
    tags = {name: str(value) for name, value in object_of("tags", body.get("tags")).items()}
    return {
        "interaction_id": id_of(body["inference_id"], "inference_id") if body.get("inference_id") else None,
        "conversation_id": name_of("episode_id", body.get("episode_id")),
        "choice": choice_of(tags) if body.get("inference_id") else None,
        "user": next((tags.pop(tag) for tag in USER_TAGS if tags.get(tag)), None),
        "metadata": tags | {"metric": str(body.get("metric_name"))},
    } | signal(body.get("metric_name"), body.get("value"), metrics)


def _inference(row: dict[str, Any], target: Target) -> Iterator[Part]:
    identity = id_of(row.get("inference_id") or row.get("id"), "inference_id")
    tags = object_of("tags", row.get("tags"))
    time = time_of("timestamp", row.get("timestamp"), target)
    user = next((name_of(f"tags.{tag}", tags[tag]) for tag in USER_TAGS if tags.get(tag)), None)
    conversation = name_of("episode_id", row.get("episode_id"))
    request = {"messages": _messages(_json(row["input"]))}
    whole = {"time": time, "user": user, "conversation": conversation}
    yield target.interaction(identity, request, answer_of("output", _json(row["output"])), **whole)
    outputs = row.get("dispreferred_outputs")
    for output in outputs if isinstance(outputs, list) else ():
        worse = content_id("imp", identity, output)
        yield target.interaction(worse, request, answer_of("dispreferred_outputs", _json(output)), **whole)
        pair = {"type": "preference", "value": {"chosen": identity, "rejected": worse}, "user": user}
        yield target.feedback(content_id("impf", worse), time, **pair)
    for each in objects_of("feedback", row.get("feedback")):
        yield _vote({"inference_id": identity} | each, target)


def _vote(row: dict[str, Any], target: Target) -> Part:
    tags = {name: str(value) for name, value in object_of("tags", row.get("tags")).items()}
    if "tensorzero::evaluator_inference_id" in tags:
        return LeftOut("feedback of an evaluator, not of a person")
    on_episode = row.get("target_type") == "episode" or (
        "episode_id" in row and not row.get("inference_id") and not row.get("target_id")
    )
    subject = row.get("episode_id") if on_episode and row.get("episode_id") else row.get("target_id")
    subject = subject or row.get("inference_id")
    name = row.get("metric_name") or row.get("type") or ("demonstration" if "inference_id" in row else "comment")
    identity = row.get("feedback_id") or row.get("id") or content_id("impf", subject, name, row.get("value"), tags)
    where = "conversation_id" if on_episode else "interaction_id"
    return target.feedback(
        id_of(identity),
        time_of("timestamp", row.get("timestamp"), target),
        **{where: id_of(subject, "target_id")},
        **signal(name, _stored(row.get("value"), name), target.metrics),
        user=next((tags[tag] for tag in USER_TAGS if tags.get(tag)), None),
        metadata={"metric": str(name)},
    )


def _stored(value: Any, name: str) -> Any:
    """A value as the database has it: a demonstration is JSON in a text there."""
    return _json(value) if name == "demonstration" else value


def _messages(value: Any) -> list[dict[str, Any]]:
    """The input of an inference as OpenAI's messages. Raises InputError."""
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list) or not value["messages"]:
        raise InputError("input: has no messages.", field="input")
    found: list[dict[str, Any]] = []
    if value.get("system"):
        found.append({"role": "system", "content": _content("input.system", value["system"])})
    for place, message in enumerate(value["messages"]):
        where = f"input.messages.{place}"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InputError(f"{where}: is no message with a role.", field=where)
        found.append({"role": message["role"], "content": _content(where, message.get("content"))})
    return found


def _content(where: str, content: Any) -> str:
    """The text of a message's blocks; the arguments of a template are JSON."""
    if isinstance(content, dict) and text_of(content) is None:
        return orjson.dumps(content).decode()
    if not isinstance(content, list):
        found = text_of(content)
    else:
        texts = [_block(block) for block in content]
        found = None if None in texts else "\n".join(text for text in texts if text is not None)
    if found is None:
        raise InputError(f"{where}: is not text alone.", field=where)
    return found


def _block(block: Any) -> str | None:
    match block:
        case {"type": "text" | "raw_text", "value": str(text)}:
            return text
        case {"type": "text", "value": arguments} | {"type": "text" | "template", "arguments": arguments}:
            return orjson.dumps(arguments).decode()
    return text_of(block)


def _json(value: Any) -> Any:
    """The database keeps JSON as text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _is_feedback(row: dict[str, Any]) -> bool:
    about = bool(row.keys() & {"target_id", "inference_id", "episode_id"})
    return about and "value" in row and "input" not in row
