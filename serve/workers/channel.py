"""How the workers of one gateway ask each other: one line over a Unix socket, and the answer until its end.

The folder of the sockets belongs to the user who runs the gateway, so nobody else can ask.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
# What begins an answer: a result, or why there is none.
RESULT, REASON = b"+", b"-"

Answers = Mapping[str, Callable[[], Awaitable[bytes]]]


class WorkerFailed(Exception):
    """A worker that runs did not do what another requested."""


class WorkerChannel:
    """The channel of one worker. `number` is its own, from 0 to `count` - 1."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self._folder = folder
        self._number = number
        self._count = count
        self._server: asyncio.Server | None = None

    async def open(self, answers: Answers) -> None:
        """Begins to answer the questions of others."""
        path = self._path(self._number)
        path.unlink(missing_ok=True)  # of a worker that was killed

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            question = (await reader.readline()).decode().strip()
            try:
                writer.write(RESULT + await answers[question]())
            except Exception as error:
                log.warning("another worker asked for %s, which failed: %s", question, error)
                writer.write(REASON + str(error).encode())
            finally:
                writer.close()

        self._server = await asyncio.start_unix_server(answer, path)

    def close(self) -> None:
        """Answers no more."""
        if self._server is not None:
            self._server.close()

    def remove(self) -> None:
        """Removes what is left of the channel on disk, and the folder after the last worker."""
        self._path(self._number).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    async def ask(self, question: str, seconds: float = ANSWER_SECONDS) -> dict[int, bytes | WorkerFailed | None]:
        """What each other worker answers, by its number; None for one that does not run at the moment."""
        others = [number for number in range(self._count) if number != self._number]
        found = await asyncio.gather(*(self._ask(number, question, seconds) for number in others))
        return dict(zip(others, found, strict=True))

    async def _ask(self, number: int, question: str, seconds: float) -> bytes | WorkerFailed | None:
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                try:
                    writer.write(f"{question}\n".encode())
                    answer = await reader.read()
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except TimeoutError:
            return WorkerFailed(f"it did not answer in {seconds:.0f} s")
        except OSError:
            return None
        if answer.startswith(REASON):
            return WorkerFailed(answer[1:].decode())
        return answer[1:] if answer else None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number + 1}.sock"
