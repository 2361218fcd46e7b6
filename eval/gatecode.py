"""The gate's code as one short hash, so that the ledger says which rules judged.

It owns which files are rules; it must not know what they say.
"""

import hashlib
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version

RULES = (
    "canary.py", "evidence.py", "holdback.py", "intervals.py", "judgement.py", "kpis.py", "likelihood.py",
    "limits.py", "live.py", "offline.py", "preferences.py", "sequential.py",
)  # fmt: skip


@cache
def gate_code() -> str:
    """The release, and the first 12 digits of a SHA-256 over the rules' files."""
    folder = resources.files("eval")
    digest = hashlib.sha256(b"".join(folder.joinpath(name).read_bytes() for name in RULES)).hexdigest()
    try:
        release = version("loraloop")
    except PackageNotFoundError:
        release = "unreleased"
    return f"{release} {digest[:12]}"
