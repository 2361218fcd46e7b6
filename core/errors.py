"""Define the errors that LoraLoop raises on purpose. Any other exception is a bug.

LoraLoopError
  SettingsError
  InputError
    NotFound
    BodyTooLarge
    AmbiguousLabels
  KeyRefused
  LoginRefused
  Forbidden
  LimitReached
  AdapterRefused
  LedgerHeadBroken
  AuditLogFailed
    ActNotRecorded
  StoreError
    StoreNewer
    RowRefused
      RowKnown
    Conflict
  SpoolFull
  EngineError
    PromptRefused
    EngineDown
      NotLoaded
    EngineSlow
    EngineFailed
  ShuttingDown
  Unreachable
    ControlDown
    ProviderFailed
  TrainingFailed
    TooFewRows
  PackageError
  IntegrityFailed
  NotReady
    AlreadyDone
    RunInProgress
    NoTerminal

Each error has a one-sentence message, a hint that says what to do, an HTTP status, and whether a retry can help.
"""

from collections.abc import Mapping
from typing import Any

from core.quoting import quote_untrusted


class LoraLoopError(Exception):
    """The base of all errors. `status` and `headers` are for HTTP responses; `retry` says if a retry can help."""

    retry = False
    status = 500

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retry_after_s = retry_after_s
        self.headers = headers or {}

    @property
    def code(self) -> str:
        """The class name in snake case, for programs: `EngineDown` has `engine_down`."""
        return "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__).lstrip("_")

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class SettingsError(LoraLoopError):
    """The configuration cannot be used."""

    status = 422


class InputError(LoraLoopError):
    """A request or a file is wrong, and its sender can correct it. `field` is the field at fault, if it is one."""

    status = 422

    def __init__(self, message: str, *, field: str | None = None, hint: str = "", **more: Any) -> None:
        super().__init__(message, hint=hint, **more)
        self.field = field


class NotFound(InputError):
    """There is no object of this kind with this id."""

    status = 404

    def __init__(self, kind: str, identity: str, *, where: str = "", hint: str = "") -> None:
        """`kind` is a noun such as "model"; `where` continues the sentence, such as "in the settings"."""
        super().__init__(f"There is no {kind} {quote_untrusted(identity)}{where and ' '}{where}.", hint=hint)
        self.kind = kind

    @property
    def code(self) -> str:
        """`unknown_` and the kind, such as `unknown_model`."""
        return f"unknown_{self.kind.replace(' ', '_')}"


class BodyTooLarge(InputError):
    """A request body is longer than the limit."""

    status = 413


class AmbiguousLabels(InputError):
    """The base model's tokens cannot tell two labels or answers apart."""


class KeyRefused(LoraLoopError):
    """The request has no key, or its key is wrong, revoked or expired."""

    status = 401


class LoginRefused(LoraLoopError):
    """A log-in by an OpenID Connect provider is out of date, another browser's, or not signed as it must be."""

    status = 401


class Forbidden(LoraLoopError):
    """The key is valid, but lacks a scope or a model. `key_id` is its id where the check of the key raises this."""

    status = 403
    key_id = ""


class LimitReached(LoraLoopError):
    """The key has reached one of its limits. `key_id` is its id where the check of the key raises this."""

    status = 429
    retry = True
    key_id = ""


class AdapterRefused(LoraLoopError):
    """An adapter folder failed preflight and was not loaded."""

    status = 422


class LedgerHeadBroken(LoraLoopError):
    """The file with the ledger's newest hash cannot be read."""


class AuditLogFailed(LoraLoopError):
    """The audit log cannot be written, so no act is done."""

    retry = True
    status = 503


class ActNotRecorded(AuditLogFailed):
    """An act may be done, and its row of the audit log could not be written. To ask again could do it twice."""

    retry = False
    status = 500


class StoreError(LoraLoopError):
    """The DuckDB file cannot be used."""


class StoreNewer(StoreError):
    """The DuckDB file was written by a newer LoraLoop."""


class RowRefused(StoreError):
    """A row breaks a rule of its table. The store itself works."""


class RowKnown(RowRefused):
    """A row has the id of one that is stored, or a column has no value. The store itself works."""


class Conflict(StoreError):
    """Somebody else changed the same object first."""

    status = 409
    retry = True


class SpoolFull(LoraLoopError):
    """The disk of the spool is full or fails."""

    status = 503
    retry = True


class EngineError(LoraLoopError):
    """An engine answered with an error."""

    status = 502


class PromptRefused(EngineError):
    """An engine rejects this prompt, for example because it is too long. Other prompts still work."""


class EngineDown(EngineError):
    """An engine does not answer."""

    status = 503
    retry = True


class NotLoaded(EngineDown):
    """Engines answer, but none of them has the version loaded."""


class EngineSlow(EngineError):
    """An engine accepted a request and did not answer in time."""

    status = 504
    retry = True


class EngineFailed(EngineError):
    """An engine's process ended or never became ready."""


class ShuttingDown(LoraLoopError):
    """The process ends, and this request was not finished in the time that it had left."""

    status = 503
    retry = True


class Unreachable(LoraLoopError):
    """Another process that LoraLoop needs does not answer."""

    status = 503
    retry = True


class ControlDown(Unreachable):
    """Control does not answer a gateway that needs it."""


class ProviderFailed(Unreachable):
    """The OpenID Connect provider does not answer, or not as it must. Its configuration or ours may be wrong."""


class TrainingFailed(LoraLoopError):
    """The trainer's process failed."""


class TooFewRows(TrainingFailed):
    """Too few rows can be trained on: others are too long, empty, or refused by the base model's chat template."""


class PackageError(LoraLoopError):
    """A packaged model or data set could not be downloaded."""

    retry = True


class IntegrityFailed(LoraLoopError):
    """Stored or fetched data is missing, changed or unreadable."""


class NotReady(LoraLoopError):
    """A precondition of the command is not met."""

    status = 409


class AlreadyDone(NotReady):
    """The result that the command asks for exists already."""


class RunInProgress(NotReady):
    """Other work on the same model or resource has not ended yet."""


class NoTerminal(NotReady):
    """The command needs a terminal and has none."""
