"""A linear layer with LoRA as one function: base and adapter in the model's dtype, the adapter's weights in float32.

PEFT's own layer casts activations to float32 and back around each of the adapter's two products. On a CPU these casts
and float32 products take a third of a training step.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn


class _LoraProduct(torch.autograd.Function):
    """x·Wᵀ + bias + scaling · (x·Aᵀ)·Bᵀ, with gradients of x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        down, up = a.to(x.dtype), (b * scaling).to(x.dtype)
        inner = rows @ down.T
        outputs = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        outputs.addmm_(inner, up.T)
        ctx.save_for_backward(rows, inner, weight, down, up)
        ctx.scaling = scaling
        return outputs.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        rows, inner, weight, down, up = ctx.saved_tensors
        (grad,) = grads
        outer = grad.reshape(-1, grad.shape[-1])
        of_inner = outer @ up
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (outer @ weight).addmm_(of_inner, down).view(*grad.shape[:-1], -1)
        of_a = (of_inner.T @ rows).float()
        of_b = (outer.T @ inner).float() * ctx.scaling
        return of_x, None, None, of_a, of_b, None


def speed_up(model: nn.Module) -> int:
    """Replace the forward of every plain LoRA layer of a PEFT model. Return their number; others stay as they are."""
    count = 0
    for module in model.modules():
        if isinstance(module, LoraLinear) and _is_plain(module):
            module.forward = _forward_of(module)
            count += 1
    return count


def _is_plain(layer: LoraLinear) -> bool:
    names = layer.active_adapters
    if len(names) != 1 or type(layer.base_layer) is not nn.Linear or layer.lora_variant:
        return False
    plain = not layer.lora_bias[names[0]] and isinstance(layer.lora_dropout[names[0]], nn.Identity)
    return plain and not layer.use_dora[names[0]]


def _forward_of(layer: LoraLinear) -> Any:
    (name,) = layer.active_adapters
    base, down, up = layer.base_layer, layer.lora_A[name], layer.lora_B[name]
    scaling = layer.scaling[name]

    def forward(x: Tensor) -> Tensor:
        if layer.disable_adapters:
            return base(x)
        return _LoraProduct.apply(x, base.weight, base.bias, down.weight, up.weight, scaling)  # type: ignore

    return forward
