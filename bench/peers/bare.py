"""The yardstick: FastAPI and aiohttp forwarding bytes, with nothing on.

It owns no key, no route table and no record; it must not parse what it forwards.

    python -m bench.peers.bare UPSTREAM PORT
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

JSON = {"Content-Type": "application/json"}


def create_app(upstream: str) -> FastAPI:
    """The proxy before one upstream."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(auto_decompress=False) as app.state.session:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/{path:path}")
    async def forward(request: Request, path: str) -> Response:
        body = await request.body()
        answer = await request.app.state.session.post(f"{upstream}/{path}", data=body, headers=JSON)
        if answer.content_type == "text/event-stream":
            return StreamingResponse(answer.content.iter_any(), media_type="text/event-stream")
        async with answer:
            return Response(await answer.read(), answer.status, media_type="application/json")

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
