"""Assign each user to a bucket: train, dev or one of the holdouts.

A user's bucket never changes.
"""

import hashlib

HOLDOUTS = ("h1", "h2", "h3", "h4")


def split_key(user: str | None, conversation: str | None, interaction: str) -> str:
    """What is kept together: everything of a user, else of a conversation, else the interaction alone."""
    if user:
        return f"user:{user}"
    return f"conversation:{conversation}" if conversation else f"interaction:{interaction}"


def bucket_of(key: str, *, train: float, dev: float) -> str:
    """`train`, `dev`, or one of h1 to h4, by a hash of the key in [0, 1)."""
    place = int.from_bytes(hashlib.sha256(f"split\n{key}".encode()).digest()[:7], "big") / (1 << 56)
    if place < train:
        return "train"
    if place < train + dev:
        return "dev"
    rest = (place - train - dev) / (1 - train - dev)
    return HOLDOUTS[min(int(rest * len(HOLDOUTS)), len(HOLDOUTS) - 1)]
