"""The arithmetic y += (x @ A) @ B * scale, each row with the weights of its own slot alone.

It must not know of vLLM: it takes tensors, a step's plan and a layer's weights.

Rows without an adapter are neither read nor written. A product of all slots with a mask would be
fewer operations, but it turns -0.0 into 0.0, and one adapter's NaN reaches every row of the batch.
"""

import torch

from serve.cpu_lora.grouping import Plan, Span, Stack
from serve.cpu_lora.kernel import add_rows
from serve.cpu_lora.weights import BITS, LayerWeights


def add_products(y: torch.Tensor, x: torch.Tensor, weights: LayerWeights, plan: Plan, scale: float) -> None:
    """Add every planned row's adapter to `y`, in place.

    Args:
        y: [rows, columns or more], any float type; columns past the adapter's are padding.
        x: [rows, width].
        weights: of the layer.
        plan: of the step.
        scale: factor of the whole product.

    Raises:
        ValueError: the plan is of another step. The compiled loop would leave the tensors' memory.
    """
    if not y.size(0) == x.size(0) == plan.rows:
        raise ValueError(f"a plan of {plan.rows} rows was given {x.size(0)} in and {y.size(0)} out")
    few = plan.few
    if (
        few is not None
        and weights.arrays is not None
        and y.dtype == x.dtype == weights.dtype
        and y.is_contiguous()
        and x.is_contiguous()
    ):
        bits = BITS[weights.dtype]
        a, b, offsets = weights.arrays
        y_array, x_array = y.view(bits).numpy(), x.view(bits).numpy()
        add_rows(y_array, x_array, a, b, few.slots, few.starts, few.rows, offsets, scale)
        return
    if x.dtype != weights.dtype:
        x = x.to(weights.dtype)
    if y.size(1) != weights.columns:
        y = y[:, : weights.columns]
    for block in plan.blocks:
        if isinstance(block, Span):
            _add_span(y, x, weights, block, scale)
        else:
            _add_stack(y, x, weights, block, scale)


def _add_span(y: torch.Tensor, x: torch.Tensor, weights: LayerWeights, span: Span, scale: float) -> None:
    if span.stop - span.start != x.size(0):
        x = x[span.start : span.stop]
        y = y[span.start : span.stop]
    hidden = torch.mm(x, weights.shrink_of[span.slot])
    expand = weights.expand_of[span.slot]
    if len(expand) == 1:
        _add_product(y, hidden, expand[0], scale)
        return
    targets = y.split_with_sizes(weights.sizes, 1)
    for target, part, matrix in zip(targets, hidden.split(weights.rank, 1), expand, strict=True):
        _add_product(target, part, matrix, scale)


def _add_product(y: torch.Tensor, hidden: torch.Tensor, matrix: torch.Tensor, scale: float) -> None:
    if y.dtype == hidden.dtype:
        y.addmm_(hidden, matrix, alpha=scale)
    else:
        y.add_(torch.mm(hidden, matrix), alpha=scale)


def _add_stack(y: torch.Tensor, x: torch.Tensor, weights: LayerWeights, stack: Stack, scale: float) -> None:
    shrink, expand = weights.neighbours(stack.first, stack.count)
    gathered = x.index_select(0, stack.padded).view(stack.count, stack.depth, -1)
    hidden = torch.bmm(gathered, shrink)
    if len(expand) == 1:
        delta = torch.bmm(hidden, expand[0])
    else:
        delta = hidden.new_empty((stack.count, stack.depth, weights.columns))
        targets = delta.split_with_sizes(weights.sizes, 2)
        for target, part, matrix in zip(targets, hidden.split(weights.rank, 2), expand, strict=True):
            torch.bmm(part, matrix, out=target)
    results = delta.view(-1, weights.columns).index_select(0, stack.positions)
    if stack.rows is None:
        y.add_(results, alpha=scale)
    else:
        y.index_add_(0, stack.rows, results.to(y.dtype), alpha=scale)
