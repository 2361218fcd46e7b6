"""Two threads that do the same thing at once."""

import threading
from collections.abc import Callable

from core.errors import LoraLoopError


def twice_at_once(act: Callable[[], object]) -> list[LoraLoopError]:
    """Run an act in two threads at once, and return the errors of ours that they raised."""
    failed, together = list[LoraLoopError](), threading.Barrier(2)

    def run() -> None:
        together.wait()
        try:
            act()
        except LoraLoopError as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed
