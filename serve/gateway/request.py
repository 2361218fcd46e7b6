"""The state of one completion request, what an engine receives of it, and the records that are made of it."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from core.api_keys import Scope
from core.clock import Clock, unguessable_id
from core.errors import Forbidden, InputError
from core.http import parse_json
from core.names import REVIEWER
from core.records import Endpoint, Interaction, StoredCompletion
from serve.gateway.answers import Answer
from serve.gateway.authentication import RequestPermit
from serve.gateway.outcome import Outcome
from serve.gateway.request_fields import left_out, select_fields, without_template
from serve.gateway.translation import Translation
from serve.routing.table import RoutingDecision, RoutingTable, sticky_key
from serve.stored_completions.metadata import checked_metadata

if TYPE_CHECKING:
    from serve.gateway.capture import StreamRecorder
    from serve.gateway.passing_events import PassingEvents

PREFIX: dict[Endpoint, str] = {"chat": "chatcmpl-", "completion": "cmpl-"}
# Of text in JSON, roughly; only for what is charged when the true count never came.
BYTES_A_TOKEN = 4
# What is reserved for an answer without `max_tokens`.
USUAL_ANSWER_TOKENS = 256
# Tells the app to ask its user which label is right.
ASK = (b"x-loraloop-ask", b"label")
# With so few brackets, no body is nested too deeply for orjson, which writes 254 levels.
SAFE_DEPTH = 128


@dataclass(slots=True)
class CompletionRequest:
    """One completion request: its body, its version, and its start in seconds of `perf_counter`.

    `tokens` counts prompt and answer together, once they are known. `pieces` counts the events of a stream so far.
    `size` is the request's size in bytes. `headers` are the headers of its answer. `key_id` is the key of the
    request. `streamed` says whether the client asked for a stream, and `stores` whether the completion is stored.
    `shown` is what an engine gets instead of the app's prompt. `tee` captures a stream, `events` is what the client
    gets of it. `begun` says whether an answer has begun, and `outcome` how the exchange ended. `fell_back` says whether
    the champion answers because no engine has the version. `translation` is that of a request of another API. `asked`
    says that the answer is marked: the app should ask its user for a label.
    """

    id: str
    endpoint: Endpoint
    body: dict[str, Any]
    choice: RoutingDecision
    user: str | None
    conversation: str | None
    started: float
    key_id: str
    streamed: bool = False
    stores: bool = False
    first_byte: float | None = None
    tokens: int = 0
    size: int = 0
    pieces: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    shown: dict[str, Any] | None = None
    tee: "StreamRecorder | None" = None
    begun: bool = False
    fell_back: bool = False
    outcome: Outcome | None = None
    translation: Translation | None = None
    events: "PassingEvents | None" = None
    asked: bool = False

    @property
    def guessed(self) -> int:
        """Tokens of an answer whose end nobody waited for: engines count them in its last event."""
        return self.size // BYTES_A_TOKEN + self.pieces

    @property
    def most_tokens(self) -> int:
        """Tokens that the request may use, by its size and by the length of the answers that it asks for."""
        each = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        answers = self.body.get("n")
        longest = each if type(each) is int and each > 0 else USUAL_ANSWER_TOKENS
        return self.size // BYTES_A_TOKEN + longest * (answers if type(answers) is int and answers > 0 else 1)

    @property
    def wants_usage(self) -> bool:
        """Whether the client asked to see the tokens at a stream's end; engines are always asked."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def version_name(self) -> str:
        """The public name of the version, such as `reviews@7`."""
        return f"{self.choice.model}@{self.choice.target.version}"

    @property
    def engine_id(self) -> str:
        """The id that the engine is given; it puts the endpoint's prefix before it."""
        return self.id.removeprefix(PREFIX[self.endpoint])

    def answer_headers(self, admission: RequestPermit) -> list[tuple[bytes, bytes]]:
        """The headers of an answer: its id, its version, what was left out, and what is left of the key's limits."""
        identity = self.id.encode()
        headers = [(b"x-request-id", identity), (b"x-loraloop-version", self.version_name.encode())]
        if self.asked:
            headers.append(ASK)
        if self.translation is not None:
            headers.append((b"request-id", identity))  # where Anthropic's clients read it
        if ignored := left_out(self.endpoint, self.body):
            headers.append((b"x-loraloop-ignored", ", ".join(ignored).encode()))
        if admission.headers:
            headers += [(name.encode(), value.encode()) for name, value in admission.headers.items()]
        return headers

    def upstream_body(self) -> bytes:
        """The body for the engine: the version's own name, and only fields that a client may set."""
        body = select_fields(self.endpoint, self.body)
        if self.shown:
            body |= self.shown
        body["model"] = self.choice.target.engine_name
        body = without_template(body)
        if body.get("stream"):
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return orjson.dumps(body)

    def interaction(self, clock: Clock, outcome: Outcome, *, answer: Answer, usage: dict[str, Any]) -> Interaction:
        """Return the record of the current state. With `store: false` it contains no text."""
        now = time.perf_counter()
        kept = self.body.get("store") is not False
        return Interaction(
            id=self.id,
            time=clock(),
            model=self.choice.model,
            version=self.choice.target.version,
            arm=self.choice.arm,
            share=self.choice.share,
            bucket=self.choice.bucket,
            user=self.user,
            conversation=self.conversation,
            endpoint=self.endpoint,
            request=self.body if kept else None,
            answer=answer.text if kept else None,
            finish_reason=answer.finish_reason,
            status=outcome.status,
            latency_ms=(now - self.started) * 1000,
            ttft_ms=(self.first_byte - self.started) * 1000 if self.first_byte else None,
            prompt_tokens=usage.get("prompt_tokens"),
            completion_tokens=usage.get("completion_tokens"),
            streamed=self.streamed,
            key_id=self.key_id,
            cause=outcome.cause,
            choices=answer.choices if kept else None,
            asked=self.asked,
        )

    def stored(self, interaction: Interaction, completion: dict[str, Any]) -> StoredCompletion | None:
        """Return what is stored in addition to the interaction, if the client asked for it."""
        if not self.stores:
            return None
        metadata = self.body.get("metadata") or {}
        kept = completion if self.translation is None else self.translation.kept(completion)
        return StoredCompletion(self.id, interaction.time, self.key_id, metadata, kept)


def open_request(
    body: dict[str, Any],
    content: bytes,
    endpoint: Endpoint,
    table: RoutingTable,
    admission: RequestPermit,
    started: float,
    translation: Translation | None = None,
) -> CompletionRequest:
    """Checks a request and chooses who answers it. Raises InputError naming the field, NotFound or Forbidden.

    `body` is that of the chat or completion route, `content` are the bytes that the client sent.
    """
    _check_form(body, content)
    choice, user, conversation = choose_version(body, table, admission)
    stores = body.get("store") is True and endpoint == "chat"
    if stores:
        checked_metadata(body.get("metadata"))
    identity = (PREFIX[endpoint] if translation is None else translation.prefix) + unguessable_id()
    return CompletionRequest(
        identity,
        endpoint,
        body,
        choice,
        user,
        conversation,
        started,
        admission.key_id,
        streamed=bool(body.get("stream")),
        stores=stores,
        size=len(content) + (0 if translation is None else translation.earlier_bytes),
        translation=translation,
        # Without its text, a label on an answer says nothing.
        asked=body.get("store") is not False and table.asks_about(choice, identity),
    )


def choose_version(
    body: dict[str, Any], table: RoutingTable, admission: RequestPermit
) -> tuple[RoutingDecision, str | None, str | None]:
    """(version, user, conversation) of a request. Raises InputError naming the field, NotFound or Forbidden."""
    model = body.get("model")
    if not isinstance(model, str):
        raise InputError("model: name the model as a string.", hint="See GET /v1/models.")
    key, user, conversation = sticky_key(body)
    if user and user.startswith(REVIEWER) and not admission.opens(Scope.OPS_WRITE):
        raise Forbidden(f"user: only keys with ops:write may name a user {REVIEWER}…", hint="Send another name.")
    if "@" in model:
        if not admission.opens(Scope.OPS_READ):
            raise Forbidden("This key may not choose a version.", hint="Name the model alone; ops:read may choose.")
        choice = table.pinned(model)
    else:
        choice = table.choose(model, key)
    admission.require_model(choice.model)
    return choice, user, conversation


def parse_body(content: bytes) -> dict[str, Any]:
    """The body of a request. Raises InputError for anything but a JSON object."""
    return check_is_object(parse_json(content))


def check_is_object(body: Any) -> dict[str, Any]:
    """The body of a request. Raises InputError for anything but an object."""
    if not isinstance(body, dict):
        raise InputError("The body is not a JSON object.", hint="Send one JSON object.")
    return body


def _check_form(body: dict[str, Any], content: bytes) -> None:
    stream, options = body.get("stream"), body.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise InputError("stream: takes true or false.")
    if options is not None and not isinstance(options, dict):
        raise InputError("stream_options: takes an object.")
    if content.count(b"[") + content.count(b"{") > SAFE_DEPTH:
        dump_body([body])  # one deeper, as the spool's record holds it


def dump_body(body: Any) -> bytes:
    """A body as JSON. Raises InputError for one that is nested too deeply."""
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise InputError("The body is nested too deeply.") from error
