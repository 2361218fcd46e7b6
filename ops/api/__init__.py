"""The ops API: one router per subject."""
