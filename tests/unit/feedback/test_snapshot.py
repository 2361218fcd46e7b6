"""Facts about splits and snapshots: fixed buckets, equal names for equal rows, and nothing trained on that judges."""

import hashlib
import json
import shutil
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.db import spools
from core.db.store import Store
from core.errors import IntegrityFailed
from core.record_codec import Record, encode
from core.records import Feedback, Interaction, Revocation
from core.settings import ModelSettings
from core.spool import frame
from feedback.ingest import ingest
from feedback.snapshot import create_snapshot, load_snapshot, read_rows, read_table, report_of
from feedback.snapshot_files import content_hash
from feedback.split import HOLDOUTS, bucket_of, places_of, split_key
from tests.support import curation as votes_of

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
MODEL = ModelSettings(labels=["good", "Bad"])
SHARES = {"train": 0.6, "dev": 0.1}


def test_a_users_bucket_is_fixed_forever() -> None:
    # Written down once: a change of these would move users from training into judging.
    assert [bucket_of(f"user:{n}", **SHARES) for n in range(8)] == FIXED


FIXED = ["h2", "train", "dev", "train", "h3", "h1", "h4", "train"]


@pytest.mark.parametrize(("train", "dev"), [(0.6, 0.1), (0.5, 0.3), (0.9, 0.05)])
def test_the_shares_are_met(train: float, dev: float) -> None:
    n = 20_000
    found = [bucket_of(f"user:{k}", train=train, dev=dev) for k in range(n)]
    rest = (1 - train - dev) / 4
    for bucket, share in {"train": train, "dev": dev, **dict.fromkeys(HOLDOUTS, rest)}.items():
        assert abs(found.count(bucket) - n * share) < 5 * (n * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("bucket", ["train", "dev", *HOLDOUTS])
def test_the_places_of_a_bucket_are_those_of_its_users(bucket: str) -> None:
    low, high = places_of(bucket, **SHARES)
    for k in range(500):
        key = split_key(f"u{k}")
        place = int.from_bytes(hashlib.sha256(f"split\n{key}".encode()).digest()[:7], "big") / (1 << 56)
        assert (bucket_of(key, **SHARES) == bucket) is (low <= place < high)


@pytest.fixture
def store() -> Any:
    store = Store(":memory:")
    yield store
    store.close()


def fill(store: Store, *records: Record) -> None:
    with store.transaction() as transaction:
        known = spools.offset(transaction, spool="g", segment=1)
    ingest(store, "g", 1, known, b"".join(frame(encode(record)) for record in records))


def asked(number: int, text: str, model: str = "m") -> Interaction:
    body = {"messages": [{"role": "user", "content": text}]}
    return Interaction(
        f"i{number}",
        NOW,
        model,
        0,
        "champion",
        0.0,
        0.5,
        f"u{number}",
        None,
        "chat",
        body,
        "a",
        "stop",
        200,
        1.0,
        None,
        1,
        1,
        False,
    )


def labelled(number: int, about: int, label: str = "good", voter: str | None = None, minute: int = 0) -> Feedback:
    return Feedback(f"f{number}", NOW + timedelta(minutes=minute), f"i{about}", None, "label", label, None, voter)


def snap(store: Store, folder: Path, run: str = "r1", model: str = "m") -> Any:
    return create_snapshot(store, model, MODEL, run_id=run, folder=folder, clock=lambda: NOW)


def test_the_same_rows_have_the_same_name_and_are_written_once(store: Store, tmp_path: Path) -> None:
    fill(store, *(asked(n, f"text {n}") for n in range(20)), *(labelled(n, n) for n in range(20)))
    first = snap(store, tmp_path)
    stamp = first.path.stat().st_mtime_ns
    second = snap(store, tmp_path, "r2")
    assert (first.hash, first.rows) == (second.hash, second.rows)
    assert first.path == tmp_path / first.hash and first.path.stat().st_mtime_ns == stamp
    assert read_rows(first.path) == list(first.rows)
    assert sum(len(first.of(bucket)) for bucket in ("train", "dev", *HOLDOUTS)) == 20
    with store.transaction() as transaction:
        sql = "SELECT (SELECT count(*) FROM snapshot_rows), (SELECT count(*) FROM snapshots)"
        assert transaction._connection.execute(sql).fetchone() == (20, 2)


def test_requests_are_never_all_in_memory_at_once(store: Store, tmp_path: Path) -> None:
    count, size = 2000, 20_000
    for first in range(0, count, 200):
        part = range(first, first + 200)
        fill(store, *(asked(n, "x" * size) for n in part), *(labelled(n, n, "no label of ours") for n in part))
    tracemalloc.start()
    try:
        found = snap(store, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.report.left_out == {"not one of the model's labels": count}
    assert peak < count * size / 2


def test_one_more_label_is_another_snapshot_and_the_old_one_stays(store: Store, tmp_path: Path) -> None:
    fill(store, *(asked(n, f"text {n}") for n in range(3)), labelled(0, 0), labelled(1, 1))
    first = snap(store, tmp_path)
    fill(store, labelled(2, 2))
    second = snap(store, tmp_path)
    assert first.hash != second.hash
    assert len(read_rows(first.path)) == 2 and len(read_rows(second.path)) == 3


def test_what_was_revoked_is_left_out(store: Store, tmp_path: Path) -> None:
    fill(store, asked(1, "a"), asked(2, "b"), labelled(1, 1), labelled(2, 2), Revocation("f1", NOW))
    found = snap(store, tmp_path)
    assert [row.feedback_id for row in found.rows] == ["f2"]
    assert found.report.signals == {"label": 1}


def test_the_newest_label_by_time_counts_in_any_order_of_arrival(store: Store, tmp_path: Path) -> None:
    fill(store, labelled(1, 1, "bad", "u1", minute=5), asked(1, "a"), labelled(2, 1, "good", "u1", minute=1))
    assert [(row.feedback_id, row.label) for row in snap(store, tmp_path).rows] == [("f1", "Bad")]


def test_a_snapshot_holds_one_models_rows_only(store: Store, tmp_path: Path) -> None:
    fill(store, asked(1, "a"), asked(2, "b", model="other"), labelled(1, 1), labelled(2, 2))
    assert [row.interaction_id for row in snap(store, tmp_path).rows] == ["i1"]


def test_a_snapshot_of_nothing_is_one_too(store: Store, tmp_path: Path) -> None:
    found = snap(store, tmp_path)
    assert found.rows == () and read_rows(found.path) == []


def test_a_snapshot_that_was_cut_short_is_made_again(store: Store, tmp_path: Path) -> None:
    fill(store, asked(1, "a"), labelled(1, 1))
    name = snap(store, tmp_path / "elsewhere").hash
    (tmp_path / f"{name}.part").mkdir()
    (tmp_path / f"{name}.part" / "rows.parquet").write_bytes(b"half")
    found = snap(store, tmp_path)
    assert read_rows(found.path) == list(found.rows) and not (tmp_path / f"{name}.part").exists()


def test_a_snapshot_that_was_taken_can_be_opened_again(tmp_path: Path) -> None:
    store = Store(":memory:")
    taken = create_snapshot(store, "m", MODEL, run_id="r", folder=tmp_path, clock=lambda: NOW)
    assert load_snapshot(store, taken.hash) == taken
    store.close()


def test_an_empty_snapshot_belongs_to_its_model(store: Store, tmp_path: Path) -> None:
    assert snap(store, tmp_path).hash != snap(store, tmp_path, model="other").hash


@pytest.mark.parametrize("change", [{"label": "Bad"}, {"prompt": '"other"'}, {"bucket": "h1"}, {"feedback_id": "f9"}])
def test_a_snapshot_that_was_changed_on_disk_is_not_read(store: Store, tmp_path: Path, change: dict[str, str]) -> None:
    fill(store, asked(1, "a"), labelled(1, 1))
    found = snap(store, tmp_path)
    table = read_table(found.path)
    changed = pa.Table.from_pylist([row | change for row in table.to_pylist()], table.schema)
    pq.write_table(changed, found.path / "rows.parquet")
    for read in (lambda: read_rows(found.path), lambda: load_snapshot(store, found.hash)):
        with pytest.raises(IntegrityFailed, match=f"The rows of the snapshot {found.hash[:12]} do not have its hash"):
            read()
    assert snap(store, tmp_path, "r2").rows == found.rows
    assert read_rows(found.path) == list(found.rows)


def test_a_snapshot_without_its_folder_says_so(store: Store, tmp_path: Path) -> None:
    found = snap(store, tmp_path)
    shutil.rmtree(found.path)
    with pytest.raises(IntegrityFailed, match=f"The snapshot {found.hash[:12]} is not on disk any more"):
        load_snapshot(store, found.hash)
    with pytest.raises(IntegrityFailed, match="does not have the snapshot"):
        load_snapshot(store, "unknown")


def test_a_snapshot_of_an_earlier_release_has_its_hash_still(tmp_path: Path) -> None:
    row = {"interaction_id": "i", "feedback_id": "f", "user": "user:u", "bucket": "train", "prompt": '"p"'}
    row |= {"label": "good", "signal": "label"}
    name = hashlib.sha256(json.dumps(row, sort_keys=True).encode() + b"\n").hexdigest()
    (tmp_path / name).mkdir()
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / name / "rows.parquet")
    assert [(one.user, one.label, one.asker) for one in read_rows(tmp_path / name)] == [("user:u", "good", "")]


def test_neighbouring_values_do_not_run_into_each_other() -> None:
    tables = [
        pa.table({"user": users, "label": labels})
        for users, labels in ((["ab", "c"], ["", ""]), (["a", "bc"], ["", ""]))
    ]
    first, second = (table.replace_schema_metadata({b"loraloop.model": b"m"}) for table in tables)
    assert content_hash(first) != content_hash(second)


def test_each_run_has_its_own_report_of_equal_rows(store: Store, tmp_path: Path) -> None:
    fill(store, asked(1, "a"), labelled(1, 1))
    first = snap(store, tmp_path)
    fill(store, Feedback("t1", NOW, "i1", None, "thumbs", False))
    second = snap(store, tmp_path, "r2")
    assert first.hash == second.hash
    assert load_snapshot(store, first.hash, "r1").report.signals == {"label": 1}
    assert load_snapshot(store, first.hash, "r2").report.signals == {"label": 1, "thumbs": 1}
    assert load_snapshot(store, first.hash).report == first.report


def test_rows_are_in_the_order_of_their_time(store: Store, tmp_path: Path) -> None:
    fill(store, *(asked(n, f"text {n}") for n in range(3)))
    ids = ["shop:10", "shop:9", "fb-1"]
    votes = [(id, NOW + timedelta(minutes=n), f"i{n}") for n, id in enumerate(ids)]
    fill(store, *(Feedback(id, time, about, None, "label", "good") for id, time, about in reversed(votes)))
    assert [row.feedback_id for row in snap(store, tmp_path).rows] == ids


def test_votes_on_conversations_and_pairs_are_counted_with_their_reasons(store: Store, tmp_path: Path) -> None:
    talked = replace(asked(1, "a"), conversation="c1")
    pair = Feedback("p1", NOW, None, None, "preference", {"chosen": "i1", "rejected": "i2"})
    fill(store, talked, asked(2, "b"), pair, Feedback("c1", NOW, None, "c1", "thumbs", True), labelled(1, 1))
    fill(store, asked(3, "c", model="other"), Feedback("c2", NOW, None, "c2", "thumbs", True))
    report = snap(store, tmp_path).report
    assert report.signals == {"label": 1, "preference": 1, "thumbs": 1}
    assert report.left_out == {"a preference": 1, "about a conversation, not about one answer": 1}
    assert sum(report.rows.values()) == 1


def test_the_report_has_rows_and_users_by_class_same_texts_and_how_many_texts_users_disagree_on() -> None:
    said = [("a", "good"), ("a", "bad"), ("b", "good"), ("b", "good"), ("c", "bad")]
    votes = [votes_of.vote(n, text, label) for n, (text, label) in enumerate(said)]
    report = report_of(votes_of.curated([*votes, votes_of.thumb(9, answer="Bad")], MODEL), MODEL)
    assert report.by_class == {"Bad": {"rows": 3, "users": 3}, "good": {"rows": 3, "users": 3}}
    assert report.duplicates == {"texts": 4, "rows_that_share_a_text": 4, "largest": 2}
    assert (report.compared_texts, report.label_noise) == (2, 0.5)
    assert report.by_signal == {"confirmation": {"rows": 1, "users": 1}, "label": {"rows": 5, "users": 5}}


def test_a_report_holds_no_text_that_a_user_wrote() -> None:
    generate = ModelSettings(task="generate")
    found = votes_of.curated([votes_of.vote(1, "my secret", "my answer", type="correction")], generate)
    report = report_of(found, generate)
    assert report.rows == {"train": 1} and "my " not in str(report)
