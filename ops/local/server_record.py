"""The record of a running `loraloop up`: which process it is, by which configuration, and whether it was ready.

It is a file in the data folder, for commands in other terminals. The lock on the folder is what keeps a second one out.
"""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from core.durable_file import replace_content
from ops.local import process_identity

log = logging.getLogger(__name__)

NAME = "up.json"


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """`born` identifies the process with `pid`; `ready` says that it was ready once."""

    pid: int
    born: str
    config: str
    ready: bool = False


def of_this_process(config: Path) -> ServerRecord:
    """The record of the process that runs this."""
    return ServerRecord(os.getpid(), process_identity.born(os.getpid()) or "", str(config))


def write(folder: Path, record: ServerRecord) -> None:
    """Replace the record. A disk that does not take it costs the record and nothing else."""
    try:
        replace_content(folder / NAME, json.dumps(asdict(record), indent=1).encode())
    except OSError as error:
        log.error("who runs cannot be written down: %s", error)


def read(folder: Path) -> ServerRecord | None:
    """The record of a `loraloop up` that runs, None if none does."""
    try:
        found = ServerRecord(**json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        log.warning("%s cannot be read: %s", folder / NAME, error)
        return None
    return found if process_identity.born(found.pid) == found.born else None


def forget(folder: Path) -> None:
    """Remove the record: the process ends."""
    (folder / NAME).unlink(missing_ok=True)
