"""Commands about suites: which there are, and what a version makes of them.

`suites list` reads the configuration alone. `versions evaluate` has control ask the engine, and shows all arms.
"""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from core.errors import LoraLoopError, NotFound
from core.settings import DEFAULT_GUARDRAILS, ModelSettings
from ops.cli.changes import Comment, ModelArgument, said
from ops.cli.control_choice import client_of, local
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import (
    DEFAULT_CONFIG,
    ConfigOption,
    cell,
    err,
    settings_from,
    show,
    tell,
)
from ops.client import ControlClient

if TYPE_CHECKING:
    from eval.suites.suite import Suite

POLL_SECONDS = 0.5
ARMS = ("base", "champion", "candidate")


@local
def suites(
    model: Annotated[str | None, typer.Argument(help="Also this model's own suites, with its margins.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """List suites: what each measures, its size, source and licence, and the difference that it can resolve."""
    from eval.kpis.intervals import USUAL_DISCORDANCE
    from eval.suites.configured import configured_suites
    from eval.suites.files import find_suites
    from eval.suites.shipped import BUILDERS

    found, settings = find_suites(list(BUILDERS)), None
    if model:
        models = settings_from(config).models
        if model not in models:
            raise NotFound("model", model, where=f"in {config}", hint=f"There are: {', '.join(models)}.")
        settings = models[model]
        own = configured_suites(settings)
        found = [*own, *(suite for suite in found if suite.kpi not in {one.kpi for one in own})]
    rows = [_row(suite, settings) for suite in found]
    columns = {
        "suite": "suite",
        "kpi": "KPI",
        "better": "better",
        "items": "items",
        "units": "units",
        "accepted": "accepted",
        "resolves": "resolves",
        "source": "source",
        "licence": "licence",
        "about": "what it is about",
    }
    show(rows, as_data, columns, "No suites.")
    if not as_data:
        tell(
            f"resolves: the difference that its units show with 80 % power where versions differ on "
            f"{USUAL_DISCORDANCE:.0%} of them."
        )


def _row(suite: "Suite", settings: ModelSettings | None) -> dict[str, Any]:
    from eval.kpis.intervals import USUAL_DISCORDANCE, resolvable_difference

    guardrails = {guardrail.kpi: guardrail for guardrail in DEFAULT_GUARDRAILS}
    guardrails |= {guardrail.kpi: guardrail for guardrail in settings.promotion.guardrails} if settings else {}
    guardrail = next((one for kpi, one in guardrails.items() if kpi == suite.kpi), None)
    units = len(suite.units)
    return {
        "suite": suite.name,
        "kpi": suite.kpi,
        "better": suite.better,
        "items": len(suite.items),
        "units": units,
        "accepted": guardrail.margin if guardrail else None,
        "resolves": None if suite.measure == "length" else round(resolvable_difference(units, USUAL_DISCORDANCE), 4),
        "source": suite.source,
        "licence": suite.licence,
        "about": suite.about,
    }


def evaluate(
    model: ModelArgument,
    version: Annotated[int | None, typer.Option("--version", min=0, help="Default: the champion.")] = None,
    suite: Annotated[list[str] | None, typer.Option("--suite", "-s", help="Only this one; may be repeated.")] = None,
    comment: Comment = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Run suites on a version, base and champion. It changes nothing and uses no holdout."""
    client = client_of(config)
    asked = client.post(f"/api/models/{model}/evaluate", {"version": version, "suites": suite or [], **said(comment)})
    run = _await(client, asked["run_id"])
    if run["state"] != "measured":
        raise LoraLoopError(str(run["reason"]), hint=f"See: loraloop runs {model}")
    found = run["detail"]["suites"]
    if as_data:
        print_data({"model": model, "version": asked["version"], "run_id": run["id"], "suites": found})
        return
    columns = {
        "suite": "suite",
        "kpi": "KPI",
        **{arm: arm for arm in ARMS},
        "against": "against the champion",
        "n": "units",
        "resolvable": "resolves",
    }
    columns["candidate"] = f"{model}@{asked['version']}"
    show([_result(name, one) for name, one in found.items()], False, columns, "No suites.")


def _await(client: ControlClient, run_id: str) -> dict[str, Any]:
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    with bars:
        task = bars.add_task("waiting for its turn", total=None)
        while True:
            run: dict[str, Any] = client.get(f"/api/runs/{run_id}")
            if run["state"] != "measuring":
                return run
            if run["steps"]:
                last = run["steps"][-1]
                bars.update(task, description=last["phase"], completed=last["done"], total=last["total"])
            time.sleep(POLL_SECONDS)


def _result(name: str, found: dict[str, Any]) -> dict[str, Any]:
    if found["missing"]:
        return {"suite": name, "kpi": found["kpi"], "against": found["missing"]}
    difference = found["difference"] or {"value": None, "lower": None, "upper": None}
    against = f"{_signed(difference['value'])} ({_signed(difference['lower'])} to {_signed(difference['upper'])})"
    return {
        "suite": name,
        "kpi": found["kpi"],
        "against": against,
        "n": found["n"],
        "resolvable": found["resolvable"],
        **{arm: _interval(found["arms"].get(arm)) for arm in ARMS},
    }


def _interval(measure: dict[str, float | None] | None) -> str:
    if measure is None:
        return cell(None)
    return f"{cell(measure['value'])} ({cell(measure['low'])} to {cell(measure['high'])})"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"
