"""What needs a person, the most urgent first: alarms, approvals, pauses, freezes, quarantines. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from ops import views
from retrain.run_states import PAUSED


@dataclass(frozen=True, slots=True)
class Need:
    """One thing: a sentence, the page where it can be done, and what the link says. An alarm is urgent."""

    text: str
    href: str
    link: str
    urgent: bool = False


def needs(alarms: Sequence[views.View], models: Sequence[views.View], held: Mapping[str, int]) -> list[Need]:
    """All needs of these models. `held` is the number of quarantines by model that nobody has decided."""
    found = [_of_alarm(alarm) for alarm in alarms]
    for model in models:
        found += _of_model(model, held.get(model["model"], 0))
    return found


def _of_alarm(alarm: views.View) -> Need:
    """A key that is limited to a model may not open the page of the system, so the model's own page is linked."""
    if alarm["model"] is None:
        return Need(alarm["sentence"], "/system", "System", urgent=True)
    return Need(alarm["sentence"], f"/models/{quote(alarm['model'], safe='')}", "The model", urgent=True)


def _of_model(model: views.View, held: int) -> list[Need]:
    name, found = model["model"], list[Need]()
    page = f"/models/{quote(name, safe='')}"
    if model["awaiting"]:
        found.append(
            Need(
                f"{name}: a candidate waits for approval.", f"/promotions/{quote(model['awaiting'], safe='')}", "Decide"
            )
        )
    if model["run"] and model["run"]["state"] == PAUSED:
        text = f"{name}: a run is paused. No other run of this model starts before it is resumed or cancelled."
        found.append(Need(text, f"/runs/{quote(model['run']['id'], safe='')}", "The run"))
    if model["paused"]:
        found.append(
            Need(f"{name}: a canary is paused. It serves nobody until it is resumed or stopped.", page, "The model")
        )
    if model["frozen"]:
        text = f"{name} is frozen. No candidate gets users or becomes champion until the freeze ends."
        found.append(Need(text, page, "The model"))
    if held:
        waits = "1 quarantine waits" if held == 1 else f"{held} quarantines wait"
        found.append(Need(f"{name}: {waits} for review.", f"/quarantine?model={quote(name, safe='')}", "Review"))
    return found
