"""Compute the weights of voters from the tables of curation: what is compared, and by which rule."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feedback.agreement import VoteArrays, Weights, agreement_weights, voter_weights

WEIGHTS = pa.schema([("name", pa.string()), ("weight", pa.float64())])
EVERYBODY_1 = WEIGHTS.empty_table()


def weights_of_labels(candidates: pa.Table, prompts: pa.Table) -> pa.Table:
    """The weight of each voter by labels on the same prompt, to two decimals. A thumbs-up says the answer's label."""
    known = candidates.filter(pc.field("voter") != "")
    votes = known.join(prompts.select(["interaction_id", "cluster"]), "interaction_id", join_type="inner")
    votes = votes.sort_by([("time", "ascending"), ("feedback_id", "ascending")])
    names = voter_names(votes["key"], votes["voter"])
    labels, items = _numbered(votes["label"]), _numbered(votes["cluster"])
    return _table(names, voter_weights(_arrays(names, items, _numbers(labels), len(labels.dictionary))))


def weights_of_thumbs(votes: pa.Table, types: Sequence[str] = ("thumbs",)) -> pa.Table:
    """The weight of each voter by thumbs on the same answer, to two decimals, for a model that generates.

    `types` are the types of votes that have the two values of `up`.
    """
    used = pc.field("type").isin(list(types)) & ~pc.field("revoked") & ~pc.field("quarantined")
    used &= pc.field("interaction_id").is_valid() & pc.field("up").is_valid()
    thumbs = votes.filter(used).sort_by([("time", "ascending"), ("id", "ascending")])
    given, asker = thumbs["voter"].to_pylist(), thumbs["asker"].to_pylist()
    voter = pa.array([own or other or "" for own, other in zip(given, asker, strict=True)], pa.string())
    thumbs = thumbs.append_column("by", voter).filter(pc.field("by") != "")
    names = voter_names(thumbs["app"].fill_null(""), thumbs["by"])
    up = thumbs["up"].to_numpy().astype(np.int64)
    return _table(names, agreement_weights(_arrays(names, _numbered(thumbs["interaction_id"]), up, 2)))


def voter_names(key: pa.ChunkedArray, voter: pa.ChunkedArray) -> pa.DictionaryArray:
    """The name of each vote's voter: the key, a line break and the user."""
    return _numbered(pc.binary_join_element_wise(key, voter, "\n"))  # type: ignore[attr-defined]


def _numbered(column: pa.ChunkedArray) -> pa.DictionaryArray:
    return column.combine_chunks().dictionary_encode()


def _numbers(encoded: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _arrays(
    names: pa.DictionaryArray, items: pa.DictionaryArray, value: npt.NDArray[np.int64], values: int
) -> VoteArrays:
    return VoteArrays(_numbers(names), _numbers(items), value, len(names.dictionary), len(items.dictionary), values)


def _table(names: pa.DictionaryArray, weights: Weights) -> pa.Table:
    return pa.table([names.dictionary, pa.array(np.round(weights.weight, 2))], schema=WEIGHTS)
