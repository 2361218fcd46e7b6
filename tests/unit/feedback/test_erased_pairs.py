"""Facts about pairs of erased users: each pair that they voted on, asked for or are the rejected answer of goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db.store import Store
from feedback.erasure import Request, begin, erase_rows, preview, rewrite_snapshots
from feedback.snapshot import load_snapshot, read_pairs
from tests.support.curation import user_in
from tests.support.pairs import NOW, answer, fill, prefer, snap, vote

ZOE, ADA = user_in("train"), user_in("train", 1)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(":memory:")
    yield opened
    opened.close()


def test_pairs_of_an_erased_user_leave_the_snapshot_and_its_report(store: Store, tmp_path: Path) -> None:
    fill(store, *(answer(name, f"text {name}") for name in "abcd"), answer("z", "zebra", user=ZOE), answer("y"))
    fill(store, prefer(1, "a", "b", ZOE), prefer(2, "c", "d", ADA), vote(3, "a", "correction", "by Ada", ADA))
    fill(store, vote(4, "z", "thumbs", False, None), prefer(5, "y", "z", ZOE))
    folder = tmp_path / "snapshots"
    before = snap(store, folder)
    assert len(before.pairs) == 5 and len(before.rows) == 1
    request = Request(ZOE)
    # Of the pair of `y` and `z` both answers are named.
    assert preview(store, request, NOW).counts["snapshot_rows"] == 5
    identity = begin(store, request, NOW)
    erase_rows(store, identity, ZOE, None, NOW)
    new = rewrite_snapshots(store, identity, folder)[before.hash]
    assert new is not None and new != before.hash and not before.path.exists()
    after = load_snapshot(store, new)
    assert [(pair.feedback_id, pair.chosen) for pair in after.pairs] == [("f2", "text c"), ("f3", "by Ada")]
    assert after.rows == before.rows and after.report.labels == after.report.by_class == {}
    assert after.report.pairs["left_out"] == {"of an erased user": 3}
    assert after.report.pairs["by_signal"] == {
        "correction": {"rows": 1, "users": 1},
        "preference": {"rows": 1, "users": 1},
    }
    assert not any(b"zebra" in path.read_bytes() for path in folder.rglob("*.parquet"))


def test_a_snapshot_whose_pairs_all_go_has_no_file_of_pairs(store: Store, tmp_path: Path) -> None:
    fill(store, answer("a"), answer("b"), prefer(1, "a", "b", ZOE), vote(2, "a", "correction", "better", ADA))
    fill(store, prefer(3, "b", "a", ZOE))
    folder = tmp_path / "snapshots"
    before = snap(store, folder)
    identity = begin(store, Request(ADA), NOW)
    erase_rows(store, identity, ADA, None, NOW)
    middle = rewrite_snapshots(store, identity, folder)[before.hash]
    assert middle and [pair.feedback_id for pair in read_pairs(folder / middle)] == ["f3"]
    identity = begin(store, Request(ZOE), NOW)
    erase_rows(store, identity, ZOE, None, NOW)
    last = rewrite_snapshots(store, identity, folder)[middle]
    assert last and not (folder / last / "pairs.parquet").exists()
    assert load_snapshot(store, last).pairs == ()
