"""Routes of OpenAI's API and vLLM's that no engine of LoraLoop serves, each with the reason."""

from collections.abc import Awaitable, Callable

from core.errors import InputError
from core.route_list import RouteList

GENERATES = "LoraLoop's engines serve one model that generates text"
REASONS = {
    "/v1/score": f"{GENERATES}, and no scores of pairs.",
    "/v1/moderations": f"{GENERATES}, and no moderation.",
    "/v1/images/generations": f"{GENERATES}, and no pictures.",
    "/v1/audio/speech": f"{GENERATES}, and no audio.",
    "/v1/audio/transcriptions": f"{GENERATES}, and reads no audio.",
}


class NotServed(InputError):
    """The gateway has no such service."""

    status = 404


def create_router() -> RouteList:
    """The routes, which answer with their reason alone."""
    router = RouteList()
    for path, reason in REASONS.items():
        router.post(path, include_in_schema=False)(_refuse(reason))
    return router


def _refuse(reason: str) -> Callable[[], Awaitable[None]]:
    async def refuse() -> None:
        raise NotServed(reason, hint="Send such requests to a server of your own for them.")

    return refuse
