"""Settings of alarms: which conditions control reports, from which value on, and how often."""

from typing import Annotated, Literal

from pydantic import Field

from core.settings.section import Section

AlarmName = Literal[
    "engine_down",
    "gateway_missing",
    "gateway_outdated",
    "spool_lag",
    "interactions_dropped",
    "dead_letters",
    "disk_low",
    "backup_failed",
    "backup_overdue",
    "ledger_broken",
    "audit_log_broken",
    "audit_log_failing",
    "canary_stuck",
    "runs_failed",
    "target_refusing",
]
LONGEST_HOURS = 366 * 24
Seconds = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]


class AlarmSettings(Section):
    """Alarms of control. docs/runbook.md lists them. They are sent to the targets of notifications."""

    off: list[AlarmName] = Field(default=[], description="Alarms that are not checked, such as `[dead_letters]`.")
    hold_seconds: dict[AlarmName, Seconds] = Field(
        default={},
        description="Duration of a condition before its alarm is sent, and of its absence before the end is sent, in "
        "seconds, such as `{engine_down: 600}`. The runbook has the defaults.",
    )
    repeat_hours: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_HOURS,
        description="Time after which an open alarm is sent again, in hours. null: it is sent once.",
    )
    disk_free: float = Field(
        default=0.1, gt=0, lt=1, description="Free part of the disk of `data` below which `disk_low` begins."
    )
    disk_free_gib: float = Field(
        default=50,
        gt=0,
        description="Free GiB of that disk from which on `disk_low` does not begin, however large the disk is.",
    )
    spool_bytes: int = Field(
        default=64 * 1024**2,
        ge=1,
        description="Bytes that a gateway holds and control has not received, above which `spool_lag` begins.",
    )
    backup_hours: float | None = Field(
        default=48,
        gt=0,
        le=LONGEST_HOURS,
        description="Age of the newest backup at which `backup_overdue` begins, in hours. It needs one backup. null: "
        "never.",
    )
    canary_idle_hours: float = Field(
        default=6,
        gt=0,
        le=LONGEST_HOURS,
        description="Time without a request for a canary after which `canary_stuck` begins, in hours.",
    )
    canary_overrun: float = Field(
        default=2,
        ge=1,
        le=1000,
        description="Duration of a canary, as a multiple of its forecast, at which `canary_stuck` begins. At least one "
        "hour.",
    )
    failed_runs: int = Field(
        default=2, ge=1, le=100, description="Failed runs of one model in a row at which `runs_failed` begins."
    )
