"""Send each vote as the event `gen_ai.evaluation.result` of OpenTelemetry's GenAI conventions.

The events are log records, as the conventions want it, and go to the collector of the traces. While tracing is off,
nothing imports this module.
"""

from collections.abc import Collection, Iterator
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from core.names import label_key
from core.records import Feedback

EVENT = "gen_ai.evaluation.result"
# Values that come from a fixed list or from the settings are no text of a user.
FIXED = ("flag",)


def log_provider(resource: Resource, endpoint: str | None) -> LoggerProvider:
    """Sends events by OTLP over HTTP to the collector's `/v1/logs`. None: OpenTelemetry's own endpoint."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    provider = LoggerProvider(resource=resource)
    exporter = OTLPLogExporter(endpoint=f"{endpoint.rstrip('/')}/v1/logs" if endpoint else None)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    return provider


class VoteEvents:
    """What sends the events of one gateway. With `content`, they contain what users wrote.

    `labels` are those of all models. A label in a vote is sent if it is one of them.
    """

    def __init__(self, provider: LoggerProvider, labels: Collection[str], *, content: bool = False) -> None:
        self._provider = provider
        self._logger = provider.get_logger("loraloop")
        self._labels = frozenset(label_key(label) for label in labels)
        self._content = content

    def add(self, vote: Feedback) -> None:
        """Send one vote: one event, or one per answer that a preference compares. It does not block."""
        time = int(vote.time.timestamp() * 1e9)
        for attributes in _attributes(vote, self._labels, self._content):
            self._logger.emit(LogRecord(timestamp=time, event_name=EVENT, attributes=attributes))

    def stop(self) -> None:
        """Send what was not sent yet. Blocks."""
        self._provider.shutdown()


def _attributes(vote: Feedback, labels: Collection[str], content: bool) -> Iterator[dict[str, Any]]:
    """The attributes of a vote's events."""
    common: dict[str, Any] = {"gen_ai.evaluation.name": vote.type, "loraloop.feedback.id": vote.id}
    if vote.conversation_id is not None:
        common["gen_ai.conversation.id"] = vote.conversation_id
    if vote.choice is not None:
        common["loraloop.choice"] = vote.choice
    explanation = vote.value if vote.type == "comment" else vote.comment
    if content and explanation is not None:
        common["gen_ai.evaluation.explanation"] = explanation
    if vote.type == "preference":
        for label, score in (("chosen", 1.0), ("rejected", 0.0)):
            yield common | _score(score, label) | {"gen_ai.response.id": vote.value[label]}
        return
    if vote.interaction_id is not None:
        common["gen_ai.response.id"] = vote.interaction_id
    match vote.type:
        case "thumbs":
            yield common | _score(float(vote.value), "up" if vote.value else "down")
        case "rating":
            yield common | _score(float(vote.value), None)
        case "label" | "flag" if content or vote.type in FIXED or label_key(vote.value) in labels:
            yield common | _score(None, vote.value)
        case _:
            yield common


def _score(value: float | None, label: str | None) -> dict[str, Any]:
    score = {"gen_ai.evaluation.score.value": value, "gen_ai.evaluation.score.label": label}
    return {name: given for name, given in score.items() if given is not None}
