"""Compare voters' weights with the competences that MACE found and published for 3,815 people.

The data are the votes of UKPLab/acl2016-convincing-arguments (CC BY 4.0), as `convarg_votes.parquet` with the columns
worker, pair, value and competence. They are not part of the repository.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import rankdata

from bench.progress import say
from feedback.agreement import VoteArrays, voter_weights

FILE = "convarg_votes.parquet"


def rank_correlation(folder: Path | None) -> float | None:
    """Spearman's rank correlation of the weights with the published competences. None without the data."""
    if folder is None or not (folder / FILE).is_file():
        say(f"There is no {FILE} in {folder}: weights are not compared with published ones. Give --published FOLDER.")
        return None
    table = pq.read_table(folder / FILE)
    voter, item, value = (_numbered(table[name]) for name in ("worker", "pair", "value"))
    votes = VoteArrays(voter, item, value, *(int(one.max()) + 1 for one in (voter, item, value)))
    published = np.full(votes.voters, np.nan)
    published[voter] = table["competence"].to_numpy()
    found = voter_weights(votes)
    known = ~np.isnan(published) & (found.compared > 0)
    agreed = _agreement(votes)
    say(
        f"{known.sum()} voters, {len(voter)} votes. Rank correlation with the published competences: weights "
        f"{_rank(found.weight, published, known):.3f}, competences {_rank(found.competence, published, known):.3f}, "
        f"weights of voters with 20 votes {_rank(found.weight, published, known & (found.compared >= 20)):.3f}. "
        f"With agreement with the majority of the others: weights {_rank(found.weight, agreed, known):.3f}, "
        f"MACE's own {_rank(published, agreed, known):.3f}."
    )
    return round(_rank(found.weight, published, known), 3)


def _numbered(column: pa.ChunkedArray) -> np.ndarray:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _agreement(votes: VoteArrays) -> np.ndarray:
    """The share of each voter's votes that the majority of the others on the same pair agrees with, (voters,)."""
    others = np.zeros((votes.items, votes.values))
    np.add.at(others, (votes.item, votes.value), 1)
    seen = others[votes.item]
    seen[np.arange(len(seen)), votes.value] -= 1
    agrees = seen[np.arange(len(seen)), votes.value] == seen.max(axis=1)
    return np.bincount(votes.voter, agrees, votes.voters) / np.bincount(votes.voter, minlength=votes.voters)


def _rank(one: np.ndarray, other: np.ndarray, known: np.ndarray) -> float:
    """Spearman's correlation: that of the ranks."""
    return float(np.corrcoef(rankdata(one[known]), rankdata(other[known]))[0, 1])
