"""Capture: turn a request and its response into one interaction in the spool.

Capture never delays an answer, and a full disk never makes a request fail.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from typing import Any

import orjson

from core.errors import SpoolFull
from core.record_codec import encode, encode_all
from core.records import Interaction, StoredCompletion
from core.spool import SpoolWriter

log = logging.getLogger(__name__)

FSYNC_SECONDS = 0.1
TELL_SECONDS = 10.0


class Recorder:
    """Appends interactions before their last byte leaves, and has them fsynced in groups behind it."""

    def __init__(self, spool: SpoolWriter) -> None:
        self.spool = spool
        self.dropped = 0
        self._newest = 0
        self._reported: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def record(self, interaction: Interaction, stored: StoredCompletion | None = None) -> None:
        """Writes the interaction, in one frame with the completion to be stored.

        A full disk degrades capture, which is counted, and never serving.
        """
        try:
            self._newest = self.spool.append(encode_all((interaction, stored)) if stored else encode(interaction))
        except SpoolFull as error:
            self.dropped += 1
            self._tell("interactions were not kept", error)

    def start(self) -> None:
        """Begins to fsync in the background."""
        self._task = asyncio.create_task(self._sync_forever())

    async def stop(self) -> None:
        """Ends the background work and makes everything durable."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.spool.close()

    async def _sync_forever(self) -> None:
        synced = 0
        while True:
            await asyncio.sleep(FSYNC_SECONDS)
            if self._newest > synced:
                goal = self._newest
                try:
                    await self.spool.durable(goal)
                    synced = goal
                except SpoolFull as error:
                    self._tell("interactions are not durable yet", error)

    def _tell(self, what: str, error: SpoolFull) -> None:
        """Says it once in a while: on a full disk every request and every look would."""
        now = time.monotonic()
        if now >= self._reported.get(what, -TELL_SECONDS) + TELL_SECONDS:
            self._reported[what] = now
            log.error("%s: %s (%d dropped so far)", what, error, self.dropped)


def answer_of(choices: Iterable[dict[str, Any]]) -> tuple[str | None, str | None]:
    """(text, finish reason) of a response's first choice, chat or completion."""
    first = next(iter(choices), None)
    if first is None:
        return None, None
    message = first.get("message")
    text = message.get("content") if isinstance(message, dict) else first.get("text")
    return text, first.get("finish_reason")


class StreamRecorder:
    """Collect the first choice's text from the events of a stream, up to a limit in characters."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.text: list[str] = []
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] = {}
        self.failed = False
        # Of all choices; engines send about a token in each.
        self.pieces = 0
        self._text_left = limit

    def completion(self) -> dict[str, Any] | None:
        """The whole completion, where it is to be stored; this tee keeps none."""
        return None

    def take(self, event: bytes) -> bool:
        """Reads one server-sent event; returns whether it carries nothing but usage."""
        if not event.startswith(b"data: {"):
            return False
        try:
            data = orjson.loads(event[6:])
        except orjson.JSONDecodeError:
            return False
        self.usage = data.get("usage") or self.usage
        self.failed = self.failed or "error" in data
        choices = data.get("choices") or []
        self.pieces += len(choices)
        for choice in choices:
            if choice.get("index", 0) == 0:
                piece = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
                self.text.append(piece[: self._text_left])
                self._text_left -= len(self.text[-1])
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
        return not choices and bool(data.get("usage"))
