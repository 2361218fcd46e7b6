"""Find near-duplicates of prompts by MinHash. Pure functions of the texts.

Two texts are near-duplicates if they share enough of what they do not share with everyone. See docs/how-to/feedback.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feedback.shingles import Common, Shingles, find_common, mix64, shingles

Signature = npt.NDArray[np.uint16]
Labels = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.int64]

PERMUTATIONS = 128
# A signature's values and the size of its set.
WIDTH = PERMUTATIONS + 1
# Two texts are compared if one of 25 bands of 5 values is equal: 99.99 % of pairs with a similarity of 0.8, 1 in 4,000
# of those with 0.1.
BANDS, ROWS = 25, 5
# A short text that has 90 % of another one's pieces, and is at most half as long again, is the same with an addition.
CONTAINED, LONGER = 0.9, 1.5
PAIRS_AT_ONCE = 100_000
# Groups up to this size are compared pair by pair at once, larger ones from one text after the other.
SMALL_GROUP = 32


@dataclass(frozen=True, slots=True)
class Signatures:
    """MinHash signatures of n texts: the low 16 bits of 128 minima, then the size of the set.

    `words` and `pieces` have the shape (n, 129). A row of zeros means that the text has no such set.
    """

    words: Signature
    pieces: Signature


@cache
def _permutations() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    # Those of datasketch's MinHash with the scheme "affine32" and the seed 1: a test compares them. To import it
    # takes a second, because it loads all of SciPy.
    drawn = np.random.RandomState(1)
    a = drawn.randint(0, 1 << 31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, drawn.randint(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)


def _mix32(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The finalizer of MurmurHash3 for 32 bits, as datasketch applies it before its permutations."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def minima(sets: Shingles) -> npt.NDArray[np.uint32]:
    """The minimum of each permutation for each set, (sets, 128): what datasketch's MinHash has."""
    a, b = _permutations()
    mixed = _mix32(sets.hashes)
    ends = np.append(sets.start[1:], len(mixed))
    found = np.empty((len(sets.start), PERMUTATIONS), np.uint32)
    # One block of memory for all sets stays in the processor's cache.
    block = np.empty((int((ends - sets.start).max(initial=0)), PERMUTATIONS), np.uint32)
    for number, (start, end) in enumerate(zip(sets.start.tolist(), ends.tolist(), strict=True)):
        permuted = block[: end - start]
        np.multiply(mixed[start:end, None], a, out=permuted)
        permuted += b
        permuted.min(axis=0, out=found[number])
    return found


def signatures(texts: Sequence[str], common: Common) -> Signatures:
    """The signatures of texts, without what is common."""
    words, pieces = (np.zeros((len(texts), WIDTH), np.uint16) for _ in range(2))
    for batch in shingles(texts, common):
        for target, sets in zip((words, pieces), batch, strict=True):
            if len(sets.owner):
                target[sets.owner, :PERMUTATIONS] = minima(sets).astype(np.uint16)
                sizes = np.diff(np.append(sets.start, len(sets.hashes)))
                target[sets.owner, PERMUTATIONS] = np.minimum(sizes, np.iinfo(np.uint16).max)
    return Signatures(words, pieces)


def clusters(texts: list[str] | pa.Array, similarity: float = 0.8) -> Labels:
    """A number for each text, (n,). Near-duplicates have equal numbers.

    Which texts are together depends on the set of texts alone, not on their order. `similarity` is the smallest share
    of their words that two near-duplicates have in common (Jaccard), as MinHash estimates it.
    """
    given = texts if isinstance(texts, list) else texts.to_pylist()
    return clusters_of(signatures(given, find_common(given)), similarity)


def clusters_of(found: Signatures, similarity: float) -> Labels:
    """A number for each text, (n,), from signatures. More signatures only join clusters, they never divide one."""
    edges = []
    for signature, short in ((found.words, False), (found.pieces, True)):
        chosen, equal = _first_of(signature)
        edges += [equal, chosen[_edges(signature[chosen], similarity, short)]]
    return _components(np.concatenate(edges), len(found.words))


def _components(edges: Pairs, count: int) -> Labels:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(edges), np.int8)
    graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _first_of(signature: Signature) -> tuple[Pairs, Pairs]:
    """One row number for each distinct signature, and (row, first row) of the others."""
    present = np.flatnonzero(signature[:, PERMUTATIONS])
    rows = np.ascontiguousarray(signature[present]).view(np.dtype((np.void, signature.shape[1] * 2))).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    others = np.stack([present, present[first][inverse]], axis=1)
    return present[first], others[others[:, 0] != others[:, 1]]


def _edges(distinct: Signature, similarity: float, short: bool) -> Pairs:
    """Near-duplicates among distinct signatures, as pairs of row numbers: enough of them to connect each cluster."""
    found = [np.empty((0, 2), np.int64)]
    labels = np.arange(len(distinct))
    for band in range(BANDS):
        keys = _band_keys(distinct, band)
        order = np.argsort(keys, kind="stable")
        edges = [np.empty((0, 2), np.int64)]
        for pairs in _candidates(keys[order], order, labels):
            edges.append(pairs[_near(distinct, pairs, similarity, short)])
        for group in _large_groups(keys[order], order):
            edges.append(_connected(distinct, group, labels, similarity, short))
        found.append(np.concatenate(edges))
        if len(found[-1]):
            labels = _components(np.concatenate(found), len(distinct))
    return np.concatenate(found)


def _band_keys(distinct: Signature, band: int) -> npt.NDArray[np.uint64]:
    keys = np.full(len(distinct), band, np.uint64)
    for column in range(band * ROWS, (band + 1) * ROWS):
        keys = mix64(keys + distinct[:, column])
    return keys


def _group_sizes(keys: npt.NDArray[np.uint64]) -> tuple[Labels, Labels]:
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    return starts, np.diff(np.append(starts, len(keys)))


def _candidates(keys: npt.NDArray[np.uint64], order: Labels, labels: Labels) -> Iterator[Pairs]:
    """Pairs of rows with equal keys that are not in one cluster yet, of small groups."""
    _, sizes = _group_sizes(keys)
    small = np.repeat(sizes <= SMALL_GROUP, sizes)
    for distance in range(1, min(SMALL_GROUP, len(keys))):
        at = np.flatnonzero((keys[distance:] == keys[:-distance]) & small[:-distance])
        if not len(at):
            return
        pairs = np.stack([order[at], order[at + distance]], axis=1)
        pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
        for begin in range(0, len(pairs), PAIRS_AT_ONCE):
            yield pairs[begin : begin + PAIRS_AT_ONCE]


def _large_groups(keys: npt.NDArray[np.uint64], order: Labels) -> Iterator[Labels]:
    starts, sizes = _group_sizes(keys)
    for number in np.flatnonzero(sizes > SMALL_GROUP):
        yield order[starts[number] : starts[number] + sizes[number]]


def _connected(distinct: Signature, group: Labels, labels: Labels, similarity: float, short: bool) -> Pairs:
    """The near-duplicates in a large group. A text that is in a cluster is compared only with those outside it.

    Each cluster is searched from its texts outward, so that a group of one cluster needs one comparison per text.
    """
    found: list[Pairs] = []
    waiting = group
    while len(waiting):
        frontier = waiting[labels[waiting] == labels[waiting[0]]]
        waiting = waiting[labels[waiting] != labels[waiting[0]]]
        while len(frontier) and len(waiting):
            one, frontier = frontier[0], frontier[1:]
            pairs = np.stack([np.full(len(waiting), one), waiting], axis=1)
            near = _near(distinct, pairs, similarity, short)
            found.append(pairs[near])
            reached = np.isin(labels[waiting], labels[waiting[near]])
            frontier, waiting = np.concatenate([frontier, waiting[reached]]), waiting[~reached]
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def _near(distinct: Signature, pairs: Pairs, similarity: float, short: bool) -> npt.NDArray[np.bool_]:
    """Which pairs are similar enough."""
    left, right = distinct[pairs[:, 0]], distinct[pairs[:, 1]]
    estimate = (left[:, :PERMUTATIONS] == right[:, :PERMUTATIONS]).mean(axis=1)
    near = estimate >= similarity
    if short:
        sizes = np.sort(np.stack([left[:, PERMUTATIONS], right[:, PERMUTATIONS]], axis=1).astype(float), axis=1)
        contained = estimate / (1 + estimate) * sizes.sum(axis=1) / np.maximum(sizes[:, 0], 1)
        near |= (contained >= max(CONTAINED, similarity)) & (sizes[:, 1] <= LONGER * sizes[:, 0])
    return near
