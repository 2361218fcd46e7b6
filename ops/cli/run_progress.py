"""Following a run to its end, with a bar for each of its phases.

It owns when a run counts as ended: also when it waits for a person, or for users in a canary, hours long.
"""

import time
from typing import Any

from ops.cli.terminal import count_bar, err, tell
from ops.client import ControlClient
from retrain.run_states import is_working

POLL_SECONDS = 1.0
# Seconds between two lines where there is no terminal for a bar.
TELL_SECONDS = 30.0


def follow(client: ControlClient, identity: str) -> dict[str, Any]:
    """Wait until a run ends, pauses, or waits for users or a person, and return it."""
    told = 0.0
    with count_bar("queued", None) as progress:
        while True:
            run = dict(client.get(f"/api/runs/{identity}"))
            if not is_working(run["state"]):
                return run
            step = run["progress"] or {"phase": run["state"], "done": 0, "total": None, "text": run["state"]}
            progress(step["phase"], step["done"], step["total"], step["text"])
            if not err.is_terminal and time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                tell(f"{identity}: {step['text']}")
            time.sleep(POLL_SECONDS)
