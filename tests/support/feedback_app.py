"""The feedback routes of a gateway on a real spool."""

import time
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient

from core.api_keys import Grant, Scope
from core.http import install_errors
from core.record_codec import Record, decode_all
from core.spool import SpoolWriter, read_frames, segments
from feedback import routes
from serve.gateway.authentication import RequestPermit
from tests.support.ingest import NOW


class FeedbackApp:
    """The feedback routes on a real spool."""

    def __init__(self, folder: Path) -> None:
        self.spool, self.counted = SpoolWriter(folder), []
        self.app = app = FastAPI()
        install_errors(app)
        count: list[str] = self.counted
        self.grant = Grant("k1", "", (Scope.FEEDBACK,))

        def let_in(request: Request) -> None:
            request.state.admission = RequestPermit(self.grant, None, {}, time.monotonic)

        access = Depends(let_in)
        app.include_router(
            routes.create_router(
                spool=self.spool,
                clock=lambda: NOW,
                acknowledged=lambda vote: count.append(vote.type),
                givers=access,
                revokers=access,
            )
        )
        self.client = TestClient(app)

    def records(self) -> list[Record]:
        found = segments(self.spool.folder)
        return [r for s in found for f in read_frames(s.path.read_bytes()).whole for r in decode_all(f.payload)]
