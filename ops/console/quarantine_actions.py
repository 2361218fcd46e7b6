"""The pages that put votes in quarantine, and that release or discard a quarantine after a question."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import Request

from core.acts import Act, act, act_by_verb, no_act, note
from core.db.quarantines import Predicate
from core.errors import AlreadyDone, NotReady
from core.route_list import RouteList
from feedback import quarantine
from ops import views
from ops.actions import Actions
from ops.blind_labels import BlindLabels
from ops.console.actions import Question, by_visitor, confirm, done
from ops.console.auth import ByVisitor, FormFields
from ops.console.page_data import votes_text
from ops.console.pages import moment
from ops.console.rendering import Pages
from ops.control import Control

Verb = Literal["release", "discard"]
OUTCOMES: dict[Verb, quarantine.Outcome] = {"release": "released", "discard": "rejected"}


def create_router(control: Control, pages: Pages) -> RouteList:
    """A page with the question at each action's URL, and the action itself where the page's form goes to."""
    router = RouteList()
    actions = Actions(control)

    @router.get("/hold", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_hold(request: Request, visitor: ByVisitor) -> Any:
        return confirm(pages, _hold(actions, _wanted(request.query_params)), visitor)

    @router.post("/hold", include_in_schema=False)
    @act(Act.QUARANTINE_HOLD)
    def hold(request: Request, fields: FormFields, visitor: ByVisitor) -> Any:
        model, predicate = _wanted(fields)
        note(request, model=model)
        made = actions.hold(model, predicate, by_visitor(visitor, fields))
        note(request, thing=" ".join(one["id"] for one in made))
        return done(f"/quarantine/{made[0]['id']}" if len(made) == 1 else "/quarantine")

    @router.get("/quarantine/{identity}/{verb}", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_review(identity: str, verb: Verb, visitor: ByVisitor) -> Any:
        return confirm(pages, _review(control, identity, verb), visitor)

    @router.post("/quarantine/{identity}/{verb}", include_in_schema=False)
    @act_by_verb({"release": Act.QUARANTINE_RELEASE, "discard": Act.QUARANTINE_REJECT})
    def decide(identity: str, verb: Verb, fields: FormFields, visitor: ByVisitor) -> Any:
        actions.review(identity, OUTCOMES[verb], by_visitor(visitor, fields))
        return done(f"/quarantine/{identity}")

    return router


def _wanted(fields: Mapping[str, str]) -> tuple[str | None, Predicate]:
    """The model, or None for every model, and whose votes to hold. An empty field is not given."""
    given = {name: fields.get(name, "").strip() or None for name in ("model", "key", "user", "from", "until")}
    times = moment("from", given["from"]), moment("until", given["until"])
    return given["model"], Predicate(given["key"], given["user"], *times)


def _hold(actions: Actions, wanted: tuple[str | None, Predicate]) -> Question:
    model, predicate = wanted
    found = [row for row in actions.preview_hold(model, predicate) if row["votes"]]
    said = quarantine.describe(predicate)
    if not found:
        raise NotReady(
            f"There is no vote of {said}{f' on {model}' if model else ''}.", hint="Check key, user and time."
        )
    changes = tuple(
        (
            f"{row['votes']:,} votes on {row['model']}, of {row['voters']:,} voters",
            f"{row['votes'] - row['added']:,} in quarantine",
            "in quarantine, with votes that come later",
        )
        for row in found
    )
    times = {"from": predicate.since, "until": predicate.until}
    hidden = {"model": model, "key": predicate.key, "user": predicate.user} | {
        name: time and time.isoformat() for name, time in times.items()
    }
    return Question(
        f"Hold the votes of {said}?",
        "Hold the votes",
        changes,
        "No snapshot uses them until somebody releases them.",
        "/quarantine",
        {name: value for name, value in hidden.items() if value is not None},
    )


def _review(control: Control, identity: str, verb: Verb) -> Question:
    held = views.quarantine(control.store, identity, 1, BlindLabels(control.store, None))
    if held["state"] != "held":
        raise AlreadyDone(f"The quarantine {identity} was {held['state']} by {held['actor']} already.")
    votes = votes_text(**held["size"])
    releases = verb == "release"
    changes = ((votes, "in no snapshot", "may be learnt from again" if releases else "permanently left out"),)
    note = (
        "The next snapshot takes them like any other."
        if releases
        else "No snapshot ever takes them. The votes themselves stay in the store."
    )
    return Question(
        f"{verb.capitalize()} {votes}?",
        f"{verb.capitalize()} the votes",
        changes,
        note,
        f"/quarantine/{identity}",
        {},
        grave=not releases,
    )
