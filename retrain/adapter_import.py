"""Imports: an adapter that was trained elsewhere becomes a version, in service only once somebody says so.

It owns the folder that archives are unpacked in, and what the ledger learns; what an adapter must be is
preflight's to say.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.db import versions
from core.db.store import Store
from core.errors import RunInProgress
from core.model_folder import ModelFolder
from core.records import Version
from core.settings import Settings
from retrain.artifacts import from_adapter, register_folder
from rollout.change_writer import DecisionContext
from rollout.promotion import RouteManager
from serve.adapters.archive import unpack
from serve.adapters.preflight import Adapter, preflight


@dataclass(frozen=True, slots=True)
class Imported:
    """A version with the bytes that were sent; `new` is False when the model had it already."""

    version: Version
    new: bool
    modules: int
    warnings: tuple[str, ...]


class Importer:
    """Takes archives in, one at a time."""

    def __init__(self, *, settings: Settings, store: Store, base: ModelFolder, promotion: RouteManager) -> None:
        self.settings = settings
        self.store = store
        self.base = base
        self.promotion = promotion
        self._busy = threading.Lock()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield an empty folder for one import and remove it at the end. Raises RunInProgress during another import."""
        if not self._busy.acquire(blocking=False):
            raise RunInProgress("Another import is under way.", hint="Try again when it has ended.")
        folder = self.settings.data / "imports"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._busy.release()

    def take_in(self, archive: Path, model: str, *, actor: str, comment: str) -> Imported:
        """Unpacks, checks and keeps an adapter. Raises AdapterRefused, and then nothing is kept."""
        trained = archive.parent / "adapter"
        trained.mkdir()
        unpack(archive, trained, max_bytes=self.settings.control.max_import_bytes)
        checked = preflight(trained, base=self.base.path, max_rank=self.settings.engine.max_lora_rank)
        with self.store.transaction() as transaction:
            known = next(
                (row for row in versions.of_model(transaction, model=model) if row["sha256"] == checked.sha256), None
            )
            if known:
                return Imported(
                    self.promotion.version(model, known["version"]), False, checked.modules, checked.warnings
                )
            with register_folder(
                transaction, from_adapter(checked), model=model, run_id=None, adapters=self.settings.adapters
            ) as version:
                why = DecisionContext(
                    self._reason(version, checked), "import", actor, comment, lineage=self._lineage(checked)
                )
                self.promotion.import_version(transaction, version, why)
        return Imported(version, True, checked.modules, checked.warnings)

    def _reason(self, version: Version, checked: Adapter) -> str:
        size = f"rank {checked.rank} on {checked.modules} modules"
        return " ".join((f"{version.public_name} was imported, {size}; it serves nobody yet.", *checked.warnings))

    def _lineage(self, checked: Adapter) -> dict[str, object]:
        training = {"trained": "elsewhere", "rank": checked.rank, "lora_alpha": checked.alpha}
        return {"base_model": self.base.name, "adapter_sha256": checked.sha256, "training": training}
