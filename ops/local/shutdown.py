"""The end of a `loraloop up` that runs elsewhere, with or without a terminal."""

import signal
import time

from core.settings import Settings
from ops.local import orphan_processes, server_record
from ops.local.preparation import Tell, lock_data
from ops.local.process_identity import RunningProcess
from serve.engines.process import STOP_SECONDS

# More than the longest regular end, before what is left is killed, in seconds.
MARGIN_SECONDS = 15.0
# How long the workers of a gateway may take to end after `gateway.drain_seconds`: they ship their spools. Then their
# supervisor kills them, which takes a moment.
WORKER_SECONDS, KILL_SECONDS = 30.0, 5.0


def gateway_seconds(settings: Settings) -> float:
    """How long `up` lets the gateway end: requests end first, then the spool goes to control."""
    return settings.gateway.drain_seconds + WORKER_SECONDS + KILL_SECONDS


def stop_seconds(settings: Settings) -> float:
    """How long `up` may take to end: gateway, control and its own engine one after another, with a margin."""
    others = 1 if settings.engine.urls else 2
    return gateway_seconds(settings) + others * STOP_SECONDS + MARGIN_SECONDS


def stop(settings: Settings, tell: Tell, *, grace_s: float | None = None) -> bool:
    """End what runs on the data folder: `up`, which ends the others, and orphans of one that was killed.

    `up` is killed after `grace_s` seconds, by default when it should have ended. No signal goes to a process that is
    not LoraLoop's, although it may have the id of one that was. Returns whether anything ran.
    """
    data = settings.data
    if not data.is_dir():
        return False
    stopped = _stop_up(settings, tell, stop_seconds(settings) if grace_s is None else grace_s)
    lock = lock_data(data)
    try:
        left = orphan_processes.end(data)
        server_record.forget(data)
    finally:
        lock.release()
    for mark in left:
        tell(f"Ended {mark.name}, process {mark.pid}, which a LoraLoop that was killed had left")
    return stopped or bool(left)


def _stop_up(settings: Settings, tell: Tell, grace_s: float) -> bool:
    record = server_record.read(settings.data)
    if record is None:
        return False
    try:
        process = RunningProcess(record.pid, record.born)
    except ProcessLookupError:
        return False
    try:
        began = time.monotonic()
        tell(f"Stopping LoraLoop, process {record.pid}: gateway first, then control and engine")
        process.send(signal.SIGTERM)
        if not process.ended(grace_s):
            tell(f"It has not ended within {grace_s:.0f} s and is killed")
            process.send(signal.SIGKILL)
            process.ended(grace_s)
        tell(f"Stopped after {time.monotonic() - began:.1f} s")
    finally:
        process.close()
    return True
