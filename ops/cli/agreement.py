"""The command that reads how far reviewers agree."""

from typing import Annotated, Any

import typer

from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, out, show


def agreement(
    model: Annotated[str, typer.Argument(help="The model. It has labels.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Show how far reviewers agree on the answers that several of them labelled, and how many answers wait."""
    found = client_of(config).get("/api/feedback/agreement", model=model)
    if as_data:
        print_data(found)
        return
    out.print(
        f"{found['shared']} of {found['labelled']} answers have labels of several reviewers, in {found['days']} days. "
        f"{found['to_adjudicate']} wait for an adjudication.",
        markup=False,
    )
    if found["hidden"]:
        out.print(f"{found['hidden']} that you can still label are left out.", markup=False)
    columns = {"reviewer": "reviewer", "labels": "labels", "shared": "labelled by others too"}
    show(found["by_reviewer"], False, columns, "No reviewer labelled an answer.")
    rows = [{"who": "all", "agreement": found["agreement"], "chance": found["alpha"], "what": "alpha"}]
    for pair in found["pairs"]:
        who = f"{pair['first']}, {pair['second']}"
        rows.append({"who": who, "agreement": pair["agreement"], "chance": pair["kappa"], "what": "kappa"})
    shown = [
        row | {"n": row["agreement"]["n"], "agreement": _figure(row["agreement"]), "chance": _figure(row["chance"])}
        for row in rows
    ]
    titles = {"who": "reviewers", "n": "answers", "agreement": "agreement", "what": "statistic", "chance": "value"}
    show(shown, False, titles, "")


def _figure(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "–"
    spread = f" [{estimate['low']:.2f}, {estimate['high']:.2f}]" if estimate["low"] is not None else ""
    return f"{estimate['value']:.2f}{spread}"
