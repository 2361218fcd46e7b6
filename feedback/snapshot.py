"""Build snapshots: immutable datasets made of feedback, named by the hash of their content.

A snapshot's folder is checked against its hash when it is read.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc

from core.clock import Clock
from core.db import curation, heldout_votes, pairs, snapshots
from core.db.store import Store
from core.errors import IntegrityFailed
from core.prompts import Prompt, from_json
from core.settings import ModelSettings
from feedback.curation import Clusters, Curated, curate, same_text
from feedback.fingerprints import known_clusters, stored_clusters
from feedback.pair_curation import CuratedPairs, curate_pairs
from feedback.pairs import PAIR_SCHEMA, Pair, count_pairs, pairs_of
from feedback.pii_rows import replaced_in, scrub_table
from feedback.prepared_prompts import StoredPrompts
from feedback.report_counts import count_both, count_rows, count_users, count_values, in_order
from feedback.snapshot_files import Tables, read_tables, with_model, write_files
from feedback.vote_rules import count_left_out

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt with its right answer: whose it was, in which bucket it fell, and the vote that gave the answer.

    `label` is one of the model's labels, or the text that the answer should have been. `signal` is `label`,
    `correction`, or `confirmation` for a thumbs-up on the answer that now is the right one. `user` is the voter and
    `asker` the user of the request. Both are "" if neither is known. `weight` is the voter's, by agreement
    with others, times the factor of rows of right or of wrong answers.
    """

    interaction_id: str
    feedback_id: str
    user: str
    bucket: str
    prompt: Prompt
    label: str
    signal: str = "label"
    time: str = ""
    asker: str = ""
    key_id: str = ""
    weight: float = 1.0


TYPES: dict[object, pa.DataType] = {float: pa.float64()}
SCHEMA = pa.schema([(field.name, TYPES.get(field.type, pa.string())) for field in fields(Row)])


@dataclass(frozen=True, slots=True)
class Report:
    """Content of a snapshot and what was left out, by reason.

    `signals` counts all votes by type, `by_signal` the rows made of them and their users. `rows` and `left_out` add up
    to `signals`. `warnings` has a sentence for each reason that leaves out a large part of a bucket. `by_class` counts
    rows and users of each label. `duplicates` counts texts, rows that share a text, and the rows of the most frequent
    text. `label_noise` is the share of `compared_texts`, those with labels of several users, whose users disagree.
    `scrubbed` counts the personal data that was replaced, by rule. `pairs` counts the pairs, and the votes
    that make none by reason. `coverage` compares the rows with recent requests: see feedback/coverage.py.
    `weights` says how train rows were weighed by thumbs: see feedback/row_weights.py.
    """

    rows: dict[str, int]
    users: dict[str, int]
    labels: dict[str, int]
    signals: dict[str, int]
    by_signal: dict[str, dict[str, int]]
    left_out: dict[str, int]
    warnings: list[str] = field(default_factory=list)
    by_class: dict[str, dict[str, int]] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    compared_texts: int = 0
    label_noise: float | None = None
    scrubbed: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, Any] = field(default_factory=dict)
    coverage: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable dataset on disk. `hash` is over model, rows and pairs: equal content has equal names."""

    hash: str
    path: Path
    rows: Sequence[Row]
    report: Report
    pairs: Sequence[Pair] = ()

    def of(self, bucket: str) -> list[Row]:
        """The rows of one bucket."""
        return [row for row in self.rows if row.bucket == bucket]

    def pairs_of(self, bucket: str) -> list[Pair]:
        """The pairs of one bucket."""
        return [pair for pair in self.pairs if pair.bucket == bucket]


class TableRows(Sequence[Row]):
    """The rows of a snapshot's table. They are made when the first of them is read."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @cached_property
    def _made(self) -> tuple[Row, ...]:
        return tuple(_rows(self._table))

    def __len__(self) -> int:
        return self._table.num_rows

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        return self._made[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._made == tuple(other)

    __hash__ = None  # type: ignore[assignment]


def choose_clusters(store: Store, model: str, similarity: float | None, *, known: bool = False) -> Clusters:
    """How prompts are compared: by near-duplicates, or by equality without a similarity.

    With `known`, what prompts share stays as the last snapshot found it, and the store does not change.
    """
    if similarity is None:
        return lambda _, prompts: same_text(prompts)
    return partial(known_clusters if known else stored_clusters, store, model, similarity=similarity)


def curate_store(store: Store, model: str, settings: ModelSettings) -> Curated:
    """The rows that a snapshot of everything known now would have, and what is left out."""
    return curate(
        curation.votes(store, model=model, with_answers=settings.task == "classify"),
        StoredPrompts(store, model, settings.privacy.rules),
        settings,
        clusters=choose_clusters(store, model, settings.trust.duplicate_similarity),
        # Flags on single answers are among the votes.
        flagged=_flagged(store, model, settings) if heldout_votes.has_flags_on_conversations(store) else frozenset(),
    )


def _flagged(store: Store, model: str, settings: ModelSettings) -> frozenset[str]:
    """The interactions with an answer that is flagged unsafe or private, alone or with its conversation."""
    return heldout_votes.flagged(store, model=model, flag_voters=settings.trust.flag_voters)


def curate_pairs_of(store: Store, model: str, settings: ModelSettings) -> CuratedPairs:
    """The pairs that a snapshot of everything known now would have. A model that classifies has none."""
    if settings.task != "generate":
        return CuratedPairs(PAIR_SCHEMA.empty_table(), {})
    return curate_pairs(
        pairs.votes(store, model=model, middle=settings.retrain.rating_middle),
        StoredPrompts(store, model, settings.privacy.rules),
        lambda wanted: pairs.answers(store, wanted),
        settings,
        clusters=choose_clusters(store, model, settings.trust.duplicate_similarity),
        flagged=_flagged(store, model, settings),
    )


def create_snapshot(
    store: Store,
    model: str,
    settings: ModelSettings,
    *,
    run_id: str,
    folder: Path,
    clock: Clock,
) -> Snapshot:
    """Makes the snapshot of everything known now, on disk and in the store; the same rows give the same one."""
    curated = curate_store(store, model, settings)
    compared = curate_pairs_of(store, model, settings)
    # Answers are texts of users with `task: generate`; labels of a classification are those of the settings.
    answers = ("label",) if settings.task == "generate" else ()
    rows, scrubbed = scrub_table(curated.rows, settings.privacy.rules, answers)
    scrubbed += replaced_in(rows["replaced"])
    pairs, replaced = scrub_table(compared.pairs, settings.privacy.rules, ("chosen", "rejected"))
    replaced += compared.replaced
    counts = (
        count_pairs(pairs, compared.left_out) | {"scrubbed": in_order(replaced)} if settings.task == "generate" else {}
    )
    report = replace(report_of(curated, settings), scrubbed=in_order(scrubbed), pairs=counts)
    tables = Tables(with_model(rows, model, SCHEMA), with_model(pairs, model, PAIR_SCHEMA) if pairs else None)
    name = tables.content_hash()
    target = folder / name
    if not _is_whole(target):
        write_files(tables, asdict(report), target)
    with store.transaction() as transaction:
        snapshots.add(
            transaction,
            hash=name,
            model=model,
            run_id=run_id,
            time=clock(),
            path=str(target),
            report=json.dumps(asdict(report)),
        )
        if not snapshots.has_rows(transaction, snapshot=name):
            snapshots.add_rows(transaction, _members(tables, name))
    return Snapshot(name, target, TableRows(tables.rows), report, tuple(pairs_of(tables.pairs)))


def _members(tables: Tables, name: str) -> pa.Table:
    """Interaction, feedback and bucket of each row, and of each answer of a pair."""
    ids = ["interaction_id", "feedback_id", "bucket"]
    parts = [tables.rows.select(ids)]
    if tables.pairs:
        others = tables.pairs.filter(pc.field("other_id") != "").select(["other_id", "feedback_id", "bucket"])
        parts += [tables.pairs.select(ids), others.rename_columns(ids)]
    members = pa.concat_tables([part.replace_schema_metadata(None) for part in parts])
    return members.append_column("snapshot", pa.repeat(name, len(members)))


def _is_whole(target: Path) -> bool:
    """Whether a snapshot's folder is there with its content. One that was changed is written again."""
    try:
        return target.is_dir() and bool(read_tables(target))
    except IntegrityFailed as error:
        log.warning("%s It is written again.", error)
        return False


def report_of(curated: Curated, settings: ModelSettings) -> Report:
    """What a snapshot's report says. It holds no text that a user wrote."""
    rows, left_out = curated.rows, curated.left_out
    users = rows.filter(pc.field("user") != "")
    votes: Counter[str] = Counter()
    for signal, n in count_values(rows["signal"]).items():
        votes["thumbs" if signal == "confirmation" else signal] += n
    is_classified = settings.task == "classify"
    compared, disagree = _disagreement(users)
    return Report(
        rows=count_rows(rows, "bucket"),
        users=count_users(rows, "bucket"),
        labels=count_rows(rows, "label") if is_classified else {},
        signals=in_order(votes + count_left_out(left_out, "type")),
        by_signal=count_both(rows, "signal"),
        left_out=curated.reasons(),
        warnings=curated.warnings(),
        by_class=count_both(rows, "label") if is_classified else {},
        duplicates=_duplicates(rows),
        compared_texts=compared,
        label_noise=disagree / compared if compared else None,
        weights=curated.weights.to_json() if curated.weights else {},
    )


def _duplicates(rows: pa.Table) -> dict[str, int]:
    sizes = count_values(rows["cluster"])
    shared = [size for size in sizes.values() if size > 1]
    return {"texts": len(sizes), "rows_that_share_a_text": sum(shared), "largest": max(sizes.values(), default=0)}


def _disagreement(rows: pa.Table) -> tuple[int, int]:
    """(texts with labels of several users, those whose users disagree)."""
    texts = _distinct(rows.filter(pc.field("signal") != "confirmation"), "cluster", "user", "label")
    found = texts.group_by("cluster").aggregate([("user", "count_distinct"), ("label", "count_distinct")])
    several = found.filter(pc.field("user_count_distinct") > 1)
    return len(several), len(several.filter(pc.field("label_count_distinct") > 1))


def _distinct(table: pa.Table, *columns: str) -> pa.Table:
    return table.select(columns).group_by(list(columns)).aggregate([])


def read_table(path: Path) -> pa.Table:
    """The rows of a snapshot's folder, which is named by the hash of its content. Raises IntegrityFailed."""
    return read_tables(path).rows


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a snapshot's folder. Raises IntegrityFailed."""
    return pairs_of(read_tables(path).pairs)


def read_rows(path: Path) -> list[Row]:
    """The rows of a snapshot's folder. Raises IntegrityFailed."""
    return _rows(read_table(path))


def _rows(table: pa.Table) -> list[Row]:
    return [Row(**(entry | {"prompt": from_json(entry["prompt"])})) for entry in table.to_pylist()]


def load_snapshot(store: Store, name: str, run_id: str | None = None) -> Snapshot:
    """A snapshot that was taken before, with the report of this run, or of the first. Raises IntegrityFailed."""
    found = snapshots.find(store, hash=name, run_id=run_id)
    if found is None:
        raise IntegrityFailed(f"The store does not have the snapshot {name[:12]}.", hint="Start a new run.")
    path = Path(found.path)
    tables = read_tables(path)
    return Snapshot(
        name, path, TableRows(tables.rows), Report(**json.loads(found.report)), tuple(pairs_of(tables.pairs))
    )
