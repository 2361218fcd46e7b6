"""Settings of retention: how long each kind of data is kept."""

from typing import Annotated

from pydantic import Field

from core.settings.section import Section

Days = Annotated[int, Field(ge=1, le=36_500)]


class RetentionSettings(Section):
    """How long data is kept, in days. null: for ever. `loraloop retention show` prints what would be deleted."""

    schedule: str | None = Field(
        default="30 3 * * *",
        description="Cron line in UTC of the deletion by control. null: only `loraloop retention run` deletes.",
    )
    rewrite_days: Days = Field(
        default=7,
        description="Minimum number of days between two rewrites of the store's file by the schedule. Deleted texts "
        "remain in free blocks of the file until then.",
    )
    texts: Days | None = Field(
        default=None,
        description="Prompts and answers. Counts and times stay. Votes on them make no rows of snapshots any more.",
    )
    unrated_texts: Days | None = Field(
        default=365, description="Prompts, answers and user names of interactions that nobody gave feedback on."
    )
    stored_completions: Days | None = Field(
        default=None, description="Completions that apps stored with `store: true`, and their prompts."
    )
    votes: Days | None = Field(default=None, description="Feedback of every type. Its counts per day stay.")
    waiting: Days | None = Field(
        default=90,
        description="How long feedback waits for its interaction, and a revocation for its feedback. Also positions "
        "in segments that gateways deleted.",
    )
    answers: Days | None = Field(default=30, description="Cached answers of evaluations.")
    snapshots: Days | None = Field(
        default=180,
        description="Snapshots that versions learnt from. Those of live versions, of unfinished runs, and the newest "
        "of each model stay.",
    )
    unused_snapshots: Days | None = Field(
        default=14, description="Snapshots of runs that made no version. The newest of each model stays."
    )
    runs: Days | None = Field(default=30, description="Folders of finished runs. Versions and their adapters stay.")
    progress: Days | None = Field(
        default=180, description="Progress and training curves of finished runs, and interim analyses of canaries."
    )
    regressions: Days | None = Field(
        default=365, description="Examples on which a candidate was worse than the champion. They contain answers."
    )
    dead_letters: Days | None = Field(
        default=90, description="Records that could not be stored, and damaged segments (.bad) in the data folder."
    )
    audit_log: Days | None = Field(
        default=365, description="Rows of the audit log: who did or read what. The newest row always stays."
    )
    restore_copies: Days | None = Field(default=30, description="Folders before-restore-…, which a restore puts aside.")
