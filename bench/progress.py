"""Progress of benchmarks: one line at a time on stderr, so that the last line of stdout stays the result.

It must not know what is measured.
"""

import sys
import time


def say(text: str) -> None:
    """Writes a line with the time of day."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
