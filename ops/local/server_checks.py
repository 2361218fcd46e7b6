"""The doctor's checks of servers that run on this machine: control, gateway, and what they report of themselves."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from core.settings import Settings
from ops.local.finding import Finding
from retrain.run_states import PAUSED

# Bytes on the way to control that are still no sign of a stall.
MOST_UNSHIPPED = 64 * 1024 * 1024
# Seconds; an answer's Date is up to one behind, and a busy machine takes some to give it.
MOST_SKEW = 5.0
LOGS = "Run: loraloop server logs control -n 50"
KEY_OR_LOGS = "Export LORALOOP_KEY, a key with ops:read; else see the logs in the data folder."


def examine(settings: Settings, now: Callable[[], float]) -> Iterator[Finding]:
    """All checks of servers, `now` in seconds since 1970."""
    gateway = f"http://{settings.gateway.listen}"
    yield _ready("control and engines", f"{settings.control_url}/ready", settings.bearer)
    yield _ready("gateway", f"{gateway}/ready", settings.bearer)
    yield _letters(f"{settings.control_url}/ready", settings.bearer)
    yield _spool(f"{gateway}/ready", settings.bearer)
    yield _ledger(f"{settings.control_url}/api/ledger", settings.bearer)
    yield _audit_log(f"{settings.control_url}/api/audit/chain", settings.bearer)
    yield _notifications(f"{settings.control_url}/api/notifications", settings.bearer)
    yield _alarms(f"{settings.control_url}/api/alarms", settings.bearer)
    yield _retention(f"{settings.control_url}/api/retention", settings.bearer)
    for name in settings.models:
        yield _snapshot(name, f"{settings.control_url}/api/snapshots/{name}", settings.bearer)
    yield _paused(f"{settings.control_url}/api", settings.bearer, now)
    yield _clock("control", f"{settings.control_url}/health", now)
    yield _clock("gateway", f"{gateway}/health", now)


def _ready(name: str, url: str, headers: dict[str, str]) -> Finding:
    try:
        response = httpx.get(url, headers=headers, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return Finding(name, False, "does not answer", LOGS)
    return Finding(name, response.status_code == 200, response.text, LOGS)


def _letters(url: str, bearer: dict[str, str]) -> Finding:
    try:
        count = httpx.get(url, timeout=5, trust_env=False, headers=bearer).json()["dead_letters"]
    except (httpx.HTTPError, ValueError, KeyError):
        return Finding("dead letters", False, "not known", LOGS)
    fix = "Run: loraloop dead-letters   Remove the cause, then: loraloop dead-letters replay --all"
    return Finding("dead letters", count == 0, f"{count} of gateways' records make no row", fix)


# The part of the spool's limit at which the alarm comes, so that there is time before records are refused.
SPOOL_ALARM = 0.5


def _spool(url: str, bearer: dict[str, str]) -> Finding:
    """What the gateway has taken and control has not: some for a moment is how it works, much is a stall."""
    try:
        state = httpx.get(url, timeout=5, trust_env=False, headers=bearer).json()
        waiting, dropped = int(state["unshipped_bytes"]), int(state["interactions_dropped"])
        limit, damaged = state["max_spool_bytes"], int(state["damaged_segments"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding("spool", False, "not known", KEY_OR_LOGS)
    if dropped:
        fix = "Run: df -h   Free space on the gateway's disk."
        return Finding("spool", False, f"{dropped} interactions were not kept", fix)
    if damaged:
        fix = "Check the disk. Each damaged segment is kept as a .bad file in the spool's folder; delete it when done."
        return Finding("spool", False, f"{damaged} segments had damaged bytes; the other records arrived", fix)
    if limit and waiting > limit * SPOOL_ALARM:
        fix = f"{LOGS}   At {limit / 1e6:,.0f} MB (gateway.max_spool_bytes) nothing more is recorded."
        return Finding("spool", False, f"{waiting / 1e6:,.0f} MB, which is {waiting / limit:.0%} of its limit", fix)
    fix = f"{LOGS}   It does not keep up, or refuses them: both need the same LORALOOP_INTERNAL_KEY."
    return Finding("spool", waiting <= MOST_UNSHIPPED, f"{waiting / 1e6:.1f} MB on the way to control", fix)


def _ledger(url: str, bearer: dict[str, str]) -> Finding:
    try:
        report = httpx.get(url, timeout=60, trust_env=False, headers=bearer).json()
        return Finding("ledger", report["ok"], report["reason"], "See docs/runbook.md, Broken ledger.")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding("ledger", False, "not known", KEY_OR_LOGS)


def _audit_log(url: str, bearer: dict[str, str]) -> Finding:
    try:
        report = httpx.get(url, timeout=60, trust_env=False, headers=bearer).json()
        found = "cannot be written, so acts are refused" if report["failing"] else report["reason"]
        return Finding("audit log", report["ok"] and not report["failing"], found, "See docs/how-to/audit.md.")
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding("audit log", False, "not known", KEY_OR_LOGS)


def _notifications(url: str, bearer: dict[str, str]) -> Finding:
    try:
        targets = httpx.get(url, timeout=5, trust_env=False, headers=bearer).json()
        refusing = [target["target"] for target in targets if target["refusals"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding("notifications", False, "not known", KEY_OR_LOGS)
    found = f"not taken by {', '.join(refusing)}" if refusing else f"{len(targets)} targets"
    return Finding("notifications", not refusing, found, "Correct its URL, then: loraloop notifications test")


def _alarms(url: str, bearer: dict[str, str]) -> Finding:
    """Which alarms are open. Those that last for less than their hold time are left out."""
    try:
        alarms = httpx.get(url, timeout=5, trust_env=False, headers=bearer).json()
        found = [f"{one['name']} {one['subject']}".strip() for one in alarms if one["state"] == "open"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding("alarms", False, "not known", KEY_OR_LOGS)
    return Finding("alarms", not found, f"open: {', '.join(found)}" if found else "none open", "Run: loraloop alarms")


# From this size on, data that is kept for ever is worth a decision.
LARGE = 10 * 10**9


def _retention(url: str, bearer: dict[str, str]) -> Finding:
    """Which kinds of data are kept for ever and large."""
    try:
        kinds = httpx.get(url, timeout=60, trust_env=False, headers=bearer).json()["kinds"]
        large = {kind["kind"]: kind["bytes"] for kind in kinds if kind["days"] is None and kind["bytes"] >= LARGE}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding("retention", False, "not known", KEY_OR_LOGS)
    if not large:
        return Finding("retention", True, "less than 10 GB of every kind that is kept for ever")
    said = ", ".join(f"{kind} {size / 1e9:.0f} GB" for kind, size in large.items())
    fix = f"Set retention.{next(iter(large))} to a number of days. 36500 says that you mean for ever."
    return Finding("retention", False, f"kept for ever: {said}", fix)


def _snapshot(name: str, url: str, bearer: dict[str, str]) -> Finding:
    """What the report of a model's newest snapshot warns of, such as a bucket that lost many rows to duplicates."""
    check = f"snapshot of {name}"
    try:
        answer = httpx.get(url, timeout=5, trust_env=False, headers=bearer)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return Finding(check, True, "none yet")
        warnings = [str(one) for one in answer.json()["warnings"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding(check, False, "not known", KEY_OR_LOGS)
    fix = f"Run: loraloop snapshots show {name}   models.{name}.trust has the limits."
    return Finding(check, not warnings, " ".join(warnings) or "no warnings", fix)


# A run that is paused for longer is probably forgotten.
LONGEST_PAUSE_S = 24 * 3600.0


def _paused(url: str, bearer: dict[str, str], now: Callable[[], float]) -> Finding:
    """Which runs have been paused for more than a day. Until then no other run of their models starts."""
    check = "paused runs"
    try:
        with httpx.Client(timeout=5, trust_env=False, headers=bearer) as client:
            open_runs = [model["run"] for model in client.get(f"{url}/models").json() if model["run"]]
            paused = [run["id"] for run in open_runs if run["state"] == PAUSED]
            since = {run: paused_at(client.get(f"{url}/runs/{run}").json()) for run in paused}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return Finding(check, False, "not known", KEY_OR_LOGS)
    long = {run: time for run, time in since.items() if now() - time.timestamp() > LONGEST_PAUSE_S}
    if not long:
        return Finding(check, True, "none for more than a day")
    said = ", ".join(f"{run} since {time:%Y-%m-%d %H:%M}" for run, time in long.items())
    first = next(iter(long))
    fix = f"Run: loraloop runs resume {first}   or: loraloop runs cancel {first}"
    return Finding(check, False, f"{said}. Their models' schedules start no run", fix)


def paused_at(run: Mapping[str, Any]) -> datetime:
    """When a run was paused, by the newest action that did it."""
    times = [done["time"] for done in run["detail"]["actions"] if done["action"] == "pause"]
    return datetime.fromisoformat(times[-1])


def _clock(name: str, url: str, now: Callable[[], float]) -> Finding:
    """How far another process' clock is from ours, by the Date of its answer, which is in whole seconds."""
    fix = f"Set the clocks of this machine and {name}'s by NTP: timedatectl set-ntp true"
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
        skew = parsedate_to_datetime(answer.headers["date"]).timestamp() - now()
    except (httpx.HTTPError, KeyError, ValueError):
        return Finding(f"clock of {name}", False, "not known", LOGS)
    return Finding(f"clock of {name}", abs(skew) <= MOST_SKEW, f"{abs(skew):.0f} s from ours", fix)
