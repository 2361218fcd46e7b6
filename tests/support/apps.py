"""API keys in a store: a key is an app, and keys of one name are one app."""

from core.db import api_keys
from core.db.store import Store
from tests.support.ingest import NOW


def add_app(store: Store, id: str, name: str) -> None:
    """Add a key without limits."""
    api_keys.add(
        store,
        id=id,
        key_name=name,
        digest=id,
        scopes=["feedback"],
        models=None,
        requests_per_minute=None,
        tokens_per_minute=None,
        concurrent=None,
        expires=None,
        created=NOW,
        creator="t",
    )
