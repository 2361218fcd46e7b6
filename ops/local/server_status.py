"""What of this machine's LoraLoop runs: each process, since when, and whether it is ready or why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx

from core.settings import Settings
from ops.local import orphan_processes, server_record
from ops.local.orphan_processes import Mark
from ops.local.process_identity import started_at
from serve.engines.process import last_error

PROBE_SECONDS = 5.0

# starting: not ready yet. orphaned: `up` was killed, and what it started goes on without being restarted.
State = Literal["ready", "not ready", "starting", "orphaned", "stopped"]


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One process. `state` is `ready`, `not ready` or `ended`; `why` says what is wrong."""

    part: str
    state: str
    pid: int | None
    since: datetime | None
    url: str
    why: str


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """All processes; `pid`, `since` and `config` are those of `loraloop up`."""

    state: State
    pid: int | None
    since: datetime | None
    config: str | None
    parts: Sequence[PartStatus]


def examine(settings: Settings) -> ServerStatus:
    """Check each process of the data folder, and ask it whether it is ready."""
    record, marks = server_record.read(settings.data), orphan_processes.running(settings.data)
    if record is None and not marks:
        return ServerStatus("stopped", None, None, None, [])
    parts = [_part(settings, name, url, marks) for name, url in _urls(settings).items()]
    if record is None:
        return ServerStatus("orphaned", None, None, None, parts)
    state: State = "not ready" if record.ready else "starting"
    if record.ready and all(part.state == "ready" for part in parts):
        state = "ready"
    return ServerStatus(state, record.pid, started_at(record.born), record.config, parts)


def _urls(settings: Settings) -> dict[str, str]:
    """Where each process says whether it is ready."""
    engine = {} if settings.engine.urls else {"engine": f"http://{settings.engine.listen}/health"}
    own = {"control": settings.control.listen, "gateway": settings.gateway.listen}
    return engine | {name: f"http://{listen}/ready" for name, listen in own.items()}


def _part(settings: Settings, name: str, url: str, marks: Sequence[Mark]) -> PartStatus:
    mark = next((mark for mark in marks if mark.name == name), None)
    base = url.rpartition("/")[0]
    if mark is None:
        return PartStatus(name, "ended", None, None, base, last_error(settings.data / "logs" / f"{name}.log"))
    why = _why_not_ready(url, settings.bearer)
    return PartStatus(name, "not ready" if why else "ready", mark.pid, started_at(mark.born), base, why)


def _why_not_ready(url: str, headers: dict[str, str]) -> str:
    """An empty text if it is ready."""
    try:
        response = httpx.get(url, timeout=PROBE_SECONDS, trust_env=False, headers=headers)
    except httpx.HTTPError as error:
        return f"it does not answer ({type(error).__name__})"
    if response.status_code == 200:
        return ""
    try:
        body: dict[str, Any] = response.json()
    except ValueError:
        return f"it answers {response.status_code}"
    return _reasons(body) or "it is not ready; with a key of ops:read in LORALOOP_KEY, the reason is shown"


def _reasons(body: dict[str, Any]) -> str:
    """What the `/ready` of control or of a gateway says is wrong."""
    found = [
        f"engine {one['url']}: {one['error'] or 'lacks ' + ', '.join(one['missing'])}"
        for one in body.get("engines", ())
        if not one["ready"]
    ]
    if body.get("engines") == []:
        found.append("no engine was checked yet")
    if body.get("engines_answer") is False:
        found.append("no engine answers")
    if body.get("control_answers") is False:
        found.append("control does not answer")
    return ". ".join(found)
