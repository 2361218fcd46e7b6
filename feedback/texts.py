"""Texts with their hashes. A text is made when it is read, because of most texts only the hash is needed."""

import hashlib
from collections.abc import Callable, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


class Texts(Sequence[str]):
    """n texts, with their 64-bit hashes (n,). `read` makes the text of a place."""

    def __init__(self, read: Callable[[int], str], hashes: Hashes) -> None:
        self._read = read
        self.hashes = hashes

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Texts":
        """Texts that are known already."""
        if isinstance(texts, cls):
            return texts
        return cls(lambda place: texts[place], np.array([hash_of(text) for text in texts], np.uint64))

    def __len__(self) -> int:
        return len(self.hashes)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self._read(one) for one in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._read(int(place))


def hash_of(text: str) -> int:
    """The 64-bit hash of a text, of its SHA-1."""
    digest = hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "little")
