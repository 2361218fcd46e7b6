"""The records that processes exchange and store, as frozen dataclasses."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

Arm = Literal["champion", "canary", "holdback", "pinned"]
Endpoint = Literal["chat", "completion"]
# What ended an exchange. Of all causes, only `answered` and `engine_error` say something about the version.
Cause = Literal[
    "answered",  # the engine's answer went to the client as a whole
    "engine_error",  # the engine failed with this request, or its answer cannot be read
    "refused",  # the engine, or a limit, refused the request
    "not_loaded",  # engines answer, but none had the version; with status 200, the champion answered instead
    "unreachable",  # no engine took the request, or the engine ended the connection
    "timeout",  # the engine exceeded a time limit
    "client_gone",  # the client left
    "client_slow",  # the client stopped reading
    "shutdown",  # the gateway ended
    "gateway_error",  # the gateway itself failed
]
Kind = Literal["base", "adapter", "retrieval"]


class Verdict(StrEnum):
    """What a decision decided; see the words in docs/architecture.md."""

    PROMOTED = "promoted"
    KEPT = "kept"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    AWAITING_APPROVAL = "awaiting_approval"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANARY_STARTED = "canary_started"
    SWITCHED = "switched"
    IMPORTED = "imported"
    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"
    RELEASED = "released"
    DISCARDED = "discarded"
    QUARANTINED = "quarantined"
    RESTORED = "restored"
    ERASED = "erased"
    CANCELLED = "cancelled"
    CANARY_PAUSED = "canary_paused"
    CANARY_RESUMED = "canary_resumed"
    SHARE_CHANGED = "share_changed"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"


@dataclass(frozen=True, slots=True)
class Interaction:
    """One request with its response. Its id is the completion's `id` in OpenAI's API.

    `bucket` is the sticky split's hash in [0, 1), None when the request named no user, and `share`
    the canary's share at that moment, or the holdback's; together they say why this version answered.
    Latencies are milliseconds; `request`, `answer` are None when the client asked for `store: false`.
    `key_id` is the key of the request: users of two keys are two people, even if they have one name. `cause` says what
    ended the exchange; None in records from before it was written down. `answer` is the text of the first choice.
    `choices` has every choice with its whole message, in the form of OpenAI's API, where `answer` and `finish_reason`
    do not say all: several choices, tool calls, a refusal, reasoning, log-probabilities. `asked` says that the gateway
    drew the interaction at random and marked its answer, so that the app asks its user for a label.
    """

    id: str
    time: datetime
    model: str
    version: int
    arm: Arm
    share: float
    bucket: float | None
    user: str | None
    conversation: str | None
    endpoint: Endpoint
    request: dict[str, Any] | None
    answer: str | None
    finish_reason: str | None
    status: int
    latency_ms: float
    ttft_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    streamed: bool
    key_id: str | None = None
    cause: Cause | None = None
    choices: list[dict[str, Any]] | None = None
    asked: bool = False


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """A chat completion that the app asked to store: the answer as it was given, in addition to its interaction.

    `key_id` is the key of the request. Other keys cannot read the completion.
    """

    id: str
    time: datetime
    key_id: str
    metadata: dict[str, str]
    completion: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One typed signal on an interaction, a conversation, or a pair of interactions.

    `key_id` is the key that gave it; None in records from before it was written down. `choice` is the index of the
    answer that it is about, where the interaction has several.
    """

    id: str
    time: datetime
    interaction_id: str | None
    conversation_id: str | None
    type: str
    value: Any
    comment: str | None = None
    user: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    key_id: str | None = None
    choice: int | None = None


@dataclass(frozen=True, slots=True)
class Revocation:
    """A feedback taken back; the next snapshot leaves it out.

    `key_id` limits the revocation to feedback of that key. None: feedback of any key can be revoked. `by` is the key
    that asked: the id may be one that this key chose itself, or another key of the same name. With `interaction_id` and
    `user`, everything that the user said about the interaction before is taken back, and `feedback_id` is "".
    """

    feedback_id: str
    time: datetime
    key_id: str | None = None
    by: str | None = None
    interaction_id: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a model: an adapter, or a retrieval.

    Version 0 is the bare base model and has no path. The base model also serves a retrieval: its folder contains
    the texts that are put before a question, and `sha256` is the hash of that file.
    """

    model: str
    version: int
    engine_name: str
    path: str | None
    sha256: str | None
    rank: int
    run_id: str | None
    kind: Kind = "adapter"

    @property
    def is_adapter(self) -> bool:
        """Whether engines must load it; anything else they answer as the base model."""
        return self.path is not None and self.kind == "adapter"

    @property
    def public_name(self) -> str:
        """The name people use, e.g. `reviews@7`."""
        return f"{self.model}@{self.version}"


@dataclass(frozen=True, slots=True)
class Route:
    """Who serves a model: the champion, maybe a canary with its share, and where to roll back to.

    `holdback` is the share of users that `held` keeps: `previous` for a while after a promotion, or the anchor during
    a canary. `anchor` is None in routes from before anchors; see `compared_with`. `rev` counts the changes of this
    model's route; a change names the `rev` that it replaces.
    """

    model: str
    rev: int
    champion: int
    canary: int | None
    share: float
    previous: int | None
    salt: str
    holdback: float = 0.0
    anchor: int | None = None

    @property
    def compared_with(self) -> int:
        """The anchor: the version that no candidate may be worse than by more than the margin."""
        return self.champion if self.anchor is None else self.anchor

    @property
    def held(self) -> int | None:
        """The version that keeps the share `holdback` of users, or None."""
        if not self.holdback:
            return None
        return self.previous if self.canary is None else self.compared_with


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the ledger before it is hashed: a verdict with its binding reason in one sentence.

    `evidence` holds KPIs and guardrails with intervals, n and thresholds; `lineage` what the candidate
    was made of; `live` what the canary or the switch measured; `gate_code` which gates judged.
    """

    id: str
    time: datetime
    model: str
    from_version: int | None
    to_version: int | None
    verdict: Verdict
    reason: str
    trigger: str
    actor: str
    comment: str = ""
    run_id: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    gate_code: str = ""
