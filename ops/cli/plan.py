"""The command `plan`: how much traffic a model needs, before anything is trained."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import NotFound
from core.settings import ModelSettings
from ops.cli.control_choice import local
from ops.cli.output_format import AsData, print_data
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, settings_from, show, tell
from ops.needed_traffic import needed_traffic


@local
def plan(
    users: Annotated[float, typer.Option(min=0, help="New users per day, for example 1000.")],
    model: Annotated[str | None, typer.Argument(help="Use this model's settings instead of the defaults.")] = None,
    requests: Annotated[float, typer.Option(min=1, help="Requests per user and day.")] = 3,
    voted: Annotated[float, typer.Option(min=0, max=1, help="Share of requests with a thumb, 0 to 1.")] = 0.2,
    labelled: Annotated[float, typer.Option(min=0, max=1, help="Share of requests with a label, 0 to 1.")] = 0.1,
    approval: Annotated[float, typer.Option(min=0, max=1, help="Share of thumbs that are up, 0 to 1.")] = 0.7,
    gain: Annotated[float, typer.Option(min=0, max=1, help="Gain to find, 0 to 1: 0.05 is 5 points.")] = 0.05,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Say how many days of traffic each step to a promotion needs, and which settings need fewer."""
    # The formulas need SciPy, which other commands start without.
    from rollout.traffic_plan import Audience

    found = needed_traffic(Audience(users, requests, voted, labelled, approval, gain), _settings(model, config))
    if as_data:
        print_data(found)
        return
    shown = [
        {
            "step": row["step"],
            "days": "never" if row["days"] is None else f"{row['days']:,.1f}",
            "needs": "–" if row["count"] is None else f"{row['count']:,.0f} {row['unit']}",
            "binds": row["binds"],
            "limit": "–" if row["limit_days"] is None else f"{24 * row['limit_days']:g} hours",
        }
        for row in found["steps"]
    ]
    columns = {"step": "step", "days": "days", "needs": "needs", "binds": "because of", "limit": "limit"}
    show(shown, False, columns, "")
    for sentence in found["advice"]:
        tell(sentence)


def _settings(model: str | None, config: Path) -> ModelSettings:
    """The model's settings, or the defaults of a model with labels."""
    if model is None:
        return ModelSettings(labels=["no", "yes"])
    models = settings_from(config).models
    if model not in models:
        raise NotFound("model", model, where=f"in {config}", hint=f"There are: {', '.join(models)}.")
    return models[model]
