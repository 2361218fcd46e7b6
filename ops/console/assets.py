"""Assets: the console's few static files, served from memory under names that change with their content.

It owns the list of files; nothing of a request ever becomes a path.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import Response
from starlette.exceptions import HTTPException

from core.acts import no_act
from core.route_list import RouteList

TYPES = {"console.css": "text/css", "console.js": "text/javascript", "htmx.min.js": "text/javascript"}
HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, and the URL under which this content of it can be kept for ever."""

    content: bytes
    media_type: str
    url: str


@cache
def assets() -> dict[str, Asset]:
    """Every asset by its file's name."""
    found = {}
    for name, media_type in TYPES.items():
        content = resources.files("ops.console").joinpath("static", name).read_bytes()
        found[name] = Asset(content, media_type, f"/static/{hashlib.sha256(content).hexdigest()[:12]}/{name}")
    return found


def asset_url(name: str) -> str:
    """Where a page finds an asset."""
    return assets()[name].url


def stylesheet() -> str:
    """The stylesheet's text, for a page that must stand alone."""
    return assets()["console.css"].content.decode()


def create_router() -> RouteList:
    """The route of assets: open, for the login page needs them too."""
    router = RouteList()
    by_url = {asset.url: asset for asset in assets().values()}

    @router.get("/static/{digest}/{name}", include_in_schema=False)
    @no_act("It is a file of the console.")
    async def static(digest: str, name: str) -> Response:
        asset = by_url.get(f"/static/{digest}/{name}")
        if asset is None:
            raise HTTPException(404, "There is no such file")
        return Response(asset.content, media_type=asset.media_type, headers=HEADERS)

    return router
