"""Keep the signatures of prompts in the store, so that a snapshot computes those of new prompts only."""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from core.db import fingerprints
from core.db.fingerprints import StoredCommon
from core.db.store import Store
from feedback.duplicates import WIDTH, Labels, Signature, Signatures, clusters, clusters_of, signatures
from feedback.shingles import Common, common_at, count_shared

log = logging.getLogger(__name__)

# What is common is found again only if a share has moved well past its limit, so that signatures stay valid.
LOOSE = {"template": 0.15, "passage": 0.005}
STRICT = {"template": 0.25, "passage": 0.02}


def stored_clusters(
    store: Store, model: str, interactions: pa.Array, prompts: Sequence[str], similarity: float = 0.8
) -> Labels:
    """A number for the prompt of each interaction, (n,). Near-duplicates have equal numbers.

    Signatures that the store lacks are computed and added to it.
    """
    if not prompts:
        return np.zeros(0, np.int64)
    stored, common = _common(store, model, prompts)
    found, missing = _signatures(store, model, (stored, common), interactions, prompts)
    table = pa.table(
        {
            "interaction_id": interactions.take(pa.array(missing)),
            "model": pa.repeat(model, len(missing)),
            "version": pa.repeat(pa.scalar(stored.version, pa.int32()), len(missing)),
            "words": _blobs(found.words[missing]),
            "pieces": _blobs(found.pieces[missing]),
        }
    )
    with store.transaction() as transaction:
        fingerprints.add(transaction, table)
    return clusters_of(found, similarity)


def known_clusters(
    store: Store, model: str, interactions: pa.Array, prompts: Sequence[str], similarity: float = 0.8
) -> Labels:
    """The same without a change of the store: what prompts share is as the last snapshot found it."""
    stored = fingerprints.common(store, model=model)
    if stored is None:
        return clusters(list(prompts), similarity)
    return clusters_of(_signatures(store, model, (stored, _hashes(stored)), interactions, prompts)[0], similarity)


def _signatures(
    store: Store, model: str, known: tuple[StoredCommon, Common], interactions: pa.Array, prompts: Sequence[str]
) -> tuple[Signatures, npt.NDArray[np.int64]]:
    """The signatures of prompts, from the store or new, and the places of the new ones."""
    stored, common = known
    found = fingerprints.find(store, model=model, version=stored.version, interactions=interactions)
    places = found["place"].to_numpy()
    words, pieces = (np.zeros((len(prompts), WIDTH), np.uint16) for _ in range(2))
    words[places], pieces[places] = _rows(found["words"]), _rows(found["pieces"])
    missing = np.setdiff1d(np.arange(len(prompts)), places).astype(np.int64)
    new = signatures([prompts[int(place)] for place in missing], common)
    words[missing], pieces[missing] = new.words, new.pieces
    return Signatures(words, pieces), missing


def _common(store: Store, model: str, prompts: Sequence[str]) -> tuple[StoredCommon, Common]:
    """What the prompts of a model share: as stored, or found again if that is not true of them any more."""
    stored = fingerprints.common(store, model=model)
    counted = count_shared(prompts)
    if stored is not None:
        common = _hashes(stored)
        if still_common(common, loose=common_at(counted, **LOOSE), strict=common_at(counted, **STRICT)):
            return stored, common
        log.info("What the prompts of %s share has changed: their signatures are computed again.", model)
    common = common_at(counted)
    stored = StoredCommon(stored.version + 1 if stored else 1, common.template.tobytes(), common.passages.tobytes())
    with store.transaction() as transaction:
        fingerprints.set_common(transaction, stored, model=model)
    return stored, common


def still_common(known: Common, *, loose: Common, strict: Common) -> bool:
    """Whether all that is known to be common is about as common now, and nothing else is much more common."""
    return (
        _within(known.template, loose.template)
        and _within(strict.template, known.template)
        and _within(known.passages, np.union1d(loose.template, loose.passages))
        and _within(strict.passages, np.union1d(known.template, known.passages))
    )


def _hashes(stored: StoredCommon) -> Common:
    return Common(np.frombuffer(stored.template, np.uint64), np.frombuffer(stored.passages, np.uint64))


def _within(part: npt.NDArray[np.uint64], whole: npt.NDArray[np.uint64]) -> bool:
    return bool(np.isin(part, whole).all())


def _rows(column: pa.ChunkedArray) -> Signature:
    return np.frombuffer(b"".join(column.to_pylist()), np.uint16).reshape(-1, WIDTH)


def _blobs(signature: Signature) -> pa.Array:
    return pa.array([row.tobytes() for row in signature], pa.binary())
