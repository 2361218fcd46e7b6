"""Links between pages: one to a page that the visitor may not open loses its address, and its text stays."""

import html
import re
from collections.abc import Callable, Iterable
from typing import Any

from core.api_keys import Scope
from core.http import Wanted, scope_of

ADDRESS = re.compile(r'(<a\b[^>]*?)\shref="(/[^"]*)"')


class PageScopes:
    """The scope that each page needs, from the routes themselves."""

    def __init__(self) -> None:
        self._scopes: list[tuple[re.Pattern[str], Scope]] = []

    def add(self, routes: Iterable[Any], wanted: Wanted) -> None:
        """Add the pages among these routes."""
        self._scopes += [(route.path_regex, scope_of(wanted, route)) for route in routes if "GET" in route.methods]

    def needed(self, address: str) -> Scope | None:
        """The scope that the page at an address needs, or None if it is no page or needs none."""
        path = re.split(r"[?#]", html.unescape(address), maxsplit=1)[0]
        return next((scope for pattern, scope in self._scopes if pattern.match(path)), None)

    def with_open_links(self, page: str, opens: Callable[[Scope], bool]) -> str:
        """The HTML of a page without the addresses of links whose scope does not open. Forms and buttons stay."""

        def kept(found: re.Match[str]) -> str:
            scope = self.needed(found[2])
            return found[0] if scope is None or opens(scope) else found[1]

        return ADDRESS.sub(kept, page)
