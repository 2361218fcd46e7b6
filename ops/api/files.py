"""OpenAI's files API on control: upload, list, read and delete files for fine-tuning.

Handlers are thin: they parse, call the files, and render.
"""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import Query, Request
from fastapi.responses import FileResponse
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message

from core.acts import Act, act, no_act, note
from core.api_key_store import ApiKeyStore
from core.errors import BodyTooLarge, InputError
from core.route_list import RouteList
from ops.control import Control
from ops.fine_tuning.files import UploadedFiles
from ops.fine_tuning.shapes import Shape, file_shape, page_shape

FORM = "multipart/form-data"
PURPOSE = "fine-tune"
# A slow sender holds a connection for no longer.
RECEIVE_SECONDS = 1800
MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "JSON lines, one example each."},
                        "purpose": {"type": "string", "enum": [PURPOSE]},
                    },
                }
            }
        },
    }
}
OneModel = Annotated[
    str | None,
    Query(max_length=128, description="The model that the file is for. A key limited to models must name one."),
]


def create_reading_router(files: UploadedFiles) -> RouteList:
    """Routes under /v1/files that show what there is, without content."""
    router = RouteList(prefix="/v1/files")

    @router.get("")
    @no_act("It shows no content.", texts=False)
    def listed(
        model: OneModel = None,
        purpose: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Literal["asc", "desc"] = "desc",
    ) -> Shape:
        """Uploaded files, newest first."""
        if purpose not in (None, PURPOSE):
            return page_shape([], limit)
        rows = files.page(model=model, after=after, ascending=order == "asc", limit=limit + 1)
        return page_shape([file_shape(row) for row in rows], limit)

    @router.get("/{identity}")
    @no_act("It shows no content.", texts=False)
    def retrieve(identity: str) -> Shape:
        """One file, without its content."""
        return file_shape(files.find(identity))

    return router


def create_content_router(files: UploadedFiles) -> RouteList:
    """The route that gives a file's content."""
    router = RouteList(prefix="/v1/files")

    @router.get("/{identity}/content", response_class=FileResponse)
    @act(Act.FILES_READ)
    def content(identity: str) -> FileResponse:
        """The content of a file, as it was uploaded."""
        path, row = files.content(identity), files.find(identity)
        return FileResponse(path, media_type="application/jsonl", filename=row["filename"])

    return router


def create_acting_router(control: Control, files: UploadedFiles) -> RouteList:
    """Routes under /v1/files that keep a file or delete one."""
    router = RouteList(prefix="/v1/files")
    keyring: ApiKeyStore = control.keyring

    @router.post("", openapi_extra=MULTIPART)
    @act(Act.FILES_UPLOAD)
    async def upload(request: Request, model: OneModel = None) -> Shape:
        """Keep a file for fine-tuning. Each line is checked."""
        if model is not None:
            control.promotion.route(model)
        form = await _read_form(request, control.settings.control.max_import_bytes)
        try:
            content = _file_of(form)
            actor = keyring.actor_of(request.state.key_id)
            name = content.filename or ""
            row = await asyncio.to_thread(files.keep, content.file, name=name, model=model, actor=actor)
        finally:
            await form.close()
        note(request, model=model, thing=row["id"])
        return file_shape(row)

    @router.delete("/{identity}")
    @act(Act.FILES_DELETE)
    def delete(request: Request, identity: str) -> dict[str, Any]:
        """Delete a file. Examples that a job has imported stay as feedback."""
        note(request, model=files.find(identity)["model"], thing=identity)
        files.delete(identity)
        return {"id": identity, "object": "file", "deleted": True}

    return router


def _file_of(form: FormData) -> UploadFile:
    for field in sorted({*form.keys()} - {"file", "purpose"}):
        raise InputError(f"{field}: is not taken. Files are kept until they are deleted.", field=field)
    if form.get("purpose") != PURPOSE:
        raise InputError(f"purpose: takes {PURPOSE} alone.", field="purpose")
    content = form.get("file")
    if not isinstance(content, UploadFile):
        raise InputError("file: is missing.", hint=f"Send it as a part of {FORM}.", field="file")
    return content


async def _read_form(request: Request, limit: int) -> FormData:
    """The form of a request, with at most `limit` bytes. Raises InputError or BodyTooLarge."""
    if not request.headers.get("content-type", "").startswith(FORM):
        raise InputError(f"The body must be a form with a file: {FORM}.", field="file")
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise BodyTooLarge(f"The file is larger than {limit} bytes.", hint="Raise control.max_import_bytes.")
        return message

    try:
        async with asyncio.timeout(RECEIVE_SECONDS):
            return await Request(request.scope, receive).form(max_files=1, max_fields=8)
    except TimeoutError as error:
        raise InputError(f"The file was not whole after {RECEIVE_SECONDS} s.", field="file") from error
    except HTTPException as error:
        raise InputError(f"The form cannot be read: {error.detail}", field="file") from error
    except ClientDisconnect as error:
        raise InputError("The client went away before its file was whole.", field="file") from error
