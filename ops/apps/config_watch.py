"""Watches a configuration file, and has its process reload when the content changes.

In Kubernetes nobody can send a signal when a mounted file changes. The content counts, not the time: there the file is
a link, which is changed with every object of its folder.
"""

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

SECONDS = 10.0


class ConfigWatch:
    """Whether a file has changed since the last question."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = self._digest()

    def has_changed(self) -> bool:
        """True once for each other content. A file that cannot be read at the moment has not changed."""
        found = self._digest()
        if found is None or found == self._seen:
            return False
        self._seen = found
        return True

    def _digest(self) -> bytes | None:
        try:
            return hashlib.sha256(self._file.read_bytes()).digest()
        except OSError:
            return None


def start(file: Path, seconds: float = SECONDS) -> None:
    """Send this process a SIGHUP after each change of the file.

    The signal is blocked from here on, so that it waits until the process can reload. `http_server.serve` and the
    supervisor of workers take it then.
    """
    watch = ConfigWatch(file)
    # Before the thread starts, which keeps it blocked: the signal is for the main thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

    def look() -> None:
        while True:
            time.sleep(seconds)
            if watch.has_changed():
                os.kill(os.getpid(), signal.SIGHUP)

    threading.Thread(target=look, name="config-watch", daemon=True).start()
