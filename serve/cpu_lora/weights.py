"""The adapter weights of one layer as few large matrices that share memory with vLLM's slot tensors."""

from collections.abc import Sequence

import numpy as np
import torch

BITS = {torch.bfloat16: torch.uint16, torch.float32: torch.float32}
"""The types that numpy, and so the compiled loop, can be given, and as what."""


def _share(parts: Sequence[torch.Tensor], views: Sequence[torch.Tensor]) -> None:
    """Move vLLM's slot tensors into the memory of `views`, freeing their own.

    From then on a slot that vLLM sets or clears is set or cleared here too, with no word to anybody.
    """
    for part, view in zip(parts, views, strict=True):
        view.copy_(part)
        part.set_(view.untyped_storage(), view.storage_offset(), view.shape, view.stride())


class LayerWeights:
    """Views of one layer's slots, ready as right-hand sides: x @ shrink @ expand.

    Attributes:
        shrink: [slots, width, n * rank].
        expand: for each slice [slots, rank, size].
        shrink_of, expand_of: the same, slot by slot, since making a view costs a microsecond.
        sizes: the columns of each slice; `columns` is their sum.
        arrays: A [slots, n * rank, width], B [slots, rank, columns] and the slices' offsets for
            the compiled loop, or None if it does not take their type.
    """

    def __init__(self, a_stacked: Sequence[torch.Tensor], b_stacked: Sequence[torch.Tensor]) -> None:
        """Take vLLM's A [slots, 1, rank, width] and B [slots, 1, size, rank] of each slice."""
        # Holding vLLM's tensors keeps the id() of their tuple from being used again.
        self._held = a_stacked, b_stacked
        slots, _, self.rank, width = a_stacked[0].shape
        self.dtype = a_stacked[0].dtype
        self.sizes = [part.size(2) for part in b_stacked]
        self.columns = sum(self.sizes)
        # Memory made in inference mode could not be written to by a later load outside of it.
        with torch.inference_mode(False), torch.no_grad():
            a = torch.empty(slots, len(a_stacked) * self.rank, width, dtype=self.dtype)
            b = torch.empty(slots, self.rank, self.columns, dtype=self.dtype)
            _share(a_stacked, [part.unsqueeze(1) for part in a.split(self.rank, 1)])
            _share(b_stacked, [part.mT.unsqueeze(1) for part in b.split(self.sizes, 2)])
        self.shrink = a.mT
        self.expand = b.split(self.sizes, 2)
        self.shrink_of = self.shrink.unbind(0)
        self.expand_of = tuple(zip(*(part.unbind(0) for part in self.expand), strict=True))
        self.arrays: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        if self.dtype in BITS:
            bits = BITS[self.dtype]
            offsets = np.cumsum([0, *self.sizes])
            self.arrays = a.view(bits).numpy(), b.view(bits).numpy(), offsets
        self._neighbours: dict[tuple[int, int], tuple[torch.Tensor, list[torch.Tensor]]] = {}

    def neighbours(self, first: int, count: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Views of `shrink` and of each `expand` for slots `first` to `first + count`."""
        views = self._neighbours.get((first, count))
        if views is None:
            views = (
                self.shrink[first : first + count],
                [part[first : first + count] for part in self.expand],
            )
            self._neighbours[first, count] = views
        return views
