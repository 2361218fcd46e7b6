"""Capture: turn a request and its response into one interaction in the spool.

Capture never delays an answer, and a full disk never makes a request fail.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any

import orjson

from core.errors import SpoolFull
from core.record_codec import encode, encode_all
from core.records import Interaction, StoredCompletion
from core.spool import SpoolWriter
from serve.gateway.answer_names import parsed_object
from serve.gateway.answers import LARGEST_ANSWER, Answer, ChoicePieces, read_answer

log = logging.getLogger(__name__)

FSYNC_SECONDS = 0.1
TELL_SECONDS = 10.0
# The largest stream that is stored whole, in characters.
LARGEST_STORED_STREAM = 64 * 1024 * 1024
# The number of a stream's events that are read at once.
READ_TOGETHER = 64


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


class StreamRecorder:
    """Gather every choice's message from the events of a stream, up to a limit in characters.

    Most events are only kept at first and read a group at a time, which costs half of reading each when it comes.
    """

    def __init__(self, limit: int = LARGEST_ANSWER) -> None:
        self.failed = False
        self._usage: dict[str, Any] = {}
        self._pieces = 0
        self._unread: list[bytes] = []
        self._head: dict[str, Any] = {}
        self._choices: dict[int, ChoicePieces] = {}
        self._left = limit

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens that the engine counted, empty before it said so."""
        return self._usage

    @property
    def pieces(self) -> int:
        """The number of choices in all events; engines send about a token in each."""
        self._read()
        return self._pieces

    @property
    def is_cut(self) -> bool:
        """Whether the stream had more than the limit."""
        self._read()
        return self._left < 0

    def answer(self) -> Answer:
        """The answer so far."""
        choices = self._whole()
        return read_answer([choice | {"cut": True} for choice in choices] if self.is_cut else choices)

    @property
    def text(self) -> str:
        """The first choice's text so far."""
        return self.answer().text or ""

    def completion(self) -> dict[str, Any] | None:
        """The completion as a request without `stream` would have given it, or None if it is cut."""
        if self.is_cut:
            log.warning("a stream above the limit is not stored")
            return None
        return self._head | {"object": "chat.completion", "choices": self._whole(), "usage": self.usage or None}

    def take(self, data: bytes) -> bool:
        """Take the data of one server-sent event; return whether it carries nothing but usage."""
        if not data.startswith(b"{"):
            return False
        if b'"usage"' not in data and b'"error"' not in data:
            self.keep(data)
            return False
        self._read()
        return self.take_parsed(parsed_object(data))

    def keep(self, data: bytes) -> None:
        """Take the data of an event that has neither usage nor an error."""
        self._unread.append(data)
        if len(self._unread) >= READ_TOGETHER:
            self._read()

    def take_parsed(self, found: dict[str, Any]) -> bool:
        """Take one event that is parsed already, and leave it as it is; return as `take` does."""
        self._usage = found.get("usage") or self._usage
        self.failed = self.failed or "error" in found
        return not self._add(found) and bool(found.get("usage"))

    def _read(self) -> None:
        """Read the events that were only kept."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        try:
            events = orjson.loads(b"[" + b",".join(unread) + b"]")
        except orjson.JSONDecodeError:
            events = map(parsed_object, unread)  # one of them is no JSON
        for event in events:
            self._add(event)

    def _add(self, event: dict[str, Any]) -> bool:
        """Add one event; return whether it has choices."""
        choices = event.get("choices") or []
        self._pieces += len(choices)
        for choice in choices:
            index = choice.get("index", 0)
            found = self._choices.get(index)
            if found is None:
                found = self._choices[index] = ChoicePieces()
            self._left -= found.add(choice, self._left)
        if not self._head:
            self._head = {name: value for name, value in event.items() if name != "choices"}
        return bool(choices)

    def _whole(self) -> list[dict[str, Any]]:
        self._read()
        return [pieces.choice(index) for index, pieces in sorted(self._choices.items())]
