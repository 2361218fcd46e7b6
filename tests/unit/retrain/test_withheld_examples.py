"""Facts about examples of a retrieval that serves: those that feedback is against now are not shown any more."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db import erasures, withheld_examples
from core.db import feedback as feedback_table
from core.db.quarantines import Predicate
from core.records import Feedback, Revocation, Version
from feedback import quarantine
from feedback.ingest import add
from feedback.quarantine import Hold
from ops.control import Engines
from retrain.pipeline import RetrainPipeline
from rollout.withheld_examples import EVERY, WithheldExamples
from serve.retrieval.retriever import FILE, read_retrieval, sha256_of
from tests.support.pipeline import NOW, vote
from tests.unit.retrain.test_retrieval_runs import pipelines


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    yield from pipelines(tmp_path)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def promoted(pipeline: RetrainPipeline) -> Version:
    """A retrieval that serves, of the votes of 60 users."""
    vote(pipeline.store, 60)
    pipeline.run("reviews", "test")
    return pipeline.promotion.version("reviews", 1)


def watched(pipeline: RetrainPipeline, clock: Clock) -> Engines:
    reconciler: Any = pipeline.promotion.engines
    examples = WithheldExamples(pipeline.store, pipeline.settings.models, clock)
    pipeline.promotion.find_withheld = examples.find
    return Engines(reconciler, pipeline.promotion, pipeline.promotion.board)


def shown(engines: Engines, clock: Clock, version: Version) -> set[str]:
    """The examples that a gateway may show after the next check."""
    clock.now += EVERY
    engines.look()
    return in_table(engines, version)


def in_table(engines: Engines, version: Version) -> set[str]:
    """The examples that a gateway with the newest table may show."""
    table = engines.board.table
    assert table is not None
    withheld = table.withheld.get(str(version.sha256), ())
    return {entry.text for place, entry in enumerate(read_retrieval(version).entries) if place not in withheld}


def test_what_is_flagged_revoked_or_held_vanishes_from_a_retrieval_that_serves(make: Callable[..., RetrainPipeline]):
    pipeline, clock = make(fallback="rag"), Clock()
    store, version = pipeline.store, promoted(pipeline)
    engines, every = watched(pipeline, clock), {entry.text for entry in read_retrieval(version).entries}
    assert shown(engines, clock, version) == every
    unsafe, revoked, held = chosen = sorted(every)[:3]  # an example is the number of its question

    add(store, [Feedback("x1", NOW, f"g-c{unsafe}", None, "flag", "other", user=f"g-u{unsafe}")])
    assert shown(engines, clock, version) == every
    add(store, [Feedback("x2", NOW, f"g-c{unsafe}", None, "flag", "private", user=f"g-u{unsafe}")])
    assert shown(engines, clock, version) == every - {unsafe}
    restarted = watched(pipeline, clock)
    restarted.look()
    assert engines.board.table == restarted.board.table

    add(store, [Revocation(f"g-f{revoked}", NOW + timedelta(days=1))])
    with store.transaction() as transaction:
        wanted = Hold("q", (Predicate(user=f"g-u{held}"),))
        quarantine.hold(transaction, "reviews", wanted, decision_id="d", time=NOW)
    assert shown(engines, clock, version) == every - set(chosen)

    add(store, [Revocation("x2", NOW + timedelta(days=1))])
    with store.transaction() as transaction:
        quarantine.decide(transaction, "q", "released", actor="ann", comment="", time=NOW)
    assert shown(engines, clock, version) == every - {revoked}


def test_a_snapshot_is_read_once(make: Callable[..., RetrainPipeline]):
    pipeline, clock = make(fallback="rag"), Clock()
    version = promoted(pipeline)
    engines, every = watched(pipeline, clock), {entry.text for entry in read_retrieval(version).entries}
    first, second = sorted(every)[:2]
    add(pipeline.store, [Revocation(f"g-f{first}", NOW + timedelta(days=1))])
    assert len(shown(engines, clock, version)) == len(every) - 1
    for file in (pipeline.settings.data / "snapshots").glob("*/*.parquet"):
        file.write_bytes(b"not what it was")
    add(pipeline.store, [Revocation(f"g-f{second}", NOW + timedelta(days=1))])
    assert shown(engines, clock, version) == every - {first, second}  # what was read once is enough
    restarted = watched(pipeline, clock)
    assert shown(restarted, clock, version) == every  # nothing is known any more


def rewrite(pipeline: RetrainPipeline, version: Version, gone: str) -> Version:
    """Takes an example out of a retrieval, as an erasure does."""
    retrieval = read_retrieval(version)
    content = replace(retrieval, entries=tuple(one for one in retrieval.entries if one.text != gone)).to_bytes()
    (Path(str(version.path)) / FILE).write_bytes(content)
    with pipeline.store.transaction() as transaction:
        sha256 = sha256_of(content)
        erasures.replace_retrieval(transaction, model=version.model, version=version.version, sha256=sha256)
    return pipeline.promotion.version(version.model, version.version)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_table_with_the_new_hash_of_a_retrieval_has_its_withheld_examples(
    make: Callable[..., RetrainPipeline], is_damaged: bool
):
    pipeline, clock = make(fallback="rag"), Clock()
    version = promoted(pipeline)
    engines = watched(pipeline, clock)
    gone, flagged, *others = sorted(entry.text for entry in read_retrieval(version).entries)
    add(pipeline.store, [Feedback("x", NOW, f"g-c{flagged}", None, "flag", "unsafe", user=f"g-u{flagged}")])
    assert shown(engines, clock, version) == {gone, *others}
    after = rewrite(pipeline, version, gone)
    assert after.sha256 != version.sha256
    if is_damaged:
        for file in (pipeline.settings.data / "snapshots").glob("*/*.parquet"):
            file.write_bytes(b"not what it was")
    pipeline.promotion.publish()  # before the engines are checked again
    assert in_table(engines, after) == set(others)


def test_the_first_table_of_a_control_has_withheld_examples(make: Callable[..., RetrainPipeline]):
    pipeline = make(fallback="rag")
    version = promoted(pipeline)
    first, *others = sorted(entry.text for entry in read_retrieval(version).entries)
    add(pipeline.store, [Revocation(f"g-f{first}", NOW + timedelta(days=1))])
    engines = watched(pipeline, Clock())
    pipeline.promotion.publish()
    assert in_table(engines, version) == set(others)


def test_a_reload_during_a_check_does_not_end_it(make: Callable[..., RetrainPipeline]):
    pipeline = make(fallback="rag")
    version = promoted(pipeline)

    def reload() -> datetime:
        examples.models = {}
        return NOW

    examples = WithheldExamples(pipeline.store, pipeline.settings.models, reload)
    add(pipeline.store, [Revocation(f"g-f{n}", NOW + timedelta(days=1)) for n in range(60)])
    found = examples.find([version])
    assert len(found[str(version.sha256)]) == len(read_retrieval(version).entries)
    assert examples.find([version]) == {}


def test_a_retrieval_that_cannot_be_read_keeps_no_gateway_from_its_table(make: Callable[..., RetrainPipeline]):
    pipeline, clock = make(fallback="rag"), Clock()
    version = promoted(pipeline)
    content = b'{"format": 99}'
    (Path(str(version.path)) / FILE).write_bytes(content)
    with pipeline.store.transaction() as transaction:
        erasures.replace_retrieval(transaction, model="reviews", version=1, sha256=sha256_of(content))
    add(pipeline.store, [Revocation(f"g-f{n}", NOW + timedelta(days=1)) for n in range(60)])
    engines = watched(pipeline, clock)
    engines.look()
    table = engines.board.table
    assert table is not None and table.models["reviews"].champion.version == 1 and not table.withheld
    pipeline.promotion.find_withheld = WithheldExamples(pipeline.store, {}, clock).find
    engines.look()
    assert engines.board.table == table


def delete(pipeline: RetrainPipeline, *ids: str) -> None:
    """Deletes feedback, as retention does."""
    with pipeline.store.transaction() as transaction:
        feedback_table.replace(transaction, ids)


def test_an_example_stays_withheld_when_retention_deletes_the_feedback_against_it(
    make: Callable[..., RetrainPipeline],
):
    pipeline, clock = make(fallback="rag"), Clock()
    store, version = pipeline.store, promoted(pipeline)
    engines, every = watched(pipeline, clock), {entry.text for entry in read_retrieval(version).entries}
    unsafe, revoked, doubted = sorted(every)[:3]
    add(store, [Feedback("x1", NOW, f"g-c{unsafe}", None, "flag", "unsafe", user=f"g-u{unsafe}")])
    add(store, [Feedback("x2", NOW, f"g-c{doubted}", None, "flag", "unsafe", user=f"g-u{doubted}")])
    add(store, [Revocation(f"g-f{revoked}", NOW + timedelta(days=1))])
    assert shown(engines, clock, version) == every - {unsafe, revoked, doubted}
    delete(pipeline, "x1", f"g-f{revoked}")
    assert shown(watched(pipeline, clock), clock, version) == every - {unsafe, revoked, doubted}
    add(store, [Revocation("x2", NOW + timedelta(days=1))])  # the user took it back, which is another thing
    assert shown(engines, clock, version) == every - {unsafe, revoked}
    delete(pipeline, "x2")
    assert shown(engines, clock, version) == every - {unsafe, revoked}  # what has ended does not begin again


def test_an_example_stays_withheld_when_the_user_who_flagged_it_is_erased(make: Callable[..., RetrainPipeline]):
    pipeline, clock = make(fallback="rag"), Clock()
    store, version = pipeline.store, promoted(pipeline)
    engines, every = watched(pipeline, clock), {entry.text for entry in read_retrieval(version).entries}
    unsafe = min(every)
    flags = [
        Feedback(f"x-{user}", NOW, f"g-c{unsafe}", None, "flag", "unsafe", user=user) for user in ("eve", "mallory")
    ]
    add(store, flags)
    assert shown(engines, clock, version) == every - {unsafe}
    for user in ("eve", "mallory"):
        with store.transaction() as transaction:
            erasures.add(transaction, id=user, time=NOW, user_hash=user, key=None, user=user, actor="a", comment="")
            erasures.erase_rows(transaction, id=user, time=NOW)
    assert shown(watched(pipeline, clock), clock, version) == every - {unsafe}
    kept = withheld_examples.of_version(store, model="reviews", version=1)
    assert kept == {(f"g-c{unsafe}", "")}
