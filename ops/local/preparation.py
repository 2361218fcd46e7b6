"""What is done before the first process of this machine starts: lock, orphans, ports, base model, first key."""

import socket
from collections.abc import Callable
from pathlib import Path

from core.api_key_store import ApiKeyStore
from core.clock import utc_now
from core.db.store import Store
from core.errors import NotReady
from core.folder_lock import FolderLock
from core.model_folder import ModelFolder
from core.model_folder import prepare as prepare_base
from core.settings import KEY_VARIABLES, Settings, split_listen
from ops.local import orphan_processes

Tell = Callable[[str], None]


def lock_data(data: Path) -> FolderLock:
    """Lock a data folder for one LoraLoop. Raises NotReady if another one holds it."""
    refused = f"Another LoraLoop runs on the data folder {data}."
    return FolderLock(data, refused=refused, hint="Stop it first: loraloop server down", name="up.lock")


def prepare(settings: Settings, tell: Tell) -> ModelFolder:
    """Make ready to start, with the data folder locked. Returns the base model. Raises LoraLoopError."""
    for mark in orphan_processes.end(settings.data):
        tell(f"Ended {mark.name}, process {mark.pid}: a LoraLoop that was killed had left it")
    check_ports(settings)
    base = prepare_base(settings.base_model, tell)
    tell_first_key(settings, tell)
    return base


def check_ports(settings: Settings) -> None:
    """Raises NotReady when a port that we need is taken."""
    wanted = {"gateway.listen": settings.gateway.listen, "control.listen": settings.control.listen}
    if not settings.engine.urls:
        wanted["engine.listen"] = settings.engine.listen
    for name, listen in wanted.items():
        host, port = split_listen(listen)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), port))
            except OSError as error:
                raise NotReady(
                    f"{name} {listen} cannot be used: {error.strerror}.",
                    hint=f"Stop what listens there, or set another {name} in the configuration.",
                ) from error


def tell_first_key(settings: Settings, tell: Tell) -> None:
    """Makes the first admin key, where nobody could have one, and says it this once: only its hash is kept."""
    if settings.access == "open" or settings.keys.ops:
        return
    store = Store(settings.store_path, copy_first=settings.control.copy_before_migration)
    try:
        first = ApiKeyStore(store=store, clock=utc_now).make_first()
    finally:
        store.close()
    if first:
        tell("The first key, which may do everything and is shown only now; the command line sends it automatically:")
        tell(f"  export {KEY_VARIABLES['own']}={first.key}")
        tell("Make keys for apps with: loraloop keys create NAME --scope infer --scope feedback")
