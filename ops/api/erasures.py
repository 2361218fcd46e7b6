"""The API of erasures: what an erasure would erase, erase a user, and the receipts."""

from typing import Annotated, Any

from fastapi import Request as HttpRequest
from pydantic import Field

from core.acts import Act, act, no_act, note
from core.route_list import RouteList
from feedback.erasure import LONGEST_USER, Request
from ops.api.models import Limit, Said, signed_body
from ops.erasures import Erasures


class Whom(Said):
    """The user to erase, of every key or of one key."""

    user: str = Field(min_length=1, max_length=LONGEST_USER)
    key: str | None = Field(None, min_length=1, max_length=128)

    @property
    def request(self) -> Request:
        """Whom to erase, once `signed`."""
        return Request(self.user, self.key, self.actor, self.comment)


WhomBody = Annotated[Whom, signed_body(Whom)]


def create_router(erasures: Erasures) -> RouteList:
    """Routes under /api/erasures. The user is in the body, because addresses are logged by proxies."""
    router = RouteList(prefix="/api/erasures")

    @router.get("")
    @no_act("It shows a hash of each user, no names.")
    def newest(limit: Limit = 100) -> list[dict[str, Any]]:
        """Erasures with their receipts, newest first."""
        return erasures.newest(limit)

    @router.get("/{identity}")
    @no_act("It shows a hash of each user, no names.")
    def show(identity: str) -> dict[str, Any]:
        """One erasure with its receipt."""
        return erasures.show(identity)

    @router.post("/preview")
    @act(Act.USERS_PREVIEW)
    def preview(whom: WhomBody) -> dict[str, Any]:
        """What the erasure of a user would erase."""
        return erasures.preview(whom.request)

    @router.post("", status_code=202)
    @act(Act.USERS_ERASE)
    def erase(request: HttpRequest, whom: WhomBody) -> dict[str, Any]:
        """Erase a user. It goes on after the response, until the state is `done`."""
        begun = erasures.begin(whom.request)
        note(request, thing=begun["id"])
        return begun

    return router
