"""Work that one thread of control does in the background, when there is some."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class BackgroundWork:
    """A thread that calls `work` after each `ask`, until it is stopped.

    `work` returns whether something is left for later. Then, and after an error, it is called again after
    `retry_seconds`.
    """

    def __init__(self, name: str, work: Callable[[], bool], retry_seconds: float) -> None:
        self.stopped = threading.Event()
        self._work = work
        self._retry_seconds = retry_seconds
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread. It works at once, on what a stopped control left."""
        self._wanted.set()
        self._thread.start()

    def ask(self) -> None:
        """Have the work done soon."""
        self._wanted.set()

    def stop(self) -> None:
        """End after the step that is under way. `work` checks `stopped` between its steps."""
        self.stopped.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        waits = False
        while not self.stopped.is_set():
            self._wanted.wait(self._retry_seconds if waits else None)
            self._wanted.clear()
            try:
                waits = not self.stopped.is_set() and self._work()
            except Exception:
                log.exception("%s broke off and is tried again", self._thread.name)
                waits = True
