"""The gate's code as one short hash, so that the ledger says which rules judged.

It owns which files are rules; it must not know what they say. All of `eval` and its suites are rules. Questions and
scores decide a verdict as much as thresholds do. A hash that changes too often costs nothing.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from importlib.resources.abc import Traversable

# In addition to `eval`: defaults, how prompts are read, which votes become truth for whom, and what counts live users.
ELSEWHERE = {
    "core": (
        "settings/evaluation.py",
        "settings/kpi_names.py",
        "settings/model.py",
        "settings/promotion.py",
        "settings/retrain.py",
        "prompts.py",
        "db/live_tests.sql",
        "db/evaluations.sql",
        "db/feedback.sql",
        "db/snapshots.sql",
    ),
    "feedback": ("heldout_votes.py", "snapshot.py", "split.py"),
    "serve": ("retrieval/retriever.py",),
}


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
    """Every file that has a say, by its name from the top."""
    yield from _under("eval", resources.files("eval"))
    for package, names in ELSEWHERE.items():
        for name in names:
            yield f"{package}/{name}", resources.files(package).joinpath(name)


def _under(name: str, folder: Traversable) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _under(f"{name}/{entry.name}", entry)
        elif entry.name.endswith(".py"):
            yield f"{name}/{entry.name}", entry
