"""Ship what workers left that a gateway no longer has, because `gateway.workers` was lowered."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from pathlib import Path

from core.errors import NotReady, SettingsError
from core.folder_lock import FolderLock
from core.spool import segments
from ops.apps.gateway_worker import OnlyWorker
from serve.gateway.shipping import EndedSpool, Shipper

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
AGAIN_SECONDS = 60.0


def lock_gateway(folder: Path) -> FolderLock:
    """A second process on the folder would delete what the first one still writes. Raises NotReady for it."""
    refused = f"Another gateway with the name {folder.name} runs on {folder}."
    return FolderLock(folder, refused=refused, hint="Stop it, or set gateway.name to another name.")


async def ship_leftovers(gateways: Path, worker: OnlyWorker, shipper_of: Callable[..., Shipper]) -> None:
    """Ships the spools of workers that are no more, forever. The first worker does it for all.

    A new one can appear: a worker of an earlier start has its folder until its last request ends.
    """
    async with asyncio.TaskGroup() as group:
        tasks: dict[str, asyncio.Task[None]] = {}
        while worker.is_first:
            for name in leftover_names(gateways, worker.gateway, worker.count):
                if name not in tasks or tasks[name].done():
                    tasks[name] = group.create_task(_ship_alone(gateways / name, shipper_of))
            await asyncio.sleep(AGAIN_SECONDS)


async def _ship_alone(folder: Path, shipper_of: Callable[..., Shipper]) -> None:
    try:
        lock = lock_gateway(folder)
    except NotReady:
        return  # its worker still runs
    except SettingsError as error:
        log.error("the spool of %s waits: %s", folder.name, error)
        return
    try:
        await _ship(folder, shipper_of)
    finally:
        lock.release()


def leftover_names(gateways: Path, gateway: str, workers: int) -> list[str]:
    """The names of workers above `workers` that have segments."""
    pattern = re.compile(rf"{re.escape(gateway)}_([1-9][0-9]*)")
    found = [(folder, pattern.fullmatch(folder.name)) for folder in gateways.glob(f"{gateway}_*")]
    above = [folder for folder, match in found if match and int(match[1]) > workers]
    return sorted(folder.name for folder in above if segments(folder / "spool"))


async def _ship(folder: Path, shipper_of: Callable[..., Shipper]) -> None:
    log.warning("the worker %s is no longer one of this gateway; its spool is shipped", folder.name)
    spool = folder / "spool"
    shipping = asyncio.create_task(shipper_of(name=folder.name, spool=EndedSpool(spool)).run())
    try:
        while segments(spool):
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        shipping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shipping
    log.info("the spool of %s is with control", folder.name)
