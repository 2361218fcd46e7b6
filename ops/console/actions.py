"""The pages that act: each shows what will change, asks, and acts after the answer.

It owns the questions; what is done is `ops/actions.py`'s. Everything works without a script.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import RedirectResponse

from core.acts import Act, act, no_act, note
from core.errors import AlreadyDone, InputError, NotReady, RunInProgress
from core.route_list import RouteList
from feedback import quarantine
from feedback.indictment import Indictment
from ops import views
from ops.actions import Actions, By
from ops.console.auth import ByVisitor, FormFields, Visitor
from ops.console.rendering import Pages
from ops.control import Control

LONGEST_COMMENT = 2000


@dataclass(frozen=True, slots=True)
class NumberField:
    """A number that a form asks for, within these limits; `value` is proposed."""

    name: str
    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Question:
    """What a confirmation page asks: the title, the button, and one line for each thing that changes or stays."""

    title: str
    button: str
    changes: tuple[tuple[str, str, str], ...]
    note: str
    back: str
    hidden: dict[str, Any]
    decision: views.View | None = None
    grave: bool = True
    # Voters and keys whose votes go to quarantine unless the data is to be kept; None where nothing is quarantined.
    suspects: int | None = None
    # Where the form goes, if not to the address of the question.
    action: str = ""
    # What the form asks for besides the comment.
    asks: NumberField | None = None


def confirm(pages: Pages, question: Question, visitor: Visitor) -> Any:
    """The page that asks a question, with a field for a comment."""
    return pages.render("confirm.html", q=question, visitor=visitor, longest=LONGEST_COMMENT)


def create_router(control: Control, pages: Pages) -> RouteList:
    """A page with the question at each action's URL, and the action itself where the page's form goes to."""
    router = RouteList()
    actions = Actions(control)

    @router.get("/models/{model}/rollback", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_roll_back(model: str, visitor: ByVisitor, to: int | None = None) -> Any:
        return confirm(pages, _roll_back(control, model, to), visitor)

    @router.post("/models/{model}/rollback", include_in_schema=False)
    @act(Act.MODELS_ROLLBACK)
    def roll_back(model: str, fields: FormFields, visitor: ByVisitor) -> Any:
        _still(control, model, fields)
        actions.roll_back(model, number(fields, "to"), by_visitor(visitor, fields), keep_data="keep_data" in fields)
        return done(f"/models/{model}")

    @router.get("/models/{model}/retrain", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_retrain(model: str, visitor: ByVisitor) -> Any:
        return confirm(pages, _retrain(control, model), visitor)

    @router.post("/models/{model}/retrain", include_in_schema=False)
    @act(Act.RUNS_START)
    def retrain(request: Request, model: str, fields: FormFields, visitor: ByVisitor) -> Any:
        note(request, thing=actions.retrain(model, by_visitor(visitor, fields)))
        return done(f"/runs?model={model}")

    _add_approvals(router, control, actions, pages)
    return router


def _add_approvals(router: RouteList, control: Control, actions: Actions, pages: Pages) -> None:
    @router.get("/promotions/{identity}/approve", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_approve(identity: str, visitor: ByVisitor) -> Any:
        return confirm(pages, _approve(control, actions, identity), visitor)

    @router.post("/promotions/{identity}/approve", include_in_schema=False)
    @act(Act.PROMOTIONS_APPROVE)
    def approve(identity: str, fields: FormFields, visitor: ByVisitor) -> Any:
        run, _ = actions.awaiting(identity)
        _still(control, run["model"], fields)
        actions.approve(identity, by_visitor(visitor, fields))
        return done(f"/models/{run['model']}")

    @router.get("/promotions/{identity}/reject", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_reject(identity: str, visitor: ByVisitor) -> Any:
        return confirm(pages, _reject(control, actions, identity), visitor)

    @router.post("/promotions/{identity}/reject", include_in_schema=False)
    @act(Act.PROMOTIONS_REJECT)
    def reject(identity: str, fields: FormFields, visitor: ByVisitor) -> Any:
        run, _ = actions.awaiting(identity)
        actions.reject(identity, by_visitor(visitor, fields), keep_data="keep_data" in fields)
        return done(f"/models/{run['model']}")


def by_visitor(visitor: Visitor, fields: dict[str, str]) -> By:
    """Who acts, and why, as a form says. Raises InputError for a comment that is too long."""
    comment = fields.get("comment", "").replace("\r\n", "\n").strip()
    if len(comment) > LONGEST_COMMENT:
        raise InputError(f"comment: at most {LONGEST_COMMENT} characters.", hint="Shorten it.")
    return By(visitor.actor, comment)


def done(url: str) -> RedirectResponse:
    """The answer after an action: the page that shows it."""
    # 303: the browser requests the page again, and a reload does not act again.
    return RedirectResponse(url, 303)


def number(fields: dict[str, str], name: str) -> int:
    """A version's number in a form. Raises InputError."""
    text = fields.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InputError(f"{name}: takes the number of a version.")
    return int(text)


def _still(control: Control, model: str, fields: dict[str, str]) -> None:
    """What was shown must still serve, or somebody would confirm something else than they read."""
    if number(fields, "champion") != control.promotion.route(model).champion:
        raise NotReady(f"{model} has another champion than the page showed; nothing was done.", hint="Look again.")


def _roll_back(control: Control, model: str, to: int | None) -> Question:
    now = views.model(control, model)
    target = now["rollback_to"] if to is None else to
    if target is None:
        raise NotReady(f"{model} has had no other champion.", hint="It can be retrained.")
    control.promotion.version(model, target)
    if target == now["champion"]:
        raise AlreadyDone(f"{model}@{target} is already the champion.")
    decision = views.decision(control.store, now["decision"]) if now["decision"] else None
    suspects = quarantine.suspects(control.store, model, now["champion"])
    changes = (
        ("champion", f"v{now['champion']}", f"v{target}{' (base model)' if target == 0 else ''}"),
        ("canary", "none" if now["canary"] is None else f"v{now['canary']}, {now['share']:.0%} of users", "none"),
        held_votes(suspects),
    )
    return Question(
        f"Roll {model} back to v{target}?",
        f"Roll back to v{target}",
        changes,
        "Requests in flight finish where they are and new ones go to the other version; none is lost. "
        f"To undo it, roll back to v{now['champion']}. {suspects.reason}",
        f"/models/{model}",
        {"champion": now["champion"], "to": target},
        decision,
        suspects=len(suspects.predicates),
    )


def held_votes(suspects: Indictment) -> tuple[str, str, str]:
    """The line that says what happens to votes against the version that leaves."""
    if not suspects.predicates:
        return "votes against it", "may be learnt from", "nothing goes to quarantine"
    votes = f"votes of {quarantine.whose(suspects.predicates, None)}"
    return votes, "may be learnt from", "in quarantine until somebody reviews them"


def _retrain(control: Control, model: str) -> Question:
    now = views.model(control, model)
    if now["run"]:
        raise RunInProgress(f"A run of {model} is under way.", hint="See its runs.")
    changes = (
        ("champion", f"v{now['champion']}", f"v{now['champion']}, until a candidate passes every gate"),
        ("new feedback", f"{now['new_feedback']}", "goes into the snapshot"),
    )
    return Question(
        f"Start a run of {model}?",
        "Start the run",
        changes,
        "It takes a snapshot, trains a candidate and judges it like any other.",
        f"/models/{model}",
        {},
        grave=False,
    )


def _approve(control: Control, actions: Actions, identity: str) -> Question:
    run, decision = actions.awaiting(identity)
    now = views.model(control, run["model"])
    if decision["live"].get("step") == "canary":
        canary = (("canary", "none", f"v{run['candidate']}"), ("champion", f"v{now['champion']}", "stays meanwhile"))
        return Question(
            f"Let {run['model']}@{run['candidate']} begin its canary?",
            f"Approve v{run['candidate']}",
            canary,
            "A share of users gets its answers. LoraLoop ends it automatically if they are worse.",
            f"/promotions/{decision['id']}",
            {"champion": now["champion"]},
            decision,
            grave=False,
        )
    changes = (
        ("champion", f"v{now['champion']}", f"v{run['candidate']}"),
        ("to roll back to", "none" if now["rollback_to"] is None else f"v{now['rollback_to']}", f"v{now['champion']}"),
    )
    return Question(
        f"Let {run['model']}@{run['candidate']} take over?",
        f"Approve v{run['candidate']}",
        changes,
        "It passed its gates. A rollback undoes it.",
        f"/promotions/{decision['id']}",
        {"champion": now["champion"]},
        decision,
        grave=False,
    )


def _reject(control: Control, actions: Actions, identity: str) -> Question:
    run, decision = actions.awaiting(identity)
    now = views.model(control, run["model"])
    suspects = quarantine.suspects(control.store, run["model"], run["candidate"])
    changes = (
        ("champion", f"v{now['champion']}", f"v{now['champion']}, it stays"),
        ("candidate", f"v{run['candidate']}", "turned away"),
        held_votes(suspects),
    )
    return Question(
        f"Turn {run['model']}@{run['candidate']} away?",
        f"Reject v{run['candidate']}",
        changes,
        f"It can still be put in service by hand: loraloop models promote. {suspects.reason}",
        f"/promotions/{decision['id']}",
        {},
        decision,
        suspects=len(suspects.predicates),
    )
