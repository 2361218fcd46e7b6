"""Facts about backup and restore: a real store, real files, and backups that somebody tampered with."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import audit_log, console_sessions, snapshots, versions
from core.db.audit_log import Filter
from core.db.store import Store
from core.errors import Conflict, InputError, NotReady, StoreError
from core.ledger import append, verify_store
from ops.backup.archive import MANIFEST, STAGING, STORE
from ops.backup.restore import occupied, prove, restore
from tests.support.backup import DataFolder, by, content, decision, pack, settings_in


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataFolder]:
    made = DataFolder(tmp_path / "data", monkeypatch)
    yield made
    made.store.close()


def test_a_backup_holds_everything_and_no_secret(data_folder: DataFolder, tmp_path: Path):
    found = content(data_folder.backup(tmp_path / "b.tar"))
    assert set(found) == {
        MANIFEST,
        STORE,
        "settings.json",
        "adapters/reviews@1.abc/adapter_model.safetensors",
        "snapshots/5a/rows.parquet",
        "gateways/gateway-1/spool/00000000000000000001.seg",
    }
    assert b"s3cret-of-ops" not in (tmp_path / "b.tar").read_bytes()
    assert b"t0ken" not in (tmp_path / "b.tar").read_bytes()
    assert prove(tmp_path / "b.tar").ledger_rows == 2
    assert not (data_folder.settings.data / STAGING).exists()


def test_a_restore_brings_back_no_session_of_a_person(data_folder: DataFolder, tmp_path: Path):
    now = by().time
    console_sessions.add(
        data_folder.store,
        digest="ab",
        issuer="https://id.example",
        subject="7",
        email="",
        groups=["ops"],
        began=now,
        expires=now + timedelta(hours=12),
    )
    new = settings_in(tmp_path / "elsewhere")
    restore(data_folder.backup(tmp_path / "b.tar"), new, by())
    store = Store(new.store_path)
    assert console_sessions.find(data_folder.store, digest="ab", now=now)
    assert console_sessions.find(store, digest="ab", now=now) is None
    store.close()


def test_a_backup_is_restored_elsewhere_with_its_folders(data_folder: DataFolder, tmp_path: Path):
    path = data_folder.backup(tmp_path / "b.tar")
    new = settings_in(tmp_path / "it's elsewhere")
    manifest, aside = restore(path, new, by())
    assert aside is None
    assert occupied(new.data) == [
        "adapters",
        "audit.head",
        "gateways",
        "ledger.head",
        STORE,
        "settings.json",
        "snapshots",
    ]
    store = Store(new.store_path)
    (version,) = versions.folders(store)
    (snapshot,) = snapshots.folders(store)
    assert (Path(version) / "adapter_model.safetensors").read_bytes() == b"weights" * 1000
    assert (Path(snapshot) / "rows.parquet").is_file() and str(new.data) in version
    assert verify_store(store, manifest.ledger_head).rows == 2
    (row,) = audit_log.page(store, Filter(), limit=10)
    assert (row["act"], row["actor"], row["object"]) == ("backup.restore", by().actor, manifest.made)
    store.close()


def test_writes_during_a_backup_neither_tear_nor_grow_it(data_folder: DataFolder, tmp_path: Path):
    size, pieces = data_folder.backups.make()
    data_folder.segment.write_bytes(b"frames and more of them")  # the segment under the same name goes on
    data_folder.segment.unlink()  # and is taken in and gone
    with data_folder.store.transaction() as transaction:
        append(transaction, decision(3))
    path = tmp_path / "b.tar"
    path.write_bytes(b"".join(pieces))
    assert path.stat().st_size == size and prove(path).ledger_rows == 2
    assert content(path)["gateways/gateway-1/spool/00000000000000000001.seg"] == b"frames"


def test_one_backup_at_a_time_and_an_abandoned_one_leaves_nothing(data_folder: DataFolder, tmp_path: Path):
    _, pieces = data_folder.backups.make()
    with pytest.raises(Conflict):
        data_folder.backups.make()
    del pieces  # as when a client goes away before the first byte
    assert not (data_folder.settings.data / STAGING).exists()
    data_folder.backup(tmp_path / "b.tar")


def test_without_space_for_the_copy_no_backup_begins(data_folder: DataFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ops.backup.archive.SPACE_FACTOR", 1e12)
    with pytest.raises(NotReady, match="Free space on the disk"):
        data_folder.backups.make()
    assert not (data_folder.settings.data / STAGING).exists()


def _changed(found: dict[str, bytes]) -> dict[str, bytes]:
    return found | {"snapshots/5a/rows.parquet": b"fake"}


def _without_a_file(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if name != "snapshots/5a/rows.parquet"}


def _with_more(found: dict[str, bytes]) -> dict[str, bytes]:
    return found | {"adapters/x/y": b""}


def _manifest_last(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: found[name] for name in sorted(found, key=lambda name: name == MANIFEST)}


def _renamed(to: str) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    def change(found: dict[str, bytes]) -> dict[str, bytes]:
        manifest = json.loads(found[MANIFEST])
        manifest["files"][to] = manifest["files"].pop("snapshots/5a/rows.parquet")
        return {MANIFEST: json.dumps(manifest).encode(), STORE: found[STORE], to: b"rows"}

    return change


def _manifested(**changes: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda found: found | {MANIFEST: json.dumps(json.loads(found[MANIFEST]) | changes).encode()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_changed, "rows.parquet' is damaged"),
        (_without_a_file, "rows.parquet' is missing"),
        (_with_more, "'adapters/x/y' is not what the manifest says"),
        (_manifest_last, "does not begin with manifest.json"),
        (_renamed("../../evil"), "does not belong into a backup"),
        (_renamed("/etc/cron.d/evil"), "does not belong into a backup"),
        (_renamed("adapters/../../x"), "does not belong into a backup"),
        (_renamed("adapters//x/y"), "does not belong into a backup"),
        (_renamed("up.lock"), "does not belong into a backup"),
        (_manifested(format=2), "has format 2"),
        (_manifested(files=[]), "cannot be read"),
        (_manifested(files={}), "lacks in a backup"),
        (_manifested(more=1), "cannot be read"),
        (_manifested(ledger_head="f" * 64), "its ledger is broken"),
    ],
)
def test_a_backup_that_was_changed_is_refused_and_nothing_is_touched(
    data_folder: DataFolder, tmp_path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]], sentence: str
):
    path = pack(tmp_path / "bad.tar", change(content(data_folder.backup(tmp_path / "b.tar"))))
    new = settings_in(tmp_path / "new")
    new.data.mkdir()
    (new.data / "mine").write_text("stays")
    with pytest.raises(InputError, match=sentence):
        restore(path, new, by())
    assert [entry.name for entry in new.data.iterdir()] == ["mine"]


def test_a_link_in_a_backup_is_refused(data_folder: DataFolder, tmp_path: Path):
    found = content(data_folder.backup(tmp_path / "b.tar"))
    del found["snapshots/5a/rows.parquet"]
    link = tarfile.TarInfo("snapshots/5a/rows.parquet")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(InputError, match="is not what the manifest says"):
        prove(pack(tmp_path / "bad.tar", found, link))


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_file_that_is_cut_off_is_refused(data_folder: DataFolder, tmp_path: Path, keep: int):
    path = data_folder.backup(tmp_path / "b.tar")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError):
        prove(path)


def test_what_was_there_is_put_aside_and_not_deleted(data_folder: DataFolder, tmp_path: Path):
    path = data_folder.backup(tmp_path / "b.tar")
    new = settings_in(tmp_path / "new")
    for turn in (1, 2):
        (new.data / "adapters").mkdir(parents=True, exist_ok=True)
        (new.data / "adapters" / f"mine-{turn}").write_text("kept")
        _, aside = restore(path, new, by(minute=turn))
        assert aside and (aside / "adapters" / f"mine-{turn}").read_text() == "kept"
    assert len(list(new.data.glob("before-restore-*"))) == 2


def test_a_folder_that_is_a_disk_of_its_own_stays_one(
    data_folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = data_folder.backup(tmp_path / "b.tar")
    new = settings_in(tmp_path / "new")
    (new.adapters / "mine").mkdir(parents=True)
    (new.adapters / "lost+found").mkdir()
    (new.data / "lost+found").mkdir()
    inode = new.adapters.stat().st_ino
    monkeypatch.setattr("os.path.ismount", lambda folder: Path(folder) == new.adapters)
    _, aside = restore(path, new, by())
    assert aside and (aside / "adapters" / "mine").is_dir() and new.adapters.stat().st_ino == inode
    assert sorted(entry.name for entry in new.adapters.iterdir()) == ["lost+found", "reviews@1.abc"]
    assert (new.data / "lost+found").is_dir()


def test_spools_that_gateways_still_have_stay_and_those_of_the_backup_join_them(
    data_folder: DataFolder, tmp_path: Path
):
    path = data_folder.backup(tmp_path / "b.tar")
    data_folder.store.close()
    data_folder.segment.write_bytes(b"frames and more of them")
    later = data_folder.segment.with_name("00000000000000000002.seg")
    later.write_bytes(b"not taken in yet")
    restore(path, data_folder.settings, by())
    assert (data_folder.segment.read_bytes(), later.read_bytes()) == (b"frames and more of them", b"not taken in yet")
    data_folder.segment.unlink()
    restore(path, data_folder.settings, by(minute=9))
    assert (data_folder.segment.read_bytes(), later.read_bytes()) == (b"frames", b"not taken in yet")


def test_a_store_that_control_has_open_is_not_replaced(data_folder: DataFolder, tmp_path: Path):
    path = data_folder.backup(tmp_path / "b.tar")
    data_folder.store.close()
    store_path = str(data_folder.settings.store_path)
    hold = f"import duckdb, sys; held = duckdb.connect({store_path!r}); print('held', flush=True)"
    hold += "; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match="cannot be opened"):
            restore(path, data_folder.settings, by())
        holder.communicate()
    assert STORE in occupied(data_folder.settings.data)
