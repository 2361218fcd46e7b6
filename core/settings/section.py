"""The base class of all sections, and the search for the nearest known name."""

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the file. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most similar, or an empty string if none is similar."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), "")
