"""Weigh train rows of labels so that right and wrong answers count as often as users' thumbs say.

Users label wrong answers more often than right ones, or less often, and a thumbs-up makes a row of a right answer only.
So an adapter would learn too much from one of the two kinds. Post-stratification (Holt and Smith 1979): the rows of
each kind get the share that it has among the thumbs of train users.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.names import label_key
from core.settings import ModelSettings
from feedback.split import bucket_of, split_key
from feedback.vote_rules import apps_of, shared_answers, voters_of

RIGHT, WRONG, UNKNOWN = 1, 0, -1
# With thumbs of fewer users the share of right answers is not known.
LEAST_VOTERS = 20
# A row of one kind weighs at most this many times as much as one of the other, so that few rows never decide alone.
MOST = 5.0

# What is read of a thumb. Other columns have long texts.
NAMES = ["type", "voter", "asker", "app", "key_id", "interaction_id", "time", "arrived", "id"]
SAYS = ["up", "said", "revoked", "quarantined", "choice_unknown"]
THUMB = NAMES + SAYS

Kinds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowWeights:
    """The factors of a snapshot's train rows, how they were found, and the reason in one sentence.

    `approval` is the share of right answers among the thumbs of `voters`, and null if they are too few.
    """

    right: float
    wrong: float
    rows_right: int
    rows_wrong: int
    approval: float | None
    voters: int
    reason: str

    def of(self, kinds: Kinds) -> npt.NDArray[np.float64]:
        """The factor of each row by its kind, (n,)."""
        return np.select([kinds == RIGHT, kinds == WRONG], [self.right, self.wrong], 1.0)

    def to_json(self) -> dict[str, Any]:
        """As the snapshot's report has it."""
        return asdict(self)


def choose_weights(rows_right: int, rows_wrong: int, approval: float | None, voters: int) -> RowWeights:
    """Choose the factors. They are rounded to tenths, so that a few more thumbs do not change every row."""
    known = (rows_right, rows_wrong, approval, voters)
    if approval is None or voters < LEAST_VOTERS:
        return RowWeights(1.0, 1.0, *known, f"Thumbs of {voters} users, {LEAST_VOTERS} are needed.")
    if not rows_right or not rows_wrong:
        return RowWeights(1.0, 1.0, *known, "All rows are of right answers, or all of wrong ones.")
    if not 0 < approval < 1:
        return RowWeights(1.0, 1.0, *known, "All thumbs are up, or all are down.")
    total = rows_right + rows_wrong
    ratio = ((1 - approval) / rows_wrong) / (approval / rows_right)
    ratio = min(MOST, max(1 / MOST, ratio))
    right = max(0.1, round(total / (rows_right + ratio * rows_wrong), 1))
    wrong = max(0.1, round(ratio * right, 1))
    shares = f"{approval:.0%} of the thumbs are up, {rows_right / total:.0%} of the rows are of right answers."
    return RowWeights(min(right, MOST * wrong), min(wrong, MOST * right), *known, shares)


def approval_of(votes: pa.Table, labels: pa.Table, settings: ModelSettings) -> tuple[float | None, int]:
    """The share of thumbs that are up, and the number of voters, of train users' thumbs on answers that are labels.

    A voter has one thumb on an answer, the last one. One with more than `trust.rows_per_voter` counts as that many.
    """
    thumbs = _last_thumbs(votes.select(THUMB).filter(pc.field("type") == "thumbs"))
    thumbs = thumbs.filter(
        ~pc.field("revoked")
        & ~pc.field("quarantined")
        & ~pc.field("choice_unknown")
        & pc.field("said").isin(labels["said"].combine_chunks())
    )
    sums = thumbs.group_by("who").aggregate([("up", "sum"), ("up", "count")])
    split = settings.split
    learns = [bucket_of(split_key(who), train=split.train, dev=split.dev) == "train" for who in sums["who"].to_pylist()]
    up, count = (sums[name].to_numpy()[learns].astype(np.float64) for name in ("up_sum", "up_count"))
    if not len(count):
        return None, 0
    most = settings.trust.rows_per_voter
    share = np.minimum(1.0, most / count) if most is not None else np.ones(len(count))
    return float((up * share).sum() / (count * share).sum()), len(count)


def _last_thumbs(thumbs: pa.Table) -> pa.Table:
    """The last thumb of each known voter on each answer, with the voter as `who` and `up` as a number.

    One that was taken back is the last word too, so that it ends the voter's word.
    """
    named = thumbs.append_column("who", voters_of(thumbs)).append_column("by", apps_of(thumbs))
    place = thumbs.schema.get_field_index("up")
    named = named.set_column(place, "up", pc.cast(thumbs["up"], pa.int64()))  # type: ignore[attr-defined]
    named = named.filter(pc.field("who").is_valid() & pc.field("interaction_id").is_valid())
    of_voter = ["by", "who", "interaction_id"]
    # Most answers have one thumb, which needs no order.
    is_shared = shared_answers(named["interaction_id"]).is_valid()
    shared = named.filter(is_shared).sort_by([(name, "ascending") for name in ("time", "arrived", "id")])
    last = shared.group_by(of_voter, use_threads=False).aggregate([(name, "last") for name in SAYS])
    last = last.rename_columns({f"{name}_last": name for name in SAYS}).select(["who", *SAYS])
    alone = named.filter(pc.invert(is_shared)).select(last.column_names)  # type: ignore[attr-defined]
    return pa.concat_tables([alone, last])


def kinds_of(rows: pa.Table, votes: pa.Table, settings: ModelSettings) -> Kinds:
    """Whether the answer that each train row is about was right, (n,). UNKNOWN of others, and if it is no label."""
    known = votes.filter((pc.field("type") == "label") & ~pc.field("choice_unknown"))
    place = pc.index_in(rows["feedback_id"], known["id"].combine_chunks())  # type: ignore[attr-defined]
    answers = known["answer"].take(place).combine_chunks().dictionary_encode()
    keys = {label_key(label) for label in settings.labels}
    served = [key if (key := label_key(text)) in keys else None for text in answers.dictionary.to_pylist()]
    kinds = np.full(len(rows), UNKNOWN)
    columns = (answers.indices.to_pylist(), *(rows[name].to_pylist() for name in ("bucket", "signal", "label")))
    for place, (answer, bucket, signal, label) in enumerate(zip(*columns, strict=True)):
        if bucket != "train":
            continue
        if signal == "confirmation":
            kinds[place] = RIGHT
        elif answer is not None and served[answer] is not None:
            kinds[place] = RIGHT if served[answer] == label_key(label) else WRONG
    return kinds


def weigh(
    rows: pa.Table, votes: pa.Table, approval: tuple[float | None, int], settings: ModelSettings
) -> tuple[pa.Table, RowWeights]:
    """The rows with their factor in `weight`, and how it was found. `approval` is that of `approval_of`."""
    kinds = kinds_of(rows, votes, settings)
    found = choose_weights(int((kinds == RIGHT).sum()), int((kinds == WRONG).sum()), *approval)
    weights = np.round(rows["weight"].to_numpy() * found.of(kinds), 3)
    return rows.set_column(rows.schema.get_field_index("weight"), "weight", pa.array(weights)), found
