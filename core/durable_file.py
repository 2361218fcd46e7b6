"""Files that survive a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Make the content of a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_content(file: Path, content: bytes, *, scratch: Path | None = None) -> None:
    """Write a file instead of the one before. After a power cut it is complete, old or new, or not there.

    `scratch` is the file to write first. Processes that may write the same file at once need one each.
    """
    scratch = scratch or file.with_suffix(".part")
    scratch.write_bytes(content)
    sync(scratch)
    os.replace(scratch, file)
