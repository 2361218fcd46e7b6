"""Prepare the prompts of interactions for snapshots: read, scrub and hash them, once per interaction.

The store keeps what was prepared. A prompt is immutable, so only other rules or other code make it differ.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import pyarrow as pa
import pyarrow.compute as pc

from core.db import curation, prepared_prompts
from core.db.prepared_prompts import PREPARED
from core.db.store import Store
from core.prompt_fields import Unreadable
from core.prompts import from_json, read_stored, to_json, whole_text
from core.settings.privacy import ScrubRule
from feedback.pii_rows import scrub_prompts
from feedback.texts import Texts, hash_of

# The files that decide what a prepared prompt is. A test finds what they import and this list lacks.
CODE = (
    "core/answers.py",
    "core/prompt_fields.py",
    "core/prompts.py",
    "feedback/pii.py",
    "feedback/pii_national_ids.py",
    "feedback/pii_rows.py",
    "feedback/prepared_prompts.py",
    "feedback/texts.py",
)
Prompts = Callable[[pa.Array], pa.Table]
"""The prepared prompts of interactions: a table of `PREPARED`. An interaction that is not stored has no row."""


@dataclass(frozen=True, slots=True)
class StoredPrompts:
    """Prepares prompts of one model, and keeps them in the store."""

    store: Store
    model: str
    rules: Sequence[ScrubRule]

    def __call__(self, interactions: pa.Array) -> pa.Table:
        """The prepared prompts of interactions. Only those that the store lacks are read."""
        name = name_of(self.rules)
        known = prepared_prompts.find(self.store, rules=name, interactions=interactions)
        is_known = pc.is_in(interactions, known["interaction_id"])  # type: ignore[attr-defined]
        missing = interactions.filter(pc.invert(is_known))  # type: ignore[attr-defined]
        if not len(missing):
            return known
        new = prepare(curation.requests(self.store, interactions=missing), self.rules)
        with self.store.transaction() as transaction:
            prepared_prompts.delete_others(transaction, model=self.model, rules=name)
        with self.store.transaction() as transaction:
            prepared_prompts.add(transaction, new, model=self.model, rules=name)
        return pa.concat_tables([known, new])


def prepare(requests: Iterable[pa.RecordBatch], rules: Sequence[ScrubRule]) -> pa.Table:
    """Prompts from batches of interaction_id, endpoint and request, as a table of `PREPARED`."""
    return pa.Table.from_batches([_prepare(batch, rules) for batch in requests], PREPARED)


def _prepare(batch: pa.RecordBatch, rules: Sequence[ScrubRule]) -> pa.RecordBatch:
    prompts: list[str | None] = []
    hashes: list[int | None] = []
    unreadable: list[str | None] = []
    for endpoint, request in zip(batch["endpoint"].to_pylist(), batch["request"].to_pylist(), strict=True):
        prompt = read_stored(endpoint, request)
        is_read = not isinstance(prompt, Unreadable)
        prompts.append(to_json(prompt) if is_read else None)
        hashes.append(hash_of(whole_text(prompt)) if is_read else None)
        unreadable.append(None if is_read else prompt.reason)
    column = pa.array(prompts, pa.string())
    scrubbed, replaced = scrub_prompts(column, rules)
    made = [scrubbed, replaced, pa.array(hashes, pa.uint64()), pa.array(unreadable, pa.string())]
    return pa.RecordBatch.from_arrays([batch["interaction_id"], column, *made], schema=PREPARED)


def texts_of(prepared: pa.Table) -> Texts:
    """The whole texts of prompts that can be read."""
    prompts = prepared["prompt"]
    return Texts(lambda place: whole_text(from_json(prompts[place].as_py())), prepared["text_hash"].to_numpy())


def name_of(rules: Sequence[ScrubRule]) -> str:
    """The name of these rules and of the code that applies them: the first 16 digits of a SHA-256."""
    return hashlib.sha256(_code() + " ".join(rules).encode()).hexdigest()[:16]


@cache
def _code() -> bytes:
    digest = hashlib.sha256()
    for name in CODE:
        package, file = name.split("/")
        digest.update(hashlib.sha256(resources.files(package).joinpath(file).read_bytes()).digest())
    return digest.digest()
