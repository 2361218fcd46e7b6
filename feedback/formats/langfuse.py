"""Langfuse: its scores, live and stored, and exports of its traces and observations."""

import json
from collections.abc import Iterator
from typing import Any

from core.errors import InputError
from core.names import REVIEWER
from feedback.formats.metrics import Metrics
from feedback.formats.source import (
    LeftOut,
    Part,
    Target,
    answer_of,
    choice_of,
    id_of,
    messages_of,
    name_of,
    object_of,
    objects_of,
    time_of,
)

DATA_TYPES = ("NUMERIC", "CATEGORICAL", "BOOLEAN", "TEXT", "CORRECTION")
GENERATION = "GENERATION"
# How the ids of completions begin here.
COMPLETIONS = ("chatcmpl-", "cmpl-")
TRACE = frozenset(("observations", "scores", "sessionId", "userId", "projectId", "timestamp", "htmlPath"))


def matches(row: dict[str, Any]) -> bool:
    """Whether a row is one of these."""
    return _is_score(row) or _is_observation(row) or ("id" in row and len(row.keys() & TRACE) > 1)


def parts(row: dict[str, Any], target: Target) -> list[Part]:
    """A trace with its scores, an observation, or a score of its own."""
    if _is_score(row):
        return [_vote(row, target, None, {})]
    if _is_observation(row):
        if row.get("type") != GENERATION:
            return [LeftOut("an observation that is no generation")]
        found = target.interaction(
            str(row["id"]), *_asked(row), time=time_of("startTime", row.get("startTime"), target)
        )
        return [found, *(_vote(score, target, found.id, {}) for score in _scores(row))]
    return [*_trace(row, target)]


LIVE = frozenset(
    (
        *("id", "traceId", "observationId", "sessionId", "datasetRunId", "name", "value", "dataType", "comment"),
        *("metadata", "environment", "configId", "queueId"),
    )
)
USER_FIELDS = ("user", "userId", "user_id")


def live(body: Any, metrics: Metrics) -> dict[str, Any]:
    """The body of `POST /api/public/scores` as one of `POST /v1/feedback`. Raises InputError that names the field."""
    if not isinstance(body, dict):
        raise InputError("The body is not one JSON object.")
    for field in sorted(body.keys() - LIVE):
        raise InputError(f"{field}: no such field. Fields: {', '.join(sorted(LIVE))}.", field=field)
    said = score_signal(body, metrics)
    metadata = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in object_of("metadata", body.get("metadata")).items()
    }
    trace, observation = body.get("traceId"), body.get("observationId")
    # A completion's id may be the trace's or the observation's.
    subject = observation if isinstance(observation, str) and observation.startswith(COMPLETIONS) else trace
    if not subject and not body.get("sessionId"):
        raise InputError("traceId: is missing.", hint="Send the completion's id as traceId.", field="traceId")
    return {
        "id": body.get("id"),
        "interaction_id": id_of(subject, "traceId") if subject else None,
        "choice": choice_of(metadata) if subject else None,
        "conversation_id": None if subject else name_of("sessionId", body.get("sessionId")),
        "comment": body.get("comment"),
        "user": next((metadata.pop(name) for name in USER_FIELDS if metadata.get(name)), None),
        "metadata": metadata | {"metric": body["name"]},
    } | said


def score_signal(score: dict[str, Any], metrics: Metrics) -> dict[str, Any]:
    """`type` and `value` of a score. Raises InputError that names the field."""
    name, kind = score.get("name"), score.get("dataType")
    if not isinstance(name, str) or not name:
        raise InputError("name: takes a text.", field="name")
    if kind is not None and kind not in DATA_TYPES:
        raise InputError(f"dataType: takes one of {', '.join(DATA_TYPES)}.", field="dataType")
    value = score.get("value")
    if value is None or (kind in ("CATEGORICAL", "TEXT", "CORRECTION") and not isinstance(value, str)):
        value = score.get("stringValue", value)  # a stored score has its text there, and a number or nothing in `value`
    if value is None:
        raise InputError("value: is missing.", field="value")
    if kind == "BOOLEAN":
        if value not in (0, 1) and str(value).lower() not in ("true", "false"):
            raise InputError("value: BOOLEAN takes 0 or 1.", field="value")
        value = value == 1 or str(value).lower() == "true"
    elif kind == "NUMERIC" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError("value: NUMERIC takes a number.", field="value")
    elif kind in ("CATEGORICAL", "TEXT", "CORRECTION") and not isinstance(value, str):
        raise InputError(f"value: {kind} takes a text.", field="value")
    return metrics.signal("correction" if kind == "CORRECTION" else name, value)


def _trace(row: dict[str, Any], target: Target) -> Iterator[Part]:
    """A trace as one interaction: its own input and output, or those of its last generation."""
    observations = objects_of("observations", row.get("observations"))
    generations = [each for each in observations if each.get("type") == GENERATION]
    source = row if row.get("input") and row.get("output") else generations[-1] if generations else row
    found = target.interaction(
        str(row["id"]),
        *_asked(source),
        time=time_of("timestamp", row.get("timestamp"), target),
        user=name_of("userId", row.get("userId")),
        conversation=name_of("sessionId", row.get("sessionId")),
    )
    yield found
    about = {str(each.get("id")): found.id for each in generations[-1:]}
    for score in [*_scores(row), *(score for each in observations for score in _scores(each))]:
        yield _vote(score, target, found.id, about)


def _asked(source: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(request, answer) of a trace or a generation."""
    return {"messages": messages_of("input", source.get("input"))}, answer_of("output", source.get("output"))


def _vote(score: dict[str, Any], target: Target, trace: str | None, about: dict[str, str]) -> Part:
    """A score as feedback on its observation's interaction, or on its trace's."""
    if score.get("source") == "EVAL":
        return LeftOut("a score of an evaluator, not of a person")
    observation = name_of("observationId", score.get("observationId"))
    if observation and trace and observation not in about and observation != trace:
        return LeftOut("a score of another observation than the last generation")
    subject = about.get(observation or "") or trace or observation or score.get("traceId")
    author = name_of("authorUserId", score.get("authorUserId"))
    fields: dict[str, Any] = {"interaction_id": id_of(subject, "traceId")} if subject else {}
    if not subject and score.get("sessionId"):
        fields = {"conversation_id": score["sessionId"]}
    return target.feedback(
        id_of(score.get("id") or f"{subject}:{score.get('name')}"),
        time_of("timestamp", score.get("timestamp") or score.get("createdAt"), target),
        **fields,
        **score_signal(score, target.metrics),
        comment=score.get("comment"),
        user=f"{REVIEWER}{author}" if author else None,
        metadata={"metric": score["name"]},
    )


def _scores(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The scores of a trace or an observation: objects, or values by name as in the export of a table."""
    scores = row.get("scores")
    if not isinstance(scores, dict):
        yield from objects_of("scores", scores)
    else:
        for name, values in scores.items():
            for place, value in enumerate(values if isinstance(values, list) else [values]):
                yield {"id": f"{row.get('id')}:{name}:{place}".replace(" ", "_"), "name": name, "value": value}


def _is_score(row: dict[str, Any]) -> bool:
    return (
        "name" in row
        and ("value" in row or "stringValue" in row)
        and bool(row.keys() & {"traceId", "observationId", "sessionId"})
    )


def _is_observation(row: dict[str, Any]) -> bool:
    return "traceId" in row and "startTime" in row and "type" in row
