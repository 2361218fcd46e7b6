"""Following a run to its end, with a bar for each of its phases.

It owns when a run counts as ended: also when it waits for a person, or for users in a canary, hours long.
"""

import time
from collections.abc import Collection
from typing import Any

from ops.cli.terminal import count_bar, err, tell
from ops.client import ControlClient

POLL_SECONDS = 1.0
# Seconds between two lines where there is no terminal for a bar.
TELL_SECONDS = 30.0
ENDED = ("finished", "failed", "skipped", "cancelled", "paused", "awaiting_approval", "canary")


def follow(client: ControlClient, model: str, before: Collection[str]) -> dict[str, Any]:
    """Waits for the model's run that is not among those before, and returns it whole once it has ended."""
    told = 0.0
    with count_bar("queued", None) as progress:
        while True:
            run = next((run for run in client.get("/api/runs", model=model) if run["id"] not in before), None)
            if run and run["state"] in ENDED:
                return dict(client.get(f"/api/runs/{run['id']}"))
            if run:
                step = run["progress"] or {"phase": run["state"], "done": 0, "total": None, "text": run["state"]}
                progress(step["phase"], step["done"], step["total"], step["text"])
                if not err.is_terminal and time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    tell(f"{run['id']}: {step['text']}")
            time.sleep(POLL_SECONDS)
