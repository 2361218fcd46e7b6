"""The gate's code as one short hash, so that the ledger says which rules judged.

This module lists which files hold rules; it must not know what they say. Questions and scores decide a verdict as much
as thresholds do, so all of `eval` counts. A hash that changes too often costs nothing.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from importlib.resources.abc import Traversable

# Files and whole folders: what measures and judges, what decides the next step of a candidate, settings, how labels
# and prompts are read, and which votes and texts count. A test finds what the modules here import and this list lacks.
RULES = (
    "eval",
    "rollout",
    "core/settings",
    "core/names.py",
    "core/answers.py",
    "core/prompt_fields.py",
    "core/prompts.py",
    "core/words.py",
    "core/db/curation.sql",
    "core/db/bursts.sql",
    "core/db/decisions.sql",
    "core/db/evaluations.sql",
    "core/db/feedback.sql",
    "core/db/fingerprints.sql",
    "core/db/frozen_models.sql",
    "core/db/heldout_votes.sql",
    "core/db/label_selection.sql",
    "core/db/live_tests.sql",
    "core/db/model_states.sql",
    "core/db/pairs.sql",
    "core/db/prepared_prompts.sql",
    "core/db/quarantines.sql",
    "core/db/slices.sql",
    "core/db/snapshots.sql",
    "core/db/voted_answers.sql",
    "core/db/withheld_examples.sql",
    "core/db/migrations/0019_quarantined_feedback.sql",
    "core/db/migrations/0025_predicates_without_cluster.sql",
    "core/db/migrations/0060_asker.sql",
    "core/db/migrations/0061_held_votes.sql",
    "feedback/agreement.py",
    "feedback/brigades.py",
    "feedback/bursts.py",
    "feedback/coverage.py",
    "feedback/curation.py",
    "feedback/duplicates.py",
    "feedback/fingerprints.py",
    "feedback/heldout_votes.py",
    "feedback/indictment.py",
    "feedback/label_origins.py",
    "feedback/schema.py",
    "feedback/pair_curation.py",
    "feedback/pairs.py",
    "feedback/phrases.py",
    "feedback/pii.py",
    "feedback/pii_national_ids.py",
    "feedback/pii_rows.py",
    "feedback/prepared_prompts.py",
    "feedback/quarantine.py",
    "feedback/report_counts.py",
    "feedback/row_weights.py",
    "feedback/shingles.py",
    "feedback/snapshot.py",
    "feedback/snapshot_files.py",
    "feedback/split.py",
    "feedback/templates.py",
    "feedback/texts.py",
    "feedback/vote_rules.py",
    "feedback/weights.py",
    "serve/retrieval",
)


@cache
def gate_fingerprint() -> str:
    """The release, and the first 12 digits of a SHA-256 over the rules' files."""
    digest = hashlib.sha256()
    for name, file in rules():
        digest.update(f"{name}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    try:
        release = version("loraloop")
    except PackageNotFoundError:
        release = "unreleased"
    return f"{release} {digest.hexdigest()[:12]}"


def rules() -> Iterator[tuple[str, Traversable]]:
    """Every file that decides verdicts, by its path from the top of the repository."""
    for name in RULES:
        package, *inner = name.split("/")
        yield from _files(name, resources.files(package).joinpath(*inner))


def _files(name: str, entry: Traversable) -> Iterator[tuple[str, Traversable]]:
    if not entry.is_dir():
        yield name, entry
        return
    for inner in sorted(entry.iterdir(), key=lambda inner: inner.name):
        if inner.is_dir() or inner.name.endswith(".py"):
            yield from _files(f"{name}/{inner.name}", inner)
