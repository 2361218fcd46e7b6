"""Commands about notifications: the state of each target, and a test.

Control sends; the targets' URLs stay with it.
"""

from core.errors import LoraLoopError, NotReady
from ops.cli.control_choice import client_of
from ops.cli.output_format import AsData
from ops.cli.terminal import DEFAULT_CONFIG, ConfigOption, show

NONE = "No targets. Put URLs into LORALOOP_NOTIFY_URLS or notifications.urls_file and restart control."


def status(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Show the last row of the ledger that each target received."""
    rows = client_of(config).get("/api/notifications")
    columns = {
        "target": "target",
        "seq": "sent up to row",
        "told": "sent (UTC)",
        "behind": "rows behind",
        "refusals": "refused",
    }
    show(rows, as_data, columns, NONE)


def send_test(config: ConfigOption = DEFAULT_CONFIG, as_data: AsData = False) -> None:
    """Send every target a message that says it is a test; exit code 1 if one does not take it."""
    rows = client_of(config).post("/api/notifications/test", {})
    if not rows:
        raise NotReady("There is nobody to notify.", hint=NONE.removeprefix("No targets. "))
    show(rows, as_data, {"target": "target", "taken": "taken"}, NONE)
    refused = [row["target"] for row in rows if not row["taken"]]
    if refused:
        raise LoraLoopError(
            f"Not taken by {', '.join(refused)}.", hint="Check its URL, and whether control's machine can reach it."
        )
