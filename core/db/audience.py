"""A model's audience since a moment: users, their requests, and how many of these have votes."""

from dataclasses import dataclass
from datetime import datetime

from core.db.store import Database


@dataclass(frozen=True, slots=True)
class Measured:
    """Answered requests of named users, and the users; answers with a thumb and with a label; thumbs, and thumbs up."""

    requests: int
    users: int
    thumbed: int
    labelled: int
    thumbs: int
    up: int


def measure(db: Database, *, model: str, since: datetime) -> Measured:
    """Count. The cost grows with the requests and the feedback since then."""
    asked = db.one("audience.asked", model=model, since=since)
    return Measured(**asked, **db.one("audience.said", model=model, since=since))
