"""Notice a request to pause: the signal SIGTERM, after which a training saves a checkpoint and ends."""

import signal
import threading
from types import FrameType
from typing import Any, Self

# The trainer's exit code after a pause.
EXIT_CODE = 4


class PauseRequest:
    """A context in which SIGTERM only sets `asked`. Outside the main thread, Python cannot handle a signal."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, _: int, __: FrameType | None) -> None:
        self.asked = True
