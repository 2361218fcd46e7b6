"""The SQL of this package: named statements, and migrations by their numbers.

Each table group has a module NAME.py next to NAME.sql. Only these modules run a statement by its name, "NAME.block".
"""

import re
from functools import cache
from importlib import resources

from core.errors import StoreError

NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)


@cache
def statements() -> dict[str, str]:
    """Every statement by its name. Raises StoreError if a name is there twice."""
    found: dict[str, str] = {}
    files = (file for file in resources.files("core.db").iterdir() if file.name.endswith(".sql"))
    for file in sorted(files, key=lambda file: file.name):
        parts = NAME.split(file.read_text(encoding="utf-8"))
        for short, text in zip(parts[1::2], parts[2::2], strict=True):
            name = f"{file.name.removesuffix('.sql')}.{short}"
            if name in found:
                raise StoreError(f"The SQL block {name} is written twice.", hint="Rename one of them.")
            found[name] = text.strip()
    return found


def migrations() -> list[tuple[int, str]]:
    """Number and SQL of every migration, in order."""
    folder = resources.files("core.db").joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.split("_")[0]), f.read_text(encoding="utf-8")) for f in files]
