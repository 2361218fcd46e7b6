"""Facts about the ledger of a backup: a broken one is said, and a restore is a row."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core import audit_log, ledger_head
from core.acts import Act
from core.audit_log import Entry
from core.db import audit_log as table
from core.db import decisions
from core.db.audit_log import Filter
from core.db.store import Store
from core.errors import InputError
from core.ledger import append, verify_store
from core.records import Route
from core.route_check import recorded_route
from ops.backup.archive import MANIFEST
from ops.backup.restore import prove, prove_with_ledger, restore
from rollout.change_writer import write_route
from tests.support.backup import NOW, DataFolder, by, content, decision, pack, settings_in


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataFolder]:
    made = DataFolder(tmp_path / "data", monkeypatch)
    yield made
    made.store.close()


def routed(folder: DataFolder) -> None:
    """A route that its decision recorded."""
    route = Route("reviews", 2, 1, None, 0.0, 0, "salt")
    made = replace(decision(3), live={"route": recorded_route(route)})
    with folder.store.transaction() as transaction:
        append(transaction, made)
        write_route(transaction, route, made.id, NOW)


def spoilt(folder: DataFolder, sql: str = "UPDATE decisions SET reason = 'It lost.' WHERE seq = 1") -> None:
    with folder.store.transaction() as transaction:
        transaction._connection.execute(sql)


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("UPDATE decisions SET reason = 'It lost.' WHERE seq = 1", "Row 1 (dec-1): its column reason differs"),
        ("DELETE FROM decisions WHERE seq = 3", "Row 3, which ledger.head recorded, is missing"),
        ("UPDATE routes SET champion = 0", "The route of reviews has champion 0, and decision 3 recorded 1"),
    ],
)
def test_a_backup_of_a_broken_ledger_says_so_when_it_is_made_and_when_it_is_read(
    data_folder: DataFolder, tmp_path: Path, sql: str, fault: str
):
    routed(data_folder)
    spoilt(data_folder, sql)
    path = data_folder.backup(tmp_path / "b.tar")
    assert fault in prove(path).ledger_fault
    assert fault in prove_with_ledger(path)[1]
    with pytest.raises(InputError, match="its ledger is broken") as refused:
        restore(path, settings_in(tmp_path / "new"), by())
    assert fault in str(refused.value) and "--broken-ledger" in refused.value.hint


def test_a_backup_made_before_its_ledger_was_checked_is_found_when_it_is_read(data_folder: DataFolder, tmp_path: Path):
    spoilt(data_folder)
    found = content(data_folder.backup(tmp_path / "b.tar"))
    manifest = json.loads(found[MANIFEST])
    del manifest["ledger_fault"]
    path = pack(tmp_path / "old.tar", found | {MANIFEST: json.dumps(manifest).encode()})
    assert prove(path).ledger_fault == "" and "Row 1 (dec-1)" in prove_with_ledger(path)[1]


def test_a_broken_ledger_is_restored_where_that_is_asked_for_and_the_ledger_says_so(
    data_folder: DataFolder, tmp_path: Path
):
    routed(data_folder)
    spoilt(data_folder)
    path = data_folder.backup(tmp_path / "b.tar")
    new = settings_in(tmp_path / "new")
    restore(path, new, by(accept_broken_ledger=True))
    store = Store(new.store_path)
    newest = decisions.chain(store)[-1]
    assert newest["verdict"] == "restored" and "The ledger of the backup was broken: Row 1 (dec-1)" in newest["reason"]
    assert not verify_store(store).ok
    store.close()


def test_a_restore_is_a_row_of_the_ledger_with_what_it_replaced(data_folder: DataFolder, tmp_path: Path):
    routed(data_folder)
    path = data_folder.backup(tmp_path / "b.tar")
    with data_folder.store.transaction() as transaction:
        append(transaction, decision(4))  # after the backup: the restore loses it
    head = ledger_head.read(data_folder.settings.data / "ledger.head")
    data_folder.store.close()
    manifest, aside = restore(path, data_folder.settings, by())
    store = Store(data_folder.settings.store_path)
    newest = decisions.chain(store)[-1]
    body = json.loads(newest["body"])
    assert (newest["seq"], newest["verdict"], newest["from_version"], body["actor"]) == (4, "restored", 1, "cli:ann")
    assert newest["reason"].endswith("whose ledger had 3 rows. The ledger that it replaced had 4 rows.")
    assert head and body["live"]["replaced"] == {"rows": 4, "head": head.hash}
    assert body["live"]["backup"]["head"] == manifest.ledger_head
    assert verify_store(store, manifest.ledger_head).ok
    assert ledger_head.read(data_folder.settings.data / "ledger.head") == decisions.head(store)
    assert aside and ledger_head.read(aside / "ledger.head") == head
    store.close()


def test_a_restore_is_a_row_of_the_audit_log_with_the_newest_row_that_it_replaced(
    data_folder: DataFolder, tmp_path: Path
):
    path = data_folder.backup(tmp_path / "b.tar")
    with data_folder.store.transaction() as transaction:
        audit_log.append(transaction, [Entry(NOW, Act.KEYS_CREATE)] * 3)  # after the backup: the restore loses them
    head = audit_log.HEAD.head(data_folder.store)
    data_folder.store.close()
    manifest, aside = restore(path, data_folder.settings, by())
    store = Store(data_folder.settings.store_path)
    (row,) = table.page(store, Filter(act=Act.BACKUP_RESTORE), limit=10)
    assert head and row["object"] == f"{manifest.made}, replaced row 3 {head.hash}"
    store.close()
    assert aside
    replaced = Store(aside / data_folder.settings.store_path.name)
    assert audit_log.verify_store(replaced).rows == 3
    replaced.close()


def test_the_views_of_the_store_are_in_its_copy(data_folder: DataFolder, tmp_path: Path):
    data_folder.store.copy_to(tmp_path / "copy.duckdb")
    copy = Store(tmp_path / "copy.duckdb")
    with copy._cursor() as cursor:
        assert cursor.execute("SELECT feedback_id FROM quarantined_feedback").fetchall() == []
    copy.close()
