"""Feedback of users: routes that accept it, ingest, splits and snapshots.

Feedback refers to interactions by id. This package never calls an engine.
"""
