"""Judge votes: which can make rows or pairs, in which bucket, and why each other one cannot.

The rules over single votes and over votes on one answer are SQL, in core/db/curation.sql. The query has numbers instead
of names and texts, so that it is faster. Limits per voter and key are counted here.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.db import curation
from core.settings import ModelSettings

Integers = npt.NDArray[np.int64]
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Judged:
    """The votes that can make rows, each with its bucket, and the number of the others.

    `left_out` has `type`, `bucket`, `reason` and `n`. A vote that was revoked is in neither.
    """

    candidates: pa.Table
    left_out: pa.Table


def judge(
    votes: pa.Table,
    labels: pa.Table,
    settings: ModelSettings,
    truth: Sequence[str],
    flagged: Collection[str] = (),
) -> Judged:
    """Judge votes by the settings. `truth` lists the types that say what is right.

    `labels` maps what votes say to the model's labels: said, label, and whether another label begins with it. `flagged`
    are interactions with a flagged answer, besides those that the votes say.
    """
    order = _by_time(votes)
    number = np.empty(len(votes), np.int64)
    number[order] = np.arange(len(votes))
    key = apps_of(votes)
    (voter, asker), people = _numbered(_named(votes["voter"]), _named(votes["asker"]))
    (said,), texts = _numbered(votes["said"])
    given = {
        "n": pa.array(number),
        "said": said,
        "voter": voter,
        "asker": asker,
        "key": _numbered(key)[0][0],
        "answer": shared_answers(votes["interaction_id"]),
        "has_answer": votes["interaction_id"].is_valid(),
        "is_flagged": pc.is_in(votes["interaction_id"], pa.array(sorted(flagged), pa.string())),  # type: ignore[attr-defined]
    }
    for name in ("type", "up", "finish_reason", "choice_unknown", "status", "revoked", "quarantined"):
        given[name] = votes[name]
    texts = texts.rename_columns(["number", "text"])
    found = curation.judge(pa.table(given), texts, people, labels, **_parameters(settings, truth))
    allowed = found.filter(found["reason"].is_null())
    reasons = _over_limits(allowed, settings)
    over = allowed.select(["type", "bucket"]).append_column("reason", reasons)
    kept = allowed.filter(reasons.is_null())
    refused = [count_reasons(found), count_reasons(over)]
    # Without the texts of votes: one array of them may not be above 2 GiB.
    short = votes.select(["id", "time", "type", "interaction_id", "key_id", "app", "voter", "asker"])
    return Judged(_candidates(short.take(pa.array(order[kept["n"].to_numpy()])), kept), pa.concat_tables(refused))


def count_reasons(found: pa.Table) -> pa.Table:
    """The number of votes by type, bucket and reason, without those that have no reason: a column `n`."""
    refused = found.filter(found["reason"].is_valid())
    counts = refused.group_by(["type", "bucket", "reason"]).aggregate([([], "count_all")])
    return counts.rename_columns({"count_all": "n"}).select(["type", "bucket", "reason", "n"])


def count_left_out(left_out: pa.Table, column: str) -> Counter[str]:
    """How many votes each value of a column of `left_out` has."""
    found: Counter[str] = Counter()
    for value, n in zip(left_out[column].to_pylist(), left_out["n"].to_pylist(), strict=True):
        found[value] += n
    return found


def most_of(most: float | None) -> float:
    """Return a limit as a number."""
    return most if most is not None else 1 << 53


def _parameters(settings: ModelSettings, truth: Sequence[str]) -> dict[str, Any]:
    return {
        "task": settings.task,
        "truth": list(truth),
        "confirmations": settings.retrain.confirmations,
        "flag_voters": settings.trust.flag_voters,
        "reviewers": settings.feedback.reviewers,
        "reviewers_judge": settings.trust.reviewers_judge,
        "train": settings.split.train,
        "dev": settings.split.dev,
    }


def _over_limits(votes: pa.Table, settings: ModelSettings) -> pa.Array:
    """The limit that each vote is over, or null. The newest votes of a voter and of a key count first."""
    trust = settings.trust
    n, key = votes["n"].to_numpy(), votes["key"].to_numpy().astype(np.int64)
    voter = votes["voter"].fill_null(NOBODY).to_numpy().astype(np.int64)
    is_nobody, reviewer = voter == NOBODY, votes["reviewer"].to_numpy()
    of_voter = _newest_first(np.where(is_nobody, NOBODY, key * (voter.max(initial=0) + 1) + voter), n)
    nobody = is_nobody & (of_voter > trust.rows_of_nobody)
    busy = ~is_nobody & ~reviewer & (of_voter > most_of(trust.rows_per_voter))
    left = ~(nobody | busy)
    most = most_of(trust.rows_per_key)
    many = np.zeros(len(votes), np.bool_)
    many[left] = _newest_first(key[left], n[left]) > (np.floor(most * left.sum()) if most < 1 else most)
    reasons = np.full(len(votes), None, object)
    for limit, over in (("rows_of_nobody", nobody), ("rows_per_voter", busy), ("rows_per_key", many)):
        reasons[over] = f"over trust.{limit}"
    return pa.array(reasons, pa.string())


def _newest_first(group: Integers, n: Integers) -> Integers:
    """The place of each vote among those of its group, from 1 on, (n,). The vote with the highest number is first."""
    order = np.lexsort((-n, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=NOBODY - 1))
    place = np.empty(len(n), np.int64)
    place[order] = np.arange(1, len(n) + 1) - np.repeat(starts, np.diff(starts, append=len(n)))
    return place


def _by_time(votes: pa.Table) -> Integers:
    """The places of votes in the order of time, arrival and id, (n,). Only equal times need the other two."""
    times = votes["time"].to_numpy().astype(np.int64)
    order = np.argsort(times, kind="stable")
    same = np.diff(times[order]) == 0
    tied = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
    if len(tied):
        keys = [(name, "ascending") for name in ("time", "arrived", "id")]
        among = votes.select(["time", "arrived", "id"]).take(pa.array(order[tied]))
        order[tied] = order[tied][pc.sort_indices(among, sort_keys=keys).to_numpy()]  # type: ignore[attr-defined]
    return order


def shared_answers(interactions: pa.ChunkedArray) -> pa.Array:
    """A number for each answer that several votes are on, null for votes that are alone on theirs.

    Hashes find nearly all that are alone. Only the others are compared by their ids.
    """
    hashes = curation.hashes(interactions)
    places, hashed = hashes["place"].to_numpy(), hashes["hashed"].to_numpy()
    _, inverse, counts = np.unique(hashed, return_inverse=True, return_counts=True)
    shared = places[counts[inverse] > 1]
    (numbers,), _ = _numbered(interactions.take(pa.array(shared)))
    found = np.zeros(len(interactions), np.int64)
    found[shared] = numbers.to_numpy()
    alone = np.ones(len(interactions), np.bool_)
    alone[shared] = False
    return pa.array(found, mask=alone)


def _numbered(*columns: pa.ChunkedArray) -> tuple[list[pa.Array], pa.Table]:
    """The number of each value, the same in all columns, and a table of `number` and `name`."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    # Encoded by chunk, and as large strings, because all texts together may be above 2 GiB.
    whole = pa.chunked_array(chunks, pa.string()).cast(pa.large_string())
    encoded = whole.dictionary_encode().unify_dictionaries().combine_chunks()
    ends = np.cumsum([0, *map(len, columns)]).tolist()
    numbers = [encoded.indices[begin:end] for begin, end in pairwise(ends)]
    names = pa.table({"number": pa.array(range(len(encoded.dictionary)), pa.int32()), "name": encoded.dictionary})
    return numbers, names


def voters_of(votes: pa.Table) -> pa.ChunkedArray:
    """Who gave each vote: the voter, or the asker where no voter is known, or null."""
    return pc.coalesce(_named(votes["voter"]), _named(votes["asker"]))  # type: ignore[attr-defined]


def apps_of(votes: pa.Table) -> pa.ChunkedArray:
    """The app of each vote: its key, or the oldest key of the same name. "" without a key."""
    return pc.coalesce(votes["app"], votes["key_id"], "")  # type: ignore[attr-defined]


def _named(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of names without those that are empty."""
    return pc.if_else(pc.equal(column, ""), None, column)  # type: ignore[attr-defined]


def _candidates(votes: pa.Table, judged: pa.Table) -> pa.Table:
    """The columns that the rules over texts read."""
    voter = pc.fill_null(voters_of(votes), "")  # type: ignore[attr-defined]
    own = pc.if_else(judged["reviewer"], "", voter)  # type: ignore[attr-defined]
    return pa.table(
        {
            "feedback_id": votes["id"],
            "time": votes["time"],
            "type": votes["type"],
            "interaction_id": votes["interaction_id"],
            "key_id": pc.fill_null(votes["key_id"], ""),  # type: ignore[attr-defined]
            "key": apps_of(votes),
            "voter": voter,
            "asker": pc.coalesce(_named(votes["asker"]), own),  # type: ignore[attr-defined]
            "reviewer": judged["reviewer"],
            "label": judged["label"],
            "bucket": judged["bucket"],
        }
    )
