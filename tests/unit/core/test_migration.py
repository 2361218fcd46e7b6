"""Facts about the copy of a store from before its migration, the way back to the release before."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

import core
from core.db import live_tests, migration
from core.db.statements import migrations
from core.db.store import Store
from core.errors import NotReady, StoreNewer

BEFORE = 57
BEGAN = datetime(2026, 3, 1)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store as the release with schema 57 left it, with one spool."""
    path, folder = tmp_path / "loraloop.duckdb", Path(core.__file__).parent / "db" / "migrations"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        for file in sorted(folder.glob("*.sql")):
            if (number := int(file.name[:4])) <= BEFORE:
                connection.execute(file.read_text())
                connection.execute("INSERT INTO schema_version VALUES (?)", [number])
        connection.execute("INSERT INTO spool_offsets VALUES ('g', 1, 7)")
    return path


def schema_of(path: Path) -> int:
    with duckdb.connect(str(path), read_only=True) as connection:
        [(version,)] = connection.execute("SELECT max(version) FROM schema_version").fetchall()
        assert connection.execute('SELECT spool, "offset" FROM spool_offsets').fetchall() == [("g", 7)]
    return version


def test_an_old_store_is_copied_before_it_is_migrated(old: Path) -> None:
    Store(old).close()
    assert schema_of(old) == migrations()[-1][0] > BEFORE
    [copy] = migration.copies(old)
    assert copy.name == f"loraloop-schema-{BEFORE}.duckdb" and schema_of(copy) == BEFORE
    assert copy.parent.stat().st_mode & 0o077 == 0


def test_a_canary_of_the_release_before_keeps_its_newest_look(old: Path) -> None:
    with duckdb.connect(str(old)) as connection:
        connection.execute(
            """INSERT INTO runs (id, model, trigger, state, started, feedback_until, detail)
            SELECT 'run-' || n, 'm' || n, 't', 'canary', $t, $t, '{}' FROM range(3) numbers(n)""",
            {"t": BEGAN},
        )
        connection.execute(
            """INSERT INTO canaries (run_id, model, control, candidate, share, started, score_sd, plan, decision)
            SELECT 'run-' || n, 'm' || n, 0, 1, 0.1, $t, 0.5, '{}', '{}' FROM range(3) numbers(n)""",
            {"t": BEGAN},
        )
        connection.execute(
            """INSERT INTO canary_looks SELECT 'run-' || n, look, $t + to_hours(look - 3 * n), 'wait', 'So.',
            '{"look": ' || look || '}' FROM range(2) runs(n), range(1, 4) looks(look)""",
            {"t": BEGAN},
        )
    store = Store(old)
    found = {row["run_id"]: (row["looks"], row["looked"], row["numbers"]) for row in live_tests.open_canaries(store)}
    store.close()
    at = BEGAN.replace(tzinfo=UTC)
    # The second canary's looks are at its beginning or before: it was restarted after the first two of them.
    assert found == {
        "run-0": (3, at + timedelta(hours=3), '{"look": 3}'),
        "run-1": (3, at, '{"look": 3}'),
        "run-2": (0, None, None),
    }


def test_the_release_before_opens_the_copy(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(old).close()
    [copy] = migration.copies(old)
    known = [one for one in migrations() if one[0] <= BEFORE]
    monkeypatch.setattr(migration, "migrations", lambda: known)
    with pytest.raises(StoreNewer, match=f"supports schemas up to {BEFORE}"):
        Store(old)
    Store(copy).close()


def test_a_new_store_and_one_of_this_release_are_not_copied(tmp_path: Path) -> None:
    for _ in range(2):
        Store(tmp_path / "loraloop.duckdb").close()
    assert migration.copies(tmp_path / "loraloop.duckdb") == []


def test_no_copy_is_made_where_the_settings_say_so(old: Path) -> None:
    Store(old, copy_first=False).close()
    assert migration.copies(old) == [] and schema_of(old) > BEFORE


def test_without_space_for_the_copy_the_store_stays_as_it_is(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(NotReady, match="The copy needs") as refused:
        Store(old)
    assert "LORALOOP_CONTROL__COPY_BEFORE_MIGRATION=false" in str(refused.value.hint)
    assert schema_of(old) == BEFORE


def test_a_copy_that_a_crash_left_half_is_made_again_and_one_copy_is_kept(old: Path) -> None:
    folder = old.parent / migration.FOLDER
    folder.mkdir()
    (folder / f"loraloop-schema-{BEFORE}.duckdb.part").write_bytes(b"half")
    (folder / "loraloop-schema-40.duckdb").write_bytes(b"of an earlier upgrade")
    (folder / "mine.txt").write_text("not ours")
    Store(old).close()
    assert {file.name for file in folder.iterdir()} == {f"loraloop-schema-{BEFORE}.duckdb", "mine.txt"}


def test_a_rewrite_for_an_erasure_deletes_the_copy(old: Path) -> None:
    store = Store(old)
    store.rewrite()
    store.close()
    assert migration.copies(old) == [] and schema_of(old) > BEFORE


def test_copies_of_another_store_in_the_folder_are_left(old: Path) -> None:
    other = old.with_name("other.duckdb")
    shutil.copyfile(old, other)
    for path in (old, other):
        Store(path).close()
    migration.delete_copies(old)
    assert migration.copies(old) == [] and len(migration.copies(other)) == 1
