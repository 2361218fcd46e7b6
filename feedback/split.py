"""Assign each user to a bucket: train, dev or one of the holdouts.

A user's bucket never changes. core/db/curation.sql computes the same buckets for many users at once.
"""

import hashlib

HOLDOUTS = ("h1", "h2", "h3", "h4")


def split_key(user: str) -> str:
    """The key of a user in buckets, rows and holdouts. It has no API key, so that a user has one bucket."""
    return f"user:{user}"


def bucket_of(key: str, *, train: float, dev: float) -> str:
    """`train`, `dev`, or one of h1 to h4, by a hash of the key in [0, 1)."""
    place = int.from_bytes(hashlib.sha256(f"split\n{key}".encode()).digest()[:7], "big") / (1 << 56)
    if place < train:
        return "train"
    if place < train + dev:
        return "dev"
    rest = (place - train - dev) / (1 - train - dev)
    return HOLDOUTS[min(int(rest * len(HOLDOUTS)), len(HOLDOUTS) - 1)]


def places_of(bucket: str, *, train: float, dev: float) -> tuple[float, float]:
    """The hashes of a bucket's users: from this one to below that one."""
    size = (1 - train - dev) / len(HOLDOUTS)
    match bucket:
        case "train":
            return 0.0, train
        case "dev":
            return train, train + dev
        case _:
            first = train + dev + HOLDOUTS.index(bucket) * size
            return first, 1.0 if bucket == HOLDOUTS[-1] else first + size
