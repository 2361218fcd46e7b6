"""The pages that stop, pause, resume or widen a canary, and freeze a model: each asks, and acts after the answer."""

from typing import Any, Literal

from core.acts import Act, act, act_by_verb, no_act
from core.errors import AlreadyDone, InputError, NotReady
from core.records import Verdict
from core.route_list import RouteList
from feedback import quarantine
from ops import views
from ops.actions import Actions
from ops.console.actions import NumberField, Question, by_visitor, confirm, done, held_votes, number
from ops.console.auth import ByVisitor, FormFields
from ops.console.rendering import Pages
from ops.control import Control

Verb = Literal["stop", "pause", "resume", "share"]
ACTS = {"stop": Act.CANARY_STOP, "pause": Act.CANARY_PAUSE, "resume": Act.CANARY_RESUME, "share": Act.CANARY_SHARE}
COUNT = "Its count of users begins from zero, at half the level, and so does its time limit."
FROZEN = "a freeze: no candidate gets users or becomes champion automatically"


def create_router(control: Control, pages: Pages) -> RouteList:
    """A page with the question at each action's URL, and the action itself where the page's form goes to."""
    router = RouteList()
    actions = Actions(control)

    @router.get("/models/{model}/canary/{verb}", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_canary(model: str, verb: Verb, visitor: ByVisitor) -> Any:
        return confirm(pages, _of_canary(control, model, verb), visitor)

    @router.post("/models/{model}/canary/{verb}", include_in_schema=False)
    @act_by_verb(ACTS)
    def change_canary(model: str, verb: Verb, fields: FormFields, visitor: ByVisitor) -> Any:
        version, by = number(fields, "version"), by_visitor(visitor, fields)
        if verb == "stop":
            actions.stop_canary(model, version, by, keep_data="keep_data" in fields)
        elif verb == "pause":
            actions.pause_canary(model, version, by)
        elif verb == "resume":
            actions.resume_canary(model, version, by)
        else:
            actions.set_canary_share(model, version, _share(fields), by)
        return done(f"/models/{model}")

    _add_freezes(router, control, actions, pages)
    return router


def _add_freezes(router: RouteList, control: Control, actions: Actions, pages: Pages) -> None:
    @router.get("/models/{model}/freeze", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_freeze(model: str, visitor: ByVisitor) -> Any:
        return confirm(pages, _freeze(control, model), visitor)

    @router.post("/models/{model}/freeze", include_in_schema=False)
    @act(Act.MODELS_FREEZE)
    def freeze(model: str, fields: FormFields, visitor: ByVisitor) -> Any:
        actions.freeze(model, by_visitor(visitor, fields))
        return done(f"/models/{model}")

    @router.get("/models/{model}/unfreeze", include_in_schema=False)
    @no_act("It asks a question and changes nothing.")
    def ask_unfreeze(model: str, visitor: ByVisitor) -> Any:
        return confirm(pages, _unfreeze(control, model), visitor)

    @router.post("/models/{model}/unfreeze", include_in_schema=False)
    @act(Act.MODELS_UNFREEZE)
    def unfreeze(model: str, fields: FormFields, visitor: ByVisitor) -> Any:
        actions.unfreeze(model, by_visitor(visitor, fields))
        return done(f"/models/{model}")


def _share(fields: dict[str, str]) -> float:
    """The share of users in a form, which asks for a percentage."""
    try:
        share = float(fields.get("percent", "")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 0.5:
        raise InputError("percent: takes a number above 0 and at most 50.", hint="For example: 20")
    return share


def _of_canary(control: Control, model: str, verb: Verb) -> Question:
    now = views.model(control, model)
    if now["canary"] is None:
        raise NotReady(f"{model} has no canary.", hint="The champion serves everyone already.")
    if (now["paused"] is not None) != (verb == "resume") and verb != "stop":
        is_paused = "is not paused" if verb == "resume" else "is paused"
        raise NotReady(f"The canary of {model} {is_paused}.", hint="See what it allows on the page of the model.")
    ask = {"stop": _stop, "pause": _pause, "resume": _resume, "share": _set_share}[verb]
    return ask(control, now)


def _serves(now: views.View) -> str:
    if now["paused"]:
        return f"v{now['canary']}, paused"
    return f"v{now['canary']}, {100 * now['share']:g}% of users"


def _stop(control: Control, now: views.View) -> Question:
    model, canary, champion = now["model"], now["canary"], now["champion"]
    suspects = quarantine.suspects(control.store, model, canary)
    decision = views.decisions(control.store, views.Filter(model=model, verdict=Verdict.CANARY_STARTED), 1)
    changes = (
        ("canary", _serves(now), f"none; v{canary} is rejected"),
        ("champion", f"v{champion}", f"v{champion}, for everyone"),
        held_votes(suspects),
    )
    return Question(
        f"Stop the canary v{canary} of {model}?",
        "Stop the canary",
        changes,
        f"Requests in flight finish where they are; none is lost. v{canary} can still be put in service: "
        f"loraloop models promote. {suspects.reason}",
        f"/models/{model}",
        {"version": canary},
        views.decision(control.store, decision[0]["id"]) if decision else None,
        suspects=len(suspects.predicates),
    )


def _pause(_: Control, now: views.View) -> Question:
    model, canary, champion = now["model"], now["canary"], now["champion"]
    changes = (
        ("canary", _serves(now), f"v{canary}, paused: it serves nobody"),
        ("champion", f"v{champion}", f"v{champion}, for everyone"),
    )
    note = f"Nothing is decided while it is paused. When it is resumed: {COUNT[0].lower()}{COUNT[1:]}"
    return _about_canary(now, f"Pause the canary v{canary} of {model}?", "Pause the canary", changes, note)


def _resume(_: Control, now: views.View) -> Question:
    model, canary, share = now["model"], now["canary"], now["paused"]["share"]
    changes = (("canary", _serves(now), f"v{canary}, {100 * share:g}% of users"),)
    return _about_canary(now, f"Resume the canary v{canary} of {model}?", "Resume the canary", changes, COUNT)


def _set_share(_: Control, now: views.View) -> Question:
    model, canary = now["model"], now["canary"]
    changes = (("canary", _serves(now), f"v{canary}, the share below"),)
    title = f"Change the share of the canary v{canary} of {model}?"
    asks = NumberField("percent", "Share of users, in percent", round(100 * now["share"], 6), 0.1, 50)
    return _about_canary(now, title, "Change the share", changes, COUNT, asks)


def _about_canary(
    now: views.View,
    title: str,
    button: str,
    changes: tuple[tuple[str, str, str], ...],
    note: str,
    asks: NumberField | None = None,
) -> Question:
    note = f"{note} Requests in flight finish where they are; none is lost."
    hidden = {"version": now["canary"]}
    return Question(title, button, changes, note, f"/models/{now['model']}", hidden, grave=False, asks=asks)


def _freeze(control: Control, model: str) -> Question:
    now = views.model(control, model)
    if now["frozen"]:
        raise AlreadyDone(f"{model} is frozen already.", hint="See its page for who froze it, and why.")
    changes = (
        ("automatic changes", "by the schedule and the gates", FROZEN),
        ("champion", f"v{now['champion']}", f"v{now['champion']}, until a person changes it"),
    )
    note = "A canary or holdback that does harm still ends. People can still promote, roll back and start runs."
    return Question(f"Freeze {model}?", "Freeze the model", changes, note, f"/models/{model}", {}, grave=False)


def _unfreeze(control: Control, model: str) -> Question:
    now = views.model(control, model)
    if not now["frozen"]:
        raise NotReady(f"{model} is not frozen.", hint="See its page for what serves.")
    changes = (("automatic changes", FROZEN, "by the schedule and the gates"),)
    note = "A canary that has passed is promoted, and a run that is due starts."
    return Question(f"End the freeze of {model}?", "End the freeze", changes, note, f"/models/{model}", {}, grave=False)
