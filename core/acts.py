"""Acts: what people and programs do on control's routes, in fixed words, and how a route declares its act.

Each route has an act, or a reason why it has none. `ops/audit` records acts by these declarations.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from fastapi import Request

from core.route_list import RouteList

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
DECLARED = "declared_act"


class Act(StrEnum):
    """Every act of the audit log. Words of one group have one beginning."""

    LOGIN = "login"
    LOGOUT = "logout"
    ACCESS = "access"  # a request that the access check refused, on a route without an act or without a valid key
    TEXTS_READ = "texts.read"
    DATA_EXPORT = "data.export"
    DATA_IMPORT = "data.import"
    KEYS_CREATE = "keys.create"
    KEYS_ROTATE = "keys.rotate"
    KEYS_REVOKE = "keys.revoke"
    USERS_PREVIEW = "users.preview"
    USERS_ERASE = "users.erase"
    LABELS_WRITE = "labels.write"
    FILES_UPLOAD = "files.upload"
    FILES_READ = "files.read"
    FILES_DELETE = "files.delete"
    DEAD_LETTERS_REPLAY = "dead_letters.replay"
    DEAD_LETTERS_DROP = "dead_letters.drop"
    BACKUP_MAKE = "backup.make"
    BACKUP_RESTORE = "backup.restore"
    SETTINGS_RELOAD = "settings.reload"
    RETENTION_RUN = "retention.run"
    NOTIFICATIONS_TEST = "notifications.test"
    ALARMS_SILENCE = "alarms.silence"
    AUDIT_READ = "audit.read"
    AUDIT_EXPIRE = "audit.expire"  # the oldest rows of the audit log were deleted by age
    RUNS_START = "runs.start"
    RUNS_EVALUATE = "runs.evaluate"
    RUNS_CANCEL = "runs.cancel"
    RUNS_PAUSE = "runs.pause"
    RUNS_RESUME = "runs.resume"
    MODELS_ROLLBACK = "models.rollback"
    MODELS_PROMOTE = "models.promote"
    CANARY_STOP = "canary.stop"
    CANARY_PAUSE = "canary.pause"
    CANARY_RESUME = "canary.resume"
    CANARY_SHARE = "canary.share"
    MODELS_FREEZE = "models.freeze"
    MODELS_UNFREEZE = "models.unfreeze"
    PROMOTIONS_APPROVE = "promotions.approve"
    PROMOTIONS_REJECT = "promotions.reject"
    ADAPTERS_IMPORT = "adapters.import"
    QUARANTINE_HOLD = "quarantine.hold"
    QUARANTINE_RELEASE = "quarantine.release"
    QUARANTINE_REJECT = "quarantine.reject"


# Acts that read and change nothing.
READS = frozenset((Act.TEXTS_READ, Act.AUDIT_READ))
# Acts whose rows are written within seconds, not before the answer. Log-ins are unlimited, and a row costs a commit.
WRITTEN_SOON = READS | {Act.LOGIN, Act.LOGOUT}
# Acts that are done although their row cannot be written: the ledger or the run holds them too, or ops need them to
# repair the store. Every other act is refused.
NEVER_REFUSED = frozenset(
    (
        Act.LOGIN,
        Act.LOGOUT,
        Act.NOTIFICATIONS_TEST,
        Act.ALARMS_SILENCE,
        Act.RUNS_START,
        Act.RUNS_EVALUATE,
        Act.RUNS_CANCEL,
        Act.RUNS_PAUSE,
        Act.RUNS_RESUME,
        Act.MODELS_ROLLBACK,
        Act.MODELS_PROMOTE,
        Act.CANARY_STOP,
        Act.CANARY_PAUSE,
        Act.CANARY_RESUME,
        Act.CANARY_SHARE,
        Act.MODELS_FREEZE,
        Act.MODELS_UNFREEZE,
        Act.PROMOTIONS_APPROVE,
        Act.PROMOTIONS_REJECT,
        Act.ADAPTERS_IMPORT,
        Act.QUARANTINE_HOLD,
        Act.QUARANTINE_RELEASE,
        Act.QUARANTINE_REJECT,
    )
)


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a route declares: an act, one act per value of its path parameter `verb`, or why it has none.

    `texts` is whether it may show texts of users: prompts, answers, comments or parts of them.
    """

    act: Act | None = None
    by_verb: Mapping[str, Act] = field(default_factory=dict)
    reason: str = ""
    texts: bool = True

    def act_of(self, path_params: Mapping[str, Any]) -> Act | None:
        """The act of one request."""
        return self.by_verb.get(str(path_params.get("verb"))) if self.by_verb else self.act


def act(act: Act, *, texts: bool = True) -> Callable[[Endpoint], Endpoint]:
    """Declare the act of a route. Goes under the decorator of the route."""
    return _declaring(Declaration(act, texts=texts))


def act_by_verb(acts: Mapping[str, Act]) -> Callable[[Endpoint], Endpoint]:
    """Declare the acts of a route whose path has a `verb`."""
    return _declaring(Declaration(by_verb=acts))


def no_act(reason: str, *, texts: bool = True) -> Callable[[Endpoint], Endpoint]:
    """Declare that a route has no act, and why."""
    return _declaring(Declaration(reason=reason, texts=texts))


def only_numbers(endpoint: Endpoint) -> Endpoint:
    """Declare that a route has no act, for it shows names and numbers, no texts of users."""
    return no_act("It shows names and numbers, no texts.", texts=False)(endpoint)


def may_quote(endpoint: Endpoint) -> Endpoint:
    """Declare that a route has no act, although it shows reasons of quarantines."""
    return no_act("A reason may quote a phrase that several users wrote; it shows no other texts.")(endpoint)


def without_acts(router: RouteList, reason: str) -> RouteList:
    """Declare that no route of a router has an act, and why."""
    for endpoint in router.endpoints:
        setattr(endpoint, DECLARED, Declaration(reason=reason))
    return router


def declared(route: Any) -> Declaration | None:
    """What a route declares, None if it declares nothing."""
    return getattr(getattr(route, "endpoint", None), DECLARED, None)


def note(request: Request, *, model: str | None = None, thing: str | None = None) -> None:
    """Name the model and the thing of the request's act, where its path does not name them. Never a user or a text."""
    noted = getattr(request.state, "noted", {})
    request.state.noted = noted | {
        name: value for name, value in (("model", model), ("thing", thing)) if value is not None
    }


def _declaring(declaration: Declaration) -> Callable[[Endpoint], Endpoint]:
    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, DECLARED, declaration)
        return endpoint

    return declare
