"""The pages that cancel, pause and resume a run: each shows what will change, asks, and acts after the answer."""

from typing import Any, Literal

from core.acts import Act, act_by_verb, no_act
from core.errors import NotReady
from core.route_list import RouteList
from ops import views
from ops.actions import Actions
from ops.console.actions import Question, by_visitor, confirm, done
from ops.console.auth import ByVisitor, FormFields
from ops.console.rendering import Pages
from ops.control import Control

Verb = Literal["cancel", "pause", "resume"]
NOTES: dict[Verb, str] = {
    "cancel": "Its process ends, and its checkpoint is deleted. This cannot be undone. A new run can be started.",
    "pause": "A training ends after the step in progress, with a checkpoint. No other run of the model starts until "
    "it is resumed or cancelled.",
    "resume": "It goes on at its last checkpoint, and makes the same adapter as without the pause.",
}
AFTER: dict[Verb, str] = {"cancel": "cancelled", "pause": "paused", "resume": "queued"}


def create_router(control: Control, pages: Pages) -> RouteList:
    """A page with the question at each action's URL, and the action itself where the page's form goes to."""
    router = RouteList()
    actions = Actions(control)

    @router.get("/runs/{identity}/{verb}", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask(identity: str, verb: Verb, visitor: ByVisitor) -> Any:
        question = _question(views.run(control.store, identity), verb)
        return confirm(pages, question, visitor)

    @router.post("/runs/{identity}/{verb}", include_in_schema=False)
    @act_by_verb({"cancel": Act.RUNS_CANCEL, "pause": Act.RUNS_PAUSE, "resume": Act.RUNS_RESUME})
    def act(identity: str, verb: Verb, fields: FormFields, visitor: ByVisitor) -> Any:
        by = by_visitor(visitor, fields)
        if verb == "resume":
            actions.resume_run(identity, by)
        else:
            actions.interrupt_run(identity, verb, by)
        return done(f"/runs/{identity}")

    return router


def _question(run: views.View, verb: Verb) -> Question:
    if verb not in run["allowed"]:
        raise NotReady(f"Run {run['id']} is {run['state'].replace('_', ' ')}.", hint="See what it allows on its page.")
    progress = f", {run['progress']['text']}" if run["progress"] else ""
    changes = (
        ("run", f"{run['state']}{progress}", AFTER[verb]),
        ("champion", "serves", "serves, unchanged"),
    )
    return Question(
        f"{verb.capitalize()} the run of {run['model']}?",
        f"{verb.capitalize()} the run",
        changes,
        NOTES[verb],
        f"/runs/{run['id']}",
        {},
        grave=verb == "cancel",
    )
