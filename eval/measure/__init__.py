"""Measurements: how each arm answers the held-out items, in labels, text, likelihood and time."""
