"""Progress of benchmarks: lines on stderr, so that the last line of stdout is the result."""

import sys
import time


def say(text: str) -> None:
    """Writes a line with the time of day."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
