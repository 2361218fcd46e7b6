"""The doctor: checks of what this machine lacks for LoraLoop, each with the command that fixes it.

It reports and never changes anything.
"""

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from core.errors import LoraLoopError
from core.model_folder import locate
from core.settings import DEFAULT_GUARDRAILS, ModelSettings, Settings, load
from ops.local.finding import Finding
from ops.local.passed_engines import lacking
from ops.local.preparation import check_ports
from ops.local.sign_in_check import check_provider
from retrain.run_states import PAUSED
from serve.retrieval.documents import passages

LEAST_DISK_GIB = 2
LEAST_MEMORY_GIB = 12
GIB = 1024**3
# Bytes on the way to control that are still no sign of a stall.
MOST_UNSHIPPED = 64 * 1024 * 1024
# Seconds; an answer's Date is up to one behind, and a busy machine takes some to give it.
MOST_SKEW = 5.0
NEEDED = ("torch", "transformers", "peft", "apprise")
LOGS = "Run: tail -50 data/logs/control.log"
GPU = Path("/dev/nvidia0")
KEY_OR_LOGS = "Export LORALOOP_KEY, a key with ops:read; else see the logs in the data folder."


def examine(config: Path, now: Callable[[], float] = time.time) -> list[Finding]:
    """All checks, `now` in seconds since 1970; those that need settings are left out when there are none to read."""
    try:
        settings = load(config)
    except LoraLoopError as error:
        return [Finding("configuration", False, error.message, error.hint or "Correct the file.")]
    return [Finding("configuration", True, str(config)), *_checks(settings, now)]


def _checks(settings: Settings, now: Callable[[], float]) -> Iterator[Finding]:
    yield _packages(settings)
    yield _base(settings)
    for name, model in settings.models.items():
        if folder := model.baselines.documents:
            yield _attempt(f"documents of {name}", partial(passages, folder), str(folder))
    yield _disk(settings)
    yield _memory()
    if GPU.exists() and not settings.engine.urls:
        yield _gpu_memory(settings)
    yield _files_clock(settings, now)
    for name, model in settings.models.items():
        yield _guardrails(name, model)
        yield _canary(name, model)
    for purpose, other in (("embeddings", settings.gateway.embeddings), ("rerank", settings.gateway.rerank)):
        if other is not None:
            missing = "; ".join(lacking(other, settings.engine_key))
            fix = f"Set gateway.{purpose}.urls and model to an engine that lists {other.model} in /v1/models."
            yield Finding(f"engines for {purpose}", not missing, missing or f"have {other.model}", fix)
    yield from check_provider(settings)
    gateway = f"http://{settings.gateway.listen}"
    running = _answers(f"{settings.control_url}/health")
    yield Finding("control", True, "running" if running else "not running", "Run: loraloop up", warns=not running)
    if running:
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
    else:
        yield _attempt("ports", lambda: check_ports(settings), "free")


def _packages(settings: Settings) -> Finding:
    """What is imported only once it is needed: better to miss it now than at the first run."""
    wanted = NEEDED if settings.engine.urls else (*NEEDED, "vllm")
    missing = [name for name in wanted if not importlib.util.find_spec(name)]
    fix = "Run: make install   (on a GPU: pip install .[gpu])"
    return Finding("packages", not missing, f"not installed: {', '.join(missing)}" if missing else "installed", fix)


def _gpu_memory(settings: Settings) -> Finding:
    """Whether the engine leaves memory of the GPU to the trainer, which computes there too."""
    share = settings.engine.gpu_memory_utilization
    found = f"the engine reserves {share:.0%}" if share else "the engine reserves vLLM's own share, most of it"
    fix = "Set engine.gpu_memory_utilization, for example to 0.5, or hide the GPU from control: docs/how-to/gpu.md"
    return Finding("GPU memory", True, found, fix, warns=share is None)


def _base(settings: Settings) -> Finding:
    return _attempt("base model", lambda: locate(settings.base_model), settings.base_model)


def _guardrails(name: str, settings: ModelSettings) -> Finding:
    """Which default guardrails no suite of the model measures, and what difference those that it has can resolve."""
    from eval.kpis.intervals import USUAL_DISCORDANCE, resolvable_difference
    from eval.suites.configured import configured_suites
    from eval.suites.shipped import BUILDERS, shipped_suite

    check, fix = f"guardrails of {name}", "Name suites under evaluation.suites; see: loraloop suites"
    try:
        found = {one.kpi: one for one in configured_suites(settings)}
    except LoraLoopError as error:
        return Finding(check, False, error.message, error.hint)
    by_suites = {"golden_accuracy", *(shipped_suite(suite).kpi for suite in BUILDERS)}
    named = {one.kpi: one for one in settings.promotion.guardrails}
    unmeasured = [kpi for kpi, one in named.items() if kpi in by_suites - found.keys() and not one.waived]
    if unmeasured:
        return Finding(check, False, f"no suite measures {', '.join(unmeasured)}: no candidate could pass", fix)
    left = [one.kpi for one in DEFAULT_GUARDRAILS if one.kpi in by_suites - found.keys() - named.keys()]
    said = [f"not measured, for no suite is named: {', '.join(left)}"] if left else []
    defaults = {one.kpi: one for one in DEFAULT_GUARDRAILS}
    for kpi, one in found.items():
        guard = (defaults | named).get(kpi)
        if one.measure == "length" or guard is None or guard.margin is None:
            continue
        least = resolvable_difference(len(one.units), USUAL_DISCORDANCE)
        said.append(f"{kpi} resolves {least:.3f} with 80 % power, accepted {guard.margin:.3f}")
    risky = settings.task == "generate" and settings.promotion.mode == "auto" and "safety" in left
    return Finding(check, True, "; ".join(said) or "0 KPIs that a suite measures", fix, warns=risky)


def _canary(name: str, settings: ModelSettings) -> Finding:
    """Whether a person or a canary is between the offline gate and all users."""
    promotion, check = settings.promotion, f"promotion of {name}"
    if promotion.canary is None and promotion.mode == "auto":
        found = "automatic, without a canary: all users get a candidate that passes the offline gate"
        fix = f"Remove models.{name}.promotion.canary: null, or set mode: approve."
        return Finding(check, True, found, fix, warns=True)
    steps = ["a canary"] if promotion.canary else []
    steps += ["an approval"] if promotion.mode == "approve" else []
    return Finding(check, True, f"after the offline gate: {' and '.join(steps)}")


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(_nearest(settings.data)).free / GIB
    fix = f"Run: df -h   Free some space, or set data to another disk; {LEAST_DISK_GIB} GiB are needed."
    return Finding("disk", free >= LEAST_DISK_GIB, f"{free:.1f} GiB free", fix)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    fix = f"Run: free -h   The default model with its trainer needs {LEAST_MEMORY_GIB} GiB."
    return Finding("memory", total >= LEAST_MEMORY_GIB, f"{total:.1f} GiB", fix)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


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


def _files_clock(settings: Settings, now: Callable[[], float]) -> Finding:
    """How far the clock of the disk is from ours, which matters where it is another machine's."""
    fix = "Set this machine's clock and the file server's by NTP: timedatectl set-ntp true"
    folder = _nearest(settings.data)
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            skew = os.fstat(file.fileno()).st_mtime - now()
    except OSError as error:
        fix = "Set data to a folder of yours."
        return Finding("clock of files", False, f"{folder} cannot be written: {error.strerror}", fix)
    return Finding("clock of files", abs(skew) <= MOST_SKEW, f"{abs(skew):.0f} s from ours", fix)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(p for p in (folder, *folder.resolve().parents) if p.is_dir())


def _attempt(name: str, check: Callable[[], object], found: str, fix: str = "") -> Finding:
    try:
        check()
    except LoraLoopError as error:
        return Finding(name, False, error.message, fix or error.hint)
    return Finding(name, True, found)
