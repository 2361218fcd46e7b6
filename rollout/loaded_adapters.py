"""What a change of routes needs from the engines. It must not know how they are reached."""

from contextlib import AbstractContextManager
from typing import Protocol

from core.records import Version


class LoadedAdapters(Protocol):
    """What a change of routes needs from the engines; serve/engines/reconciler.py implements it."""

    @property
    def adapters_by_engine(self) -> dict[str, tuple[str, ...]] | None:
        """Each engine's URL with the names that it answers to, or None before the engines were first checked."""

    def ensure_loaded(self, version: Version) -> AbstractContextManager[None]:
        """Load a version on every engine; nothing is unloaded while the context is open."""
        ...
