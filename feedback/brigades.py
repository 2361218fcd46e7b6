"""Look for brigades among the votes on a model: bursts, and phrases that a few voters plant."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from core.db import bursts
from core.db.store import Store
from core.prompts import from_stored, whole_text
from core.settings import ModelSettings
from feedback.bursts import Burst, BurstRules, TimedVotes, find_bursts
from feedback.curation import TRUTH_SIGNAL, same_text
from feedback.phrases import Texts, find_phrases
from feedback.weights import voter_names

# The newest votes of each type that are read, and the newest of them whose texts are read.
MOST_VOTES = 1_000_000
MOST_TEXTS = 50_000


def find_brigades(store: Store, model: str, settings: ModelSettings) -> list[Burst]:
    """The voters on a model to hold, with reasons. None if `trust.bursts` is off."""
    trust = settings.trust
    if not trust.bursts:
        return []
    signal = TRUTH_SIGNAL[settings.task]
    said = bursts.votes(store, model=model, type=signal, limit=MOST_VOTES)
    prompts, answers = _texts(store, said["interaction_id"][:MOST_TEXTS])
    rules = BurstRules(trust.burst_votes, trust.burst_ratio)
    thumbs = bursts.votes(store, model=model, type="thumbs", limit=MOST_VOTES)
    found = find_bursts(_timed(thumbs, prompts, by_value=True), rules)
    found += find_bursts(_timed(said, prompts, by_value=signal == "label"), rules)
    return found + find_phrases(_written(said[:MOST_TEXTS], prompts, answers, signal), trust.phrase_voters)


def _texts(store: Store, interactions: pa.ChunkedArray) -> tuple[dict[str, str], dict[str, str]]:
    """The prompts and the answers of interactions by id. A prompt that is not kept, or not text alone, is not there."""
    prompts: dict[str, str] = {}
    answers: dict[str, str] = {}
    for batch in bursts.texts(store, interactions=interactions.unique()):
        for identity, endpoint, request, answer in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            prompt = from_stored(endpoint, request)
            if prompt is not None:
                prompts[identity], answers[identity] = whole_text(prompt), answer
    return prompts, answers


def _voters(votes: pa.Table) -> tuple[npt.NDArray[np.int64], list[str | None], list[str]]:
    """A number for each vote's voter, and the key and the user of each number. An unknown key is None."""
    encoded = voter_names(votes["key"], votes["voter"])
    named = [name.partition("\n") for name in encoded.dictionary.to_pylist()]
    return _numbers(encoded), [key or None for key, _, _ in named], [user for _, _, user in named]


def _numbers(encoded: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _timed(votes: pa.Table, prompts: dict[str, str], *, by_value: bool) -> TimedVotes:
    """Votes of one type. Those on the same prompt have one cluster, and those on an unknown prompt one per answer."""
    voter, keys, users = _voters(votes)
    about = [prompts.get(one, one or "") for one in votes["interaction_id"].to_pylist()]
    said = _numbers(votes["said"].combine_chunks().dictionary_encode())
    return TimedVotes(
        key=_numbers(votes["key"].combine_chunks().dictionary_encode()),
        voter=voter,
        value=said if by_value else np.full(len(votes), -1, np.int64),
        cluster=same_text(about),
        time=votes["time"].to_numpy(),
        keys=keys,
        users=users,
    )


def _written(votes: pa.Table, prompts: dict[str, str], answers: dict[str, str], signal: str) -> Texts:
    """What voters wrote: corrections with what they correct, or the prompts that they labelled."""
    votes = votes.filter(pc.field("interaction_id").isin(pa.array(list(prompts), pa.string())))
    voter, keys, users = _voters(votes)
    asked = votes["interaction_id"].to_pylist()
    labelled = signal == "label"
    return Texts(
        written=[prompts[one] for one in asked] if labelled else [text or "" for text in votes["said"].to_pylist()],
        about=[""] * len(asked) if labelled else [f"{prompts[one]}\n{answers[one]}" for one in asked],
        voter=voter,
        label=_numbers(votes["said"].combine_chunks().dictionary_encode())
        if labelled
        else np.full(len(asked), -1, np.int64),
        time=votes["time"].to_numpy(),
        keys=keys,
        users=users,
    )
