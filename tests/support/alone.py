"""The scheduler's queue of work that no run overlaps, without a thread."""

from collections.abc import Callable
from concurrent.futures import Future


def at_once(work: Callable[[], None]) -> Future[None]:
    """Do the work now."""
    done: Future[None] = Future()
    try:
        work()
    except Exception as error:
        done.set_exception(error)
    else:
        done.set_result(None)
    return done
