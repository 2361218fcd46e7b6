"""Commands that freeze a model, and end its freeze."""

from functools import partial

from core.errors import AlreadyDone, NotReady
from ops.cli.change_report import Mode, carry_out
from ops.cli.changes import Comment, ModelArgument, require_model, said
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, DryRun, Yes, tell
from ops.model_changes import planned


def freeze(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """Freeze a model: no candidate gets users or becomes champion automatically, until `models unfreeze`.

    Runs do not start by schedule or feedback. A canary or holdback that does harm still ends. What people do by
    command, API or console still works.
    """
    client = client_of(config)
    now = require_model(client, model)
    if now["frozen"]:
        raise AlreadyDone(f"{model} is frozen already.", hint=f"To end it: loraloop models unfreeze {model}")
    asked = f"{model} is frozen. Nothing new serves users automatically."
    plan = planned(now, "frozen", None, asked, comment=comment, frozen=True)
    act = partial(client.post, f"/api/models/{model}/freeze", said(comment))
    if carry_out(asked, act, plan, Mode(yes, dry_run, as_data)):
        tell(f"{model} is frozen. To end it: loraloop models unfreeze {model}")


def unfreeze(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_data: AsData = False,
) -> None:
    """End the freeze of a model. A canary that has passed is promoted, and a run that is due starts."""
    client = client_of(config)
    now = require_model(client, model)
    if not now["frozen"]:
        raise NotReady(f"{model} is not frozen.", hint="What serves now: loraloop models")
    asked = f"The freeze of {model} ends."
    plan = planned(now, "unfrozen", None, asked, comment=comment, frozen=False)
    act = partial(client.post, f"/api/models/{model}/unfreeze", said(comment))
    if carry_out(asked, act, plan, Mode(yes, dry_run, as_data)):
        tell(f"{model} is not frozen any more.")
