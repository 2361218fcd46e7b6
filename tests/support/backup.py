"""A data folder as control and a gateway leave it, its backups, and archives that somebody tampered with."""

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.db import snapshots, versions
from core.db.store import Store
from core.ledger import append
from core.records import Decision, Verdict
from core.settings import Settings, build
from ops.backup.archive import Backups
from ops.backup.restore import Restored

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)
MODELS = {"reviews": {"labels": ["a", "b"]}}


def settings_in(folder: Path) -> Settings:
    return build({"data": str(folder), "models": MODELS})


def decision(number: int) -> Decision:
    return Decision(f"dec-{number}", NOW, "reviews", 0, 1, Verdict.PROMOTED, "It won.", "t", "a")


def by(minute: int = 0, *, accept_broken_ledger: bool = False) -> Restored:
    return Restored(NOW.replace(minute=minute), "cli:ann", accept_broken_ledger)


class DataFolder:
    """A data folder as control and a gateway leave it, and backups of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LORALOOP_OPS_KEY", "s3cret-of-ops")
        monkeypatch.setenv("LORALOOP_NOTIFY_URLS", "slack://t0ken")
        self.settings = settings_in(folder)
        self.store = Store(self.settings.store_path)
        adapter = self.settings.adapters / "reviews@1.abc"
        adapter.mkdir(parents=True)
        (adapter / "adapter_model.safetensors").write_bytes(b"weights" * 1000)
        snapshot = folder / "snapshots" / "5a"
        snapshot.mkdir(parents=True)
        (snapshot / "rows.parquet").write_bytes(b"rows")
        self.segment = folder / "gateways" / "gateway-1" / "spool" / "00000000000000000001.seg"
        self.segment.parent.mkdir(parents=True)
        self.segment.write_bytes(b"frames")
        with self.store.transaction() as transaction:
            versions.add(
                transaction,
                model="reviews",
                version=1,
                engine_name="reviews@1.abc",
                path=str(adapter),
                sha256="abc",
                rank=8,
                run_id=None,
                time=NOW,
                kind="adapter",
            )
            snapshots.add(
                transaction, hash="5a", model="reviews", run_id="r", time=NOW, path=str(snapshot), report="{}"
            )
            for number in (1, 2):
                append(transaction, decision(number))
        self.backups = Backups(store=self.store, settings=self.settings, clock=lambda: NOW)

    def backup(self, path: Path) -> Path:
        size, pieces = self.backups.make()
        path.write_bytes(b"".join(pieces))
        assert path.stat().st_size == size
        return path


def content(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def pack(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in more:
            archive.addfile(member)
    return path
