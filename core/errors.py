"""The tree of errors that LoraLoop raises on purpose; anything else is a bug.

LoraLoopError
  SettingsError            the configuration cannot be used
  InputError               a request or a file is wrong; the sender can mend it
    UnknownModel           no model of that name
    UnknownVersion         no such version of the model
    UnknownDecision        no row of that id in the ledger
    UnknownInteraction     no interaction of that id in the store
    BodyTooLarge           a request's body is longer than is read
    UnknownKey             no key of that id in the store
    UnknownCompletion      no stored completion of that id that the key may see
  KeyRefused               no key, or one that is wrong, revoked or expired
  Forbidden                the key is right, but lacks a scope or a model
  LimitReached             the key has used up what it may do for now
  AdapterRefused           an adapter folder failed preflight
  StoreError               the DuckDB file cannot be used
    StoreNewer             the file was written by a newer LoraLoop
    RowRefused             a row cannot be stored as it is
    Conflict               somebody else changed the same thing first
  SpoolFull                the spool's disk takes no more bytes
  EngineError              an engine answered with an error
    PromptRefused          an engine does not take this one prompt, being too long or the like
    EngineDown             an engine does not answer
    EngineSlow             an engine did not answer in time
    EngineFailed           an engine's process ended or never became ready
  ControlDown              control does not answer a gateway that needs it
  TrainingFailed           the trainer's process ended badly
  PackageError             a packaged model or data set could not be had
  NotReady                 a precondition of a command does not hold

Each error is one sentence, with a hint that says what to do, and knows whether trying again helps.
"""

from collections.abc import Mapping


class LoraLoopError(Exception):
    """Something went wrong that a person can act upon; `headers` go out with the answer that says so."""

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

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class SettingsError(LoraLoopError):
    """The configuration cannot be used."""

    status = 422


class InputError(LoraLoopError):
    """A request or a file is wrong, and its sender can mend it."""

    status = 422


class UnknownModel(InputError):
    """No model of that name is configured."""

    status = 404


class UnknownVersion(InputError):
    """The model has no such version."""

    status = 404


class UnknownDecision(InputError):
    """The ledger has no row of that id."""

    status = 404


class UnknownInteraction(InputError):
    """The store has no interaction of that id."""

    status = 404


class BodyTooLarge(InputError):
    """A request's body is longer than is read."""

    status = 413


class UnknownKey(InputError):
    """The store has no key of that id."""

    status = 404


class UnknownCompletion(InputError):
    """No completion of that id is stored for the key that asks."""

    status = 404


class KeyRefused(LoraLoopError):
    """The request carries no key, or one that is wrong, revoked or expired."""

    status = 401


class Forbidden(LoraLoopError):
    """The key is right, but lacks a scope or a model."""

    status = 403


class LimitReached(LoraLoopError):
    """The key has used up what it may do for now."""

    status = 429
    retry = True


class AdapterRefused(LoraLoopError):
    """An adapter folder failed preflight and was not loaded."""

    status = 422


class StoreError(LoraLoopError):
    """The DuckDB file cannot be used."""


class StoreNewer(StoreError):
    """The DuckDB file was written by a newer LoraLoop."""


class RowRefused(StoreError):
    """A row cannot be stored as it is; the store itself is well."""


class Conflict(StoreError):
    """Somebody else changed the same thing first."""

    status = 409
    retry = True


class SpoolFull(LoraLoopError):
    """The spool's disk takes no more bytes."""

    status = 503
    retry = True


class EngineError(LoraLoopError):
    """An engine answered with an error."""

    status = 502


class PromptRefused(EngineError):
    """An engine does not take this one prompt, being too long or the like; it is well and takes others."""


class EngineDown(EngineError):
    """An engine does not answer."""

    status = 503
    retry = True


class EngineSlow(EngineError):
    """An engine took a request and did not answer in time."""

    status = 504
    retry = True


class EngineFailed(EngineError):
    """An engine's process ended or never became ready."""


class ControlDown(LoraLoopError):
    """Control does not answer a gateway that needs it."""

    status = 503
    retry = True


class TrainingFailed(LoraLoopError):
    """The trainer's process ended badly."""


class PackageError(LoraLoopError):
    """A packaged model or data set could not be had."""

    retry = True


class NotReady(LoraLoopError):
    """A precondition of the command does not hold."""

    status = 409
