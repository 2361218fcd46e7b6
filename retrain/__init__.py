"""Runs: when one starts, how its adapter is trained, and how it becomes a candidate."""
