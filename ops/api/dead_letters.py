"""The API of dead letters: list, show, replay, drop. A letter holds what users wrote, so it needs `admin`."""

import logging
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from core.acts import Act, act
from core.db import spools
from core.route_list import RouteList
from feedback import dead_letters
from ops.api.models import Limit, Said, signed_body
from ops.control import Control

log = logging.getLogger(__name__)


class Letters(Said):
    """Which dead letter; none: every one."""

    id: str | None = Field(None, min_length=1, max_length=256)


LettersBody = Annotated[Letters, signed_body(Letters)]


def create_router(control: Control) -> RouteList:
    """Routes under /api/dead-letters."""
    router = RouteList(prefix="/api/dead-letters")
    store = control.store

    @router.get("")
    @act(Act.TEXTS_READ)
    def newest(limit: Limit = 100) -> dict[str, Any]:
        """The number of dead letters, and the newest of them with their reasons."""
        return {"count": spools.count_dead_letters(store), "letters": dead_letters.newest(store, limit)}

    @router.get("/{identity}")
    @act(Act.TEXTS_READ)
    def show(identity: str) -> dict[str, Any]:
        """One dead letter with its content."""
        return dead_letters.show(store, identity)

    @router.post("/replay")
    @act(Act.DEAD_LETTERS_REPLAY)
    def replay(said: LettersBody) -> list[dict[str, Any]]:
        """Ingest one dead letter or all of them again. Records that are stored already add nothing."""
        done = [asdict(one) for one in dead_letters.replay(store, dead_letters.wanted(store, said.id))]
        log.info("%s replayed %d dead letters", said.by.actor, len(done))
        return done

    @router.post("/drop")
    @act(Act.DEAD_LETTERS_DROP)
    def drop(said: LettersBody) -> list[dict[str, Any]]:
        """Delete one dead letter or all of them."""
        done = dead_letters.drop(store, dead_letters.wanted(store, said.id))
        log.warning("%s dropped %d dead letters", said.by.actor, len(done))
        return done

    return router
