"""Score answers: the sum of log-probabilities of each answer's tokens, over a prefix tree or over padded rows."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retrain.trainer.prefix_tree import TokenSequence, build_tree, visible_nodes

Score = Callable[[nn.Module, Sequence[TokenSequence]], Tensor]
# Logits that are float32 at a time, so that a large vocabulary does not need all of them at once.
CHUNK = 256


class _TokenLogprobs(torch.autograd.Function):
    """log p of `targets` (m,) under the logits (k, vocabulary) at `reads` (m,). It keeps the logits as they came."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, reads: Tensor, targets: Tensor) -> Tensor:
        normalisers = torch.cat([part.float().logsumexp(dim=-1) for part in logits.split(CHUNK)])
        ctx.save_for_backward(logits, reads, targets, normalisers)
        return logits[reads, targets].float() - normalisers[reads]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, reads, targets, normalisers = ctx.saved_tensors
        (grad,) = grads
        of_source = torch.zeros_like(normalisers).index_add_(0, reads, grad)
        found = torch.empty_like(logits)
        for first in range(0, len(logits), CHUNK):
            part = slice(first, first + CHUNK)
            of_part = (logits[part].float() - normalisers[part, None]).exp_().mul_(-of_source[part, None])
            here = (reads >= first) & (reads < first + CHUNK)
            places = (reads[here] - first) * logits.shape[1] + targets[here]
            of_part.view(-1).index_add_(0, places, grad[here])
            found[part] = of_part
        return found, None, None


def token_logprobs(logits: Tensor, reads: Tensor, targets: Tensor) -> Tensor:
    """Return log p (m,), in float32, of tokens under the logits that each one reads."""
    return _TokenLogprobs.apply(logits, reads, targets)  # type: ignore[no-any-return]


def tree_logits(model: nn.Module, sequences: Sequence[TokenSequence]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits (k, vocabulary) at the nodes before answer tokens, and each token's place, id and sequence."""
    device, dtype = _kind(model)
    tree = build_tree(sequences)
    visible = torch.from_numpy(visible_nodes(tree.parents)).to(device)
    mask = torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, torch.finfo(dtype).min)
    logits = model(
        input_ids=torch.from_numpy(tree.tokens).to(device)[None],
        position_ids=torch.from_numpy(tree.depths).to(device)[None],
        attention_mask=mask[None, None],
        logits_to_keep=torch.from_numpy(tree.sources).to(device),
        use_cache=False,
    ).logits[0]
    reads, targets, owners = (torch.from_numpy(part).to(device) for part in (tree.reads, tree.targets, tree.owners))
    return logits, reads, targets, owners


def score_tree(model: nn.Module, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return Σ log p (n,) of each answer, from one pass over the tree of all sequences."""
    logits, reads, targets, owners = tree_logits(model, sequences)
    sums = torch.zeros(len(sequences), dtype=torch.float32, device=logits.device)
    return sums.index_add(0, owners, token_logprobs(logits, reads, targets))


def score_padded(model: nn.Module, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return Σ log p (n,) of each answer, from one pass over rows that are padded on the right.

    Any causal model can do this: what is behind a token does not change it.
    """
    logits, reads = _padded_logits(model, sequences)
    sums = []
    for of_row, sequence, places in zip(logits, sequences, reads, strict=True):
        sums.append(token_logprobs(of_row, places, torch.tensor(sequence.answer, device=logits.device)).sum())
    return torch.stack(sums)


def answer_logits(model: nn.Module, sequences: Sequence[TokenSequence]) -> Tensor:
    """Return the logits (m, vocabulary) of all answer tokens, one answer after the other, from padded rows."""
    logits, reads = _padded_logits(model, sequences)
    return torch.cat([of_row[places] for of_row, places in zip(logits, reads, strict=True)])


def _padded_logits(model: nn.Module, sequences: Sequence[TokenSequence]) -> tuple[Tensor, list[Tensor]]:
    """Return logits (n, k, vocabulary) at k positions, and the places in k that each answer's tokens read."""
    device, _ = _kind(model)
    rows = [sequence.tokens[:-1] for sequence in sequences]
    longest = max(len(row) for row in rows)
    # The first token of a row pads it. It is masked, and no answer reads behind its own row.
    tokens = torch.tensor([[*row, *row[:1] * (longest - len(row))] for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    spans = [range(len(sequence.prompt) - 1, len(sequence.tokens) - 1) for sequence in sequences]
    kept = sorted(set().union(*spans))
    places = {position: place for place, position in enumerate(kept)}
    logits = model(
        input_ids=tokens, attention_mask=mask, logits_to_keep=torch.tensor(kept, device=device), use_cache=False
    ).logits
    return logits, [torch.tensor([places[position] for position in span], device=device) for span in spans]


def _kind(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device and the dtype in which the model computes."""
    weights: Any = model.get_input_embeddings().weight  # type: ignore[operator]
    return weights.device, weights.dtype
