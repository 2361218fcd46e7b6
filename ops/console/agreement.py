"""Agreement of reviewers: the page of how far they agree, and the adjudication of answers on which they disagree."""

from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import RedirectResponse

from core.acts import Act, act, note
from core.errors import AlreadyDone, InputError
from core.names import ADJUDICATOR
from core.route_list import RouteList
from feedback.ingest import add
from feedback.label_origins import DRAWN
from feedback.schema import CONSOLE, parse
from ops import reviewer_report, views
from ops.console import feedback_data, labelling
from ops.console.auth import ByVisitor, FormFields, Visitor
from ops.control import Control

PATH = "/feedback/agreement"


def page(
    control: Control,
    models: list[str],
    model: str | None,
    last: str | None,
    visitor: Visitor | None,
    reader: str | None,
) -> views.View:
    """The agreement on one model, by default the first that has labels, with the answers to adjudicate.

    It leaves out answers that the `reader` can still label.
    """
    of_labels = [name for name in models if control.settings.models[name].task == "classify"]
    if not (chosen := model or next(iter(of_labels), None)):
        raise InputError("No model has labels: only labels can be compared.")
    found = reviewer_report.view(control, chosen, reader)
    about = feedback_data.interactions_of(control.store, [row["interaction_id"] for row in found["disagreements"]])
    for row in found["disagreements"]:
        # None where retention has deleted the interaction.
        row["about"] = about.get(row["interaction_id"])
    given = labelling.last_label(control, chosen, last or "", visitor) if visitor else None
    return found | {"models": of_labels, "last": given}


def create_router(control: Control) -> RouteList:
    """Where the forms of the page go to."""
    router = RouteList()

    @router.post(PATH, include_in_schema=False)
    @act(Act.LABELS_WRITE)
    def adjudicate(request: Request, model: str, fields: FormFields, visitor: ByVisitor) -> Any:
        identity, label = fields.get("interaction_id", ""), fields.get("label")
        found = reviewer_report.read(control, model)
        if label not in found.labels:
            raise InputError("label: takes one of the model's labels.")
        if not found.awaits_adjudication(identity):
            raise AlreadyDone("This answer does not wait for an adjudication.", hint="Reload the page.")
        drawn = DRAWN if identity in found.drawn else {}
        signal = {
            "interaction_id": identity,
            "type": "label",
            "value": label,
            "user": f"{ADJUDICATOR}{visitor.key_id}",
            "metadata": {"source": CONSOLE, "actor": visitor.actor} | drawn,
        }
        records = parse(signal, control.clock, visitor.key_id, reviewer=True)
        add(control.store, records)
        note(request, model=model, thing=identity)
        return RedirectResponse(f"{PATH}?{urlencode({'model': model, 'last': records[0].id})}", 303)

    @router.post(f"{PATH}/undo", include_in_schema=False)
    @act(Act.LABELS_WRITE)
    def undo(request: Request, model: str, fields: FormFields, visitor: ByVisitor) -> Any:
        labelling.take_back(control, request, model, fields, visitor)
        return RedirectResponse(f"{PATH}?{urlencode({'model': model})}", 303)

    return router
