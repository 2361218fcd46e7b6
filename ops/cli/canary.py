"""Commands for canaries: stop the one of a model."""

from core.errors import NotFound, NotReady
from ops.cli.changes import Comment, KeepData, ModelArgument, find_model, stop_canary
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, DryRun, Yes, client_of


def stop(
    model: ModelArgument,
    comment: Comment = "",
    keep_data: KeepData = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Stop the canary of a model. The champion serves everyone again, and no request is lost.

    Votes against the canary go to quarantine if they were a burst or contradict others, unless --keep-data.
    """
    client = client_of(config)
    now = find_model(client, model)
    if now is None:
        raise NotFound("model", model, hint="See: loraloop models")
    if now["canary"] is None:
        raise NotReady(f"{model} has no canary.", hint=f"To replace the champion: loraloop models rollback {model}")
    stop_canary(client, now, comment, keep_data=keep_data, yes=yes, dry_run=dry_run)
