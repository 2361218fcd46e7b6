"""The doctor: what stands between this machine and a running LoraLoop, each with the command that fixes it.

It looks and never mends.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from core.basemodel import PACKAGED, locate
from core.errors import LoraLoopError
from core.settings import Settings, load
from ops.up import check_ports

LEAST_DISK_GIB = 2
LEAST_MEMORY_GIB = 6
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and the command that mends it if it is not well."""

    name: str
    ok: bool
    found: str
    fix: str = ""


def examine(config: Path) -> list[Finding]:
    """All checks; those that need settings are left out when there are none to read."""
    try:
        settings = load(config)
    except LoraLoopError as error:
        return [Finding("configuration", False, error.message, error.hint or "Mend the file.")]
    return [Finding("configuration", True, str(config)), *_checks(settings)]


def _checks(settings: Settings) -> Iterator[Finding]:
    yield _package()
    yield _base(settings)
    yield _disk(settings)
    yield _memory()
    running = _answers(f"{settings.control_url}/health")
    yield Finding("control", True, "running" if running else "not running; start with: loraloop up")
    if running:
        yield _ready("control and engines", f"{settings.control_url}/ready", settings.bearer)
        yield _ready("gateway", f"http://{settings.gateway.listen}/ready", settings.bearer)
        yield _letters(f"{settings.control_url}/ready", settings.bearer)
    else:
        yield _attempt("ports", lambda: check_ports(settings), "free")


def _package() -> Finding:
    if importlib.util.find_spec("vllm"):
        return Finding("vllm", True, "installed")
    return Finding("vllm", False, "not installed", "Run: make install   (on a GPU: pip install .[gpu])")


def _base(settings: Settings) -> Finding:
    fix = "Run: loraloop prepare" if settings.base_model in PACKAGED else "Set base_model to a model folder."
    return _attempt("base model", lambda: locate(settings.base_model), settings.base_model, fix)


def _disk(settings: Settings) -> Finding:
    folder = next(p for p in (settings.data, *settings.data.resolve().parents) if p.is_dir())
    free = shutil.disk_usage(folder).free / GIB
    fix = f"Free some space, or set data to another disk; {LEAST_DISK_GIB} GiB are wanted."
    return Finding("disk", free >= LEAST_DISK_GIB, f"{free:.1f} GiB free", fix)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    fix = f"The default model with its trainer wants {LEAST_MEMORY_GIB} GiB."
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
        return Finding(name, False, "does not answer", "See the logs in the data folder.")
    return Finding(name, response.status_code == 200, response.text, "See the logs in the data folder.")


def _letters(url: str, headers: dict[str, str]) -> Finding:
    try:
        count = httpx.get(url, headers=headers, timeout=5, trust_env=False).json()["dead_letters"]
    except (httpx.HTTPError, ValueError, KeyError):
        return Finding("dead letters", False, "not known", "See the logs in the data folder.")
    fix = "The table dead_letters of the store holds them whole, each with its reason; the log of control names them."
    return Finding("dead letters", count == 0, f"{count} of gateways' records make no row", fix)


def _attempt(name: str, check: Callable[[], object], found: str, fix: str = "") -> Finding:
    try:
        check()
    except LoraLoopError as error:
        return Finding(name, False, error.message, fix or error.hint)
    return Finding(name, True, found)
