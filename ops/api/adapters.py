"""The route by which an adapter that was trained elsewhere comes in.

It owns receiving the bytes, no more of them than the settings allow; what they must be is decided below.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from core.acts import Act, act
from core.errors import InputError
from core.route_list import RouteList
from ops.api.models import Said, signed
from ops.control import Control
from retrain.adapter_import import Imported, Importer

BODY = "application/octet-stream"
# A slow sender keeps others out for no longer.
RECEIVE_SECONDS = 1800


def create_router(control: Control) -> RouteList:
    """POST /api/models/{model}/adapters, with the archive for its body."""
    router = RouteList(prefix="/api")
    importer = Importer(
        settings=control.settings,
        store=control.store,
        base=control.scheduler.pipeline.base,
        promotion=control.promotion,
    )
    limit = control.settings.control.max_import_bytes

    @router.post("/models/{model}/adapters")
    @act(Act.ADAPTERS_IMPORT)
    async def bring(model: str, request: Request, said: Annotated[Said, Query()]) -> JSONResponse:
        """Take an adapter in, from an archive as `application/octet-stream`."""
        control.promotion.route(model)
        # A web page elsewhere can make a browser send any body but this type of one.
        if request.headers.get("content-type") != BODY:
            raise InputError("The body must be an archive.", hint=f"Send it with Content-Type: {BODY}.")
        author = signed(said, request)
        with importer.folder() as folder:
            archive = folder / "archive"
            await _receive(request, archive, limit)
            done = await asyncio.to_thread(importer.take_in, archive, model, actor=author.actor, comment=author.comment)
        return JSONResponse(_shown(done), 201 if done.new else 200)

    return router


async def _receive(request: Request, file: Path, limit: int) -> None:
    size = 0
    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            with file.open("wb") as target:
                async for part in request.stream():
                    size += len(part)
                    if size > limit:
                        raise InputError(
                            f"The archive is larger than {limit} bytes.",
                            hint="Raise control.max_import_bytes, or send fewer files.",
                        )
                    target.write(part)
    except ClientDisconnect as error:
        raise InputError("The client went away before its archive was whole.") from error
    except TimeoutError as error:
        raise InputError(f"The archive was not whole after {RECEIVE_SECONDS} s.") from error


def _shown(done: Imported) -> dict[str, Any]:
    version = done.version
    return {
        "model": version.model,
        "version": version.version,
        "engine_name": version.engine_name,
        "sha256": version.sha256,
        "rank": version.rank,
        "modules": done.modules,
        "new": done.new,
        "warnings": list(done.warnings),
    }
