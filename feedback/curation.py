"""Choose the votes that make rows of a snapshot. Every other vote is counted by its reason.

The rules are SQL over Arrow tables, in core/db/curation.sql. Only votes that can make a row have their prompts read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.db import curation
from core.names import label_key
from core.prompts import Prompt, whole_text
from core.settings import ModelSettings
from feedback.prepared_prompts import Prompts, texts_of
from feedback.report_counts import count_values, in_order
from feedback.row_weights import RowWeights, approval_of, weigh
from feedback.vote_rules import count_left_out, count_reasons, judge, most_of
from feedback.weights import EVERYBODY_1, weights_of_labels, weights_of_thumbs

# The signal by which users say what the right answer was, by task.
TRUTH_SIGNAL = {"classify": "label", "generate": "correction"}
VOTES = pa.schema(
    [
        ("id", pa.string()),
        ("time", pa.timestamp("us")),
        ("arrived", pa.timestamp("us")),
        ("type", pa.string()),
        ("said", pa.string()),
        ("answer", pa.string()),
        ("up", pa.bool_()),
        ("key_id", pa.string()),
        ("app", pa.string()),
        ("voter", pa.string()),
        ("interaction_id", pa.string()),
        ("asker", pa.string()),
        ("finish_reason", pa.string()),
        ("choice_unknown", pa.bool_()),
        ("status", pa.int32()),
        ("revoked", pa.bool_()),
        ("quarantined", pa.bool_()),
    ]
)
# The part of a bucket that may be left out before the report has a warning.
MOST_LEFT_OUT = 0.05

Clusters = Callable[[pa.Array, Sequence[str]], npt.NDArray[np.int64]]
"""A number for the prompt of each interaction, (n,): prompts with equal numbers are the same text."""


@dataclass(frozen=True, slots=True)
class Curated:
    """The rows of a snapshot in their order, and every other vote with its reason.

    `rows` has the columns of a snapshot, `cluster`, and what was `replaced` in the prompt. `left_out` has the number of
    votes `n` by type, bucket and reason. `bucket` is null where the reason was found before the split. `weights` says
    how train rows were weighed by thumbs.
    """

    rows: pa.Table
    left_out: pa.Table
    weights: RowWeights | None = None

    def reasons(self) -> dict[str, int]:
        """The number of votes that make no row, by reason."""
        return in_order(count_left_out(self.left_out, "reason"))

    def warnings(self) -> list[str]:
        """A sentence for each reason that leaves out more than 5 % of a bucket's votes."""
        kept = count_values(self.rows["bucket"])
        dropped: Counter[tuple[str | None, str]] = Counter()
        for row in self.left_out.to_pylist():
            dropped[row["bucket"], row["reason"]] += row["n"]
        whole = kept + Counter({bucket: n for bucket, n in _by_bucket(dropped).items() if bucket})
        return [
            f"{n / whole[bucket]:.0%} of the votes in {bucket} make no row: {reason} ({n} of {whole[bucket]})."
            for (bucket, reason), n in sorted(dropped.items(), key=str)
            if bucket and n > MOST_LEFT_OUT * whole[bucket]
        ]


def _by_bucket(dropped: Counter[tuple[str | None, str]]) -> Counter[str | None]:
    found: Counter[str | None] = Counter()
    for (bucket, _), n in dropped.items():
        found[bucket] += n
    return found


def dedup_key(prompt: Prompt) -> str:
    """Return the whole prompt without case and extra spaces. Equal keys mean equal texts."""
    return normalized(whole_text(prompt))


def normalized(text: str) -> str:
    """Return a text without case and extra spaces."""
    return " ".join(text.lower().split())


def same_text(prompts: Sequence[str]) -> npt.NDArray[np.int64]:
    """A number for each prompt, (n,). Prompts that differ in case and spaces only have equal numbers."""
    keys = pa.array([normalized(text) for text in prompts], pa.string())
    return keys.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)


def curate(
    votes: pa.Table,
    prompts: Prompts,
    settings: ModelSettings,
    *,
    clusters: Clusters,
    flagged: frozenset[str] = frozenset(),
) -> Curated:
    """Choose the votes that make rows. It depends on the votes, their prompts and the answers that are `flagged` alone.

    A label makes a row, or a correction with `task: generate`. In the train bucket only, a thumbs-up on a whole answer
    without a label also makes a row. A row judges only if its voter and its asker are both in that bucket.
    """
    labels = _labels(votes, settings)
    weighs = settings.task == "classify" and settings.retrain.weigh_by_thumbs
    # Two threads: with a million votes thumbs and the other rules take seconds each, and neither needs the other.
    with ThreadPoolExecutor(1) as other:
        approval = other.submit(approval_of, votes, labels, settings) if weighs else None
        selected, compared, left_out = _selected(votes, labels, prompts, settings, clusters, flagged)
    rows = selected.filter(selected["reason"].is_null())
    for name in ("prompt", "replaced"):
        rows = rows.append_column(name, compared[name].take(rows["place"]))
    weights = None
    if approval is not None:
        rows, weights = weigh(rows, votes, approval.result(), settings)
    return Curated(rows.drop_columns(["type", "reason", "place"]), left_out, weights)


def _selected(
    votes: pa.Table,
    labels: pa.Table,
    prompts: Prompts,
    settings: ModelSettings,
    clusters: Clusters,
    flagged: frozenset[str],
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The candidates, each with a reason if it makes no row, their prompts, and the counts of what is left out."""
    judged = judge(votes, labels, settings, [TRUTH_SIGNAL[settings.task]], flagged)
    candidates = judged.candidates
    compared = _compared(prompts(candidates["interaction_id"].unique()), clusters)
    trust = settings.trust
    selected = curation.select(
        candidates,
        compared,
        _weights(votes, candidates, compared.filter(compared["cluster"].is_valid()), settings),
        min_weight=trust.min_weight,
        correction_voters=trust.correction_voters,
        rows_per_duplicate_cluster=most_of(trust.rows_per_duplicate_cluster),
    )
    return selected, compared, pa.concat_tables([judged.left_out, count_reasons(selected)])


def _weights(votes: pa.Table, candidates: pa.Table, prompts: pa.Table, settings: ModelSettings) -> pa.Table:
    """The weight of each voter who can be compared with others: by labels, or by thumbs on generated texts."""
    if not settings.trust.weights:
        return EVERYBODY_1
    return weights_of_labels(candidates, prompts) if settings.task == "classify" else weights_of_thumbs(votes)


def _labels(votes: pa.Table, settings: ModelSettings) -> pa.Table:
    """What votes say and the model's label that it is, for each text that is one."""
    labels = {label_key(label): label for label in settings.labels}
    said = [text for text in votes["said"].unique().to_pylist() if text is not None and label_key(text) in labels]
    keys = [label_key(text) for text in said]
    begins_another = {key for key in labels if any(other != key and other.startswith(key) for other in labels)}
    return pa.table(
        {
            "said": pa.array(said, pa.string()),
            "label": pa.array([labels[key] for key in keys], pa.string()),
            "begins_another": pa.array([key in begins_another for key in keys], pa.bool_()),
        }
    )


def _compared(prepared: pa.Table, clusters: Clusters) -> pa.Table:
    """Prepared prompts as snapshots write them, each with its cluster, or null if it cannot be read."""
    readable = prepared.filter(prepared["prompt"].is_valid())
    numbers = pa.array(clusters(readable["interaction_id"].combine_chunks(), texts_of(readable)))
    others = prepared.filter(prepared["prompt"].is_null())
    unknown = pa.nulls(len(others), pa.int64())
    table = pa.concat_tables([readable.append_column("cluster", numbers), others.append_column("cluster", unknown)])
    written = pc.coalesce(table["scrubbed"], table["prompt"])  # type: ignore[attr-defined]
    return table.select(["interaction_id", "replaced", "unreadable", "cluster"]).append_column("prompt", written)
