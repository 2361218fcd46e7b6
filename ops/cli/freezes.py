"""Commands that freeze a model, and end its freeze."""

from ops.cli.changes import Comment, ModelArgument, said
from ops.cli.control_choice import client_of
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, DryRun, Yes, agreed, tell


def freeze(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Freeze a model: no candidate gets users or becomes champion automatically, until `models unfreeze`.

    Runs do not start by schedule or feedback. A canary or holdback that does harm still ends. What people do by
    command, API or console still works.
    """
    if agreed(f"{model} is frozen. Nothing new serves users automatically.", yes, dry_run):
        client_of(config).post(f"/api/models/{model}/freeze", said(comment))
        tell(f"{model} is frozen. To end it: loraloop models unfreeze {model}")


def unfreeze(
    model: ModelArgument,
    comment: Comment = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """End the freeze of a model. A canary that has passed is promoted, and a run that is due starts."""
    if agreed(f"The freeze of {model} ends.", yes, dry_run):
        client_of(config).post(f"/api/models/{model}/unfreeze", said(comment))
        tell(f"{model} is not frozen any more.")
