"""Replace vLLM's CPU LoRA operations: the class that the patched platform names to vLLM."""

from collections.abc import Iterator
from typing import Any

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from serve.cpu_lora.grouping import Plan, group
from serve.cpu_lora.products import add_products
from serve.cpu_lora.weights import LayerWeights


class GroupedPunicaWrapper(PunicaWrapperCPU):
    """Each row meets the weights of its own slot, and a row without an adapter meets none.

    Shapes are vLLM's: A [slots, 1, rank, width], B [slots, 1, size, rank], one pair for each slice
    of a packed layer (q, k, v; gate, up). `apply_lora_full_linear`, a classification head's whole
    weights, stays stock: it chooses rows with `torch.where`, and -1 is safe there.
    """

    def __init__(
        self,
        max_num_batched_tokens: int,
        max_batches: int,
        device: torch.device | str,
        **kwargs: Any,
    ) -> None:
        super().__init__(max_num_batched_tokens, max_batches, device, **kwargs)
        self._token_plan: Plan = Plan()
        self._prompt_plan: Plan = Plan()
        self._layers: dict[int, LayerWeights] = {}

    def update_metadata(
        self,
        mapping: LoRAMapping,
        lora_index_to_id: list[int | None],
        max_loras: int,
        vocab_size: int,
        **kwargs: Any,
    ) -> None:
        """Plan a step once for all its layers; vLLM calls this when mapping or slots change."""
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size, **kwargs)
        self._token_plan = group(self.token_lora_indices)
        self._prompt_plan = group(self.sampler_indices)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """y [rows, sum of sizes] += x [rows, width] @ A @ B * scale; `buffer` is not needed."""
        if self._token_plan:
            weights = self._layers.get(id(lora_a_stacked))
            if weights is None:
                weights = LayerWeights(lora_a_stacked, lora_b_stacked)
                self._layers[id(lora_a_stacked)] = weights
            add_products(y, x, weights, self._token_plan, scale)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """The same for rows of logits: y [rows, vocabulary and padding], x [rows, width]."""
        plan = self._logits_plan(x)
        if plan:
            weights = self._layers.get(id(lora_a_stacked))
            if weights is None:
                weights = LayerWeights((lora_a_stacked,), (lora_b_stacked,))
                self._layers[id(lora_a_stacked)] = weights
            add_products(y, x, weights, plan, scale)

    def _logits_plan(self, x: torch.Tensor) -> Plan:
        """Return the plan of the rows that need logits.

        They are the sampled rows, which vLLM gathers into a tensor of their own, but for a prompt's
        log-probabilities a slice of the step's tokens. vLLM does not say which, and its own mapping
        then fits only by chance, so the position of the slice in memory identifies the tokens.
        """
        rows = x.size(0)
        if rows == self._prompt_plan.rows and x.untyped_storage().nbytes() == x.nbytes:
            return self._prompt_plan
        if not self._token_plan:
            return Plan()
        first = int(x.storage_offset()) // x.stride(0)
        return group(self.token_lora_indices[first : first + rows])

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        """y [rows, width] += x [rows, rank] @ B, x being the looked-up rows of A."""
        self.add_expand(y, (x,), (lora_b_stacked,), (lora_b_stacked.size(2),), 0, add_inputs)

    def add_shrink(
        self,
        y: tuple[torch.Tensor, ...] | torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        scale: float,
        **kwargs: Any,
    ) -> None:
        """y[i] [rows, rank] = x @ A[i] * scale, for fully sharded adapters; y comes zeroed."""
        for slot, rows in self._rows_by_slot():
            part = x.index_select(0, rows)
            for target, matrix in zip(y, lora_a_stacked, strict=True):
                product = torch.mm(part.to(matrix.dtype), matrix[slot, 0].t()) * scale
                target.index_copy_(0, rows, product.to(target.dtype))

    def add_expand(
        self,
        y: torch.Tensor,
        x: tuple[torch.Tensor, ...] | torch.Tensor,
        lora_b_stacked: tuple[torch.Tensor, ...],
        output_slices: tuple[int, ...],
        offset_start: int = 0,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        """y [rows, ...] += x[i] [rows, rank] @ B[i], slice after slice from `offset_start`."""
        targets = y[:, offset_start : offset_start + sum(output_slices)]
        if not add_inputs:
            targets.zero_()
        for slot, rows in self._rows_by_slot():
            pieces = zip(targets.split(output_slices, 1), x, lora_b_stacked, strict=True)
            for target, hidden, matrix in pieces:
                part = hidden.index_select(0, rows).to(matrix.dtype)
                product = torch.mm(part, matrix[slot, 0].t())
                target.index_add_(0, rows, product.to(y.dtype))

    def _rows_by_slot(self) -> Iterator[tuple[int, torch.Tensor]]:
        """The slots in use with their rows; not planned, for no common layer asks for it."""
        slots = self.token_lora_indices
        for slot in slots.unique().tolist():
            if slot >= 0:
                yield slot, (slots == slot).nonzero()[:, 0]
