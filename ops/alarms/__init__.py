"""Alarms: conditions over measured state, when they begin and end, and who is notified."""
