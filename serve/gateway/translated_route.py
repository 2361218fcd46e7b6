"""A route of another API, answered by the chat route: the same engines, limits, capture and canary."""

from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from serve.gateway.completions import Completions
from serve.gateway.translation import Translation


class TranslatedRoute:
    """An ASGI app; `create` makes the translation of a request."""

    def __init__(self, completions: Completions, create: Callable[[], Translation]) -> None:
        self._completions = completions
        self._create = create

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request."""
        return self._completions.answer(scope, receive, send, "chat", self._create())
