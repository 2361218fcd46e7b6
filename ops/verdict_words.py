"""Verdicts as people read them, in notifications, on pages and in the terminal."""

VERDICT_WORDS = {
    "promoted": "Promoted",
    "kept": "Champion kept",
    "rolled_back": "Rolled back",
    "inconclusive": "Inconclusive, champion kept",
    "awaiting_approval": "Waits for approval",
    "rejected": "Rejected",
    "skipped": "Skipped",
    "failed": "Failed",
    "canary_started": "Canary started",
    "switched": "Switched",
    "imported": "Imported, not in service",
    "confirmed": "Confirmed after its holdback",
    "withdrawn": "Withdrawn",
    "released": "Votes released from quarantine",
    "discarded": "Quarantined votes permanently left out",
    "quarantined": "Votes held in quarantine",
    "restored": "Restored from a backup",
    "erased": "A user was erased",
    "cancelled": "Run cancelled",
}
