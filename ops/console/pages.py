"""The console's pages that only read, each with a `.json` twin of the same view.

It owns which page shows which view; `ops.views` and the `*_data` modules make the views, the templates the HTML.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from core.acts import Act, act, may_quote, no_act, note, only_numbers
from core.errors import InputError
from core.route_list import RouteList
from ops import views
from ops.alarms.watch import AlarmWatch
from ops.blind_labels import BlindLabels, reader_of, reviewer_of
from ops.console import (
    agreement,
    comparing,
    decision_groups,
    decision_page,
    feedback_data,
    labelling,
    page_data,
    request_data,
)
from ops.console import overview as overview_data
from ops.console.auth import known
from ops.console.login import FRONT
from ops.console.rendering import Pages
from ops.control import Control
from ops.notify.notifier import Delivery

A_PAGE = 25
UNKEPT = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
View = views.View
Declare = Callable[[Any], Any]
READS_TEXTS = act(Act.TEXTS_READ)
names_users = no_act("It shows names of users, no texts.")
# Adds the page of a view at a path, drawn by a template, with what its routes declare.
AddPage = Callable[[str, str, Callable[..., View], Declare], None]
Text = Annotated[str | None, Query(max_length=200)]
Number = Annotated[int | None, Query(ge=0, lt=2**62)]


def page_adder(router: RouteList, control: Control, pages: Pages) -> AddPage:
    """Return what adds a page of a view to a router, and before it its twin in JSON.

    The page's own pattern would take the twin's last part for a name.
    """

    def add(path: str, template: str, view: Callable[..., View], declare: Declare) -> None:
        @router.get(f"{path}.json", include_in_schema=False)
        @declare
        def twin(response: Response, found: Annotated[View, Depends(view)]) -> View:
            response.headers.update(UNKEPT)
            return found

        @router.get(path, include_in_schema=False)
        @declare
        def page(request: Request, found: Annotated[View, Depends(view)]) -> Any:
            query = f"?{request.url.query}" if request.url.query else ""
            return pages.render(
                template, visitor=known(request), now=control.clock(), twin=f"{request.url.path}.json{query}", **found
            )

    return add


def create_router(
    control: Control, pages: Pages, watch: AlarmWatch, deliveries: Callable[[], list[Delivery]]
) -> RouteList:
    """Every page that changes nothing."""
    router = RouteList()

    add = page_adder(router, control, pages)

    @router.get("/", include_in_schema=False)
    @no_act("It leads to another page.", texts=False)
    def front() -> RedirectResponse:
        return RedirectResponse(FRONT)

    def system() -> View:
        return page_data.system(control, watch, deliveries())

    def overview(request: Request, model: Text = None) -> View:
        names = [model] if model else visible_models(control, request)
        allowed = names if model else request.state.admission.models
        return overview_data.overview(control, watch, names, allowed) | {"chosen": model or None}

    add(FRONT, "overview.html", overview, only_numbers)
    for subject in (_add_decisions, _add_models, _add_feedback, _add_requests, _add_quarantines, _add_runs):
        subject(add, control)
    add("/system", "system.html", system, only_numbers)
    return router


def _add_decisions(add: AddPage, control: Control) -> None:
    store = control.store

    def promotions(
        request: Request,
        model: Text = None,
        verdict: Text = None,
        since: Text = None,
        until: Text = None,
        before: Number = None,
    ) -> View:
        wanted = views.Filter(model or None, verdict or None, moment("since", since), moment("until", until), before)
        found = views.decisions(store, wanted, A_PAGE + 1)
        return {
            "models": visible_models(control, request),
            "decisions": found[:A_PAGE],
            "groups": decision_groups.groups(store, wanted, found[:A_PAGE]),
            "ledger": control.ledger.report(),
            "chosen": asdict(wanted),
            "next_before": found[A_PAGE - 1]["seq"] if len(found) > A_PAGE else None,
        }

    def decision(request: Request, identity: str, tab: Text = None) -> View:
        found = views.decision(store, identity)
        note(request, model=found["model"])
        waits = views.awaited(store, found["id"]) is not None
        route = control.promotion.route(found["model"])
        regressions = page_data.regressions(store, found, _blind(control, request))
        tabs = decision_page.tabs(found, regressions)
        steps, left_out = decision_groups.of_run(store, found)
        return {
            "steps": steps,
            "steps_left_out": left_out,
            "tabs": tabs,
            "tab": decision_page.chosen_tab(tab, tabs),
            "decision": found,
            "waits": waits,
            "champion": route.champion,
            "canary": route.canary,
            "regressions": regressions,
        }

    add("/promotions", "promotions.html", promotions, only_numbers)
    add("/promotions/{identity}", "decision.html", decision, READS_TEXTS)


def _add_models(add: AddPage, control: Control) -> None:
    def model(model: str) -> View:
        return page_data.model(control, model)

    def versions(model: str, first: Number = None, second: Number = None) -> View:
        return comparing.compare(control, model, first, second)

    add("/models/{model}/compare", "compare.html", versions, only_numbers)
    add("/models/{model}", "model.html", model, only_numbers)


def _add_feedback(add: AddPage, control: Control) -> None:
    store = control.store

    def feedback(
        request: Request,
        model: Text = None,
        kind: Text = None,
        words: Text = None,
        before: Text = None,
        before_id: Text = None,
    ) -> View:
        wanted = feedback_data.Search(model or None, kind or None, words or None, moment("before", before), before_id)
        found = feedback_data.search(store, wanted, A_PAGE, control.clock, _blind(control, request))
        models = visible_models(control, request)
        return found | {"chosen": asdict(wanted), "types": feedback_data.TYPES, "models": models}

    def queue(
        request: Request,
        model: Text = None,
        skip: labelling.Skipped = 0,
        part: labelling.Part = "doubt",
        other: labelling.Skipped = 0,
        last: Text = None,
    ) -> View:
        models = visible_models(control, request)
        note(request, model=model or models[0])
        visitor = known(request)
        reviewer = reviewer_of(visitor.key_id) if visitor else None
        found = labelling.queue(control, model or models[0], skip, part, other, reviewer)
        given = labelling.last_label(control, found["model"], last or "", visitor) if visitor else None
        return found | {"models": models, "last": given}

    def agreed(request: Request, model: Text = None, last: Text = None) -> View:
        models, reader = visible_models(control, request), reader_of(request)
        found = agreement.page(control, models, model or None, last, known(request), reader)
        note(request, model=found["model"])
        return found

    def interaction(request: Request, identity: str) -> View:
        found = feedback_data.interaction(store, identity)
        model = found["interaction"]["model"]
        note(request, model=model)
        rows = [vote | {"model": model, "interaction_id": identity} for vote in found["votes"]]
        _blind(control, request).hide(rows)
        return found | {"votes": rows}

    add("/feedback", "feedback.html", feedback, READS_TEXTS)
    add(agreement.PATH, "agreement.html", agreed, READS_TEXTS)
    add("/feedback/queue", "queue.html", queue, READS_TEXTS)
    add("/feedback/{identity}", "interaction.html", interaction, READS_TEXTS)


def _add_requests(add: AddPage, control: Control) -> None:
    def requests(
        request: Request,
        model: Text = None,
        version: Text = None,
        outcome: Text = None,
        user: Text = None,
        key: Text = None,
        least_ms: Text = None,
        before: Text = None,
        before_id: Text = None,
    ) -> View:
        wanted = request_data.Wanted(
            model or None,
            figure("version", version, int),
            one_of("outcome", outcome, request_data.OUTCOMES),
            user or None,
            key or None,
            figure("least_ms", least_ms, float),
            moment("before", before),
            before_id or None,
        )
        found = request_data.page(control.store, wanted, A_PAGE, control.clock())
        names = visible_models(control, request)
        return found | {"chosen": asdict(wanted), "outcomes": request_data.OUTCOMES, "models": names}

    add("/requests", "requests.html", requests, names_users)


def _add_quarantines(add: AddPage, control: Control) -> None:
    store = control.store

    def quarantines(request: Request, model: Text = None) -> View:
        return {
            "quarantines": views.quarantines(store, model or None),
            "chosen": model or None,
            "models": visible_models(control, request),
        }

    def quarantine(request: Request, identity: str) -> View:
        found = page_data.quarantine(store, identity, _blind(control, request))
        note(request, model=found["quarantine"]["model"])
        return found

    add("/quarantine", "quarantines.html", quarantines, may_quote)
    add("/quarantine/{identity}", "quarantine.html", quarantine, READS_TEXTS)


def _add_runs(add: AddPage, control: Control) -> None:
    store = control.store

    def runs(request: Request, model: Text = None, before: Text = None, before_id: Text = None) -> View:
        found = views.runs(store, model or None, A_PAGE + 1, moment("before", before), before_id or "")
        last = found[A_PAGE - 1] if len(found) > A_PAGE else None
        return {
            "runs": found[:A_PAGE],
            "next": {"before": last["started"], "before_id": last["id"]} if last else None,
            "chosen": model or None,
            "models": visible_models(control, request),
        }

    def run(identity: str) -> View:
        return page_data.run(control, identity)

    add("/runs", "runs.html", runs, only_numbers)
    add("/runs/{identity}", "run.html", run, only_numbers)


def _blind(control: Control, request: Request) -> BlindLabels:
    """What is hidden from the visitor of what other reviewers said."""
    return BlindLabels.of(control.store, control.settings.models, reader_of(request))


def visible_models(control: Control, request: Request) -> list[str]:
    """The models that the visitor's key may use."""
    allowed = request.state.admission.models
    return [name for name in control.settings.models if allowed is None or name in allowed]


def moment(name: str, text: str | None) -> datetime | None:
    """A filter's day or time, as UTC where it does not say otherwise. Raises InputError."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{name}: {text[:40]!r} is no time.", hint="Write it as 2026-03-01 or 2026-03-01T03:00."
        ) from error


def figure(name: str, text: str | None, kind: type[int] | type[float]) -> Any:
    """A number of a filter, at least 0, None if the field is empty. Raises InputError."""
    if not text:
        return None
    try:
        found = kind(text)
    except ValueError:
        found = -1
    if not 0 <= found < 2**31:
        raise InputError(f"{name}: {text[:40]!r} is no number from 0.", hint="Leave it empty to show all.")
    return found


def one_of(name: str, text: str | None, known: tuple[str, ...]) -> Any:
    """A choice of a filter, None if the field is empty. Raises InputError."""
    if text and text not in known:
        raise InputError(f"{name}: takes one of {', '.join(known)}.")
    return text or None
