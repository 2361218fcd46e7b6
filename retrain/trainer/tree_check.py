"""Check at the start whether a base model can take prefix trees: the same logits as each row has alone."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.scoring import tree_logits

ROWS = 4
MOST_TOKENS = 2048
# Largest distance of the logits, as a share of their own spread. bfloat16 alone makes some 0.02; a token that sees
# another row changes the logits by their own size.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.1}


def reason_against_trees(model: nn.Module, sequences: Sequence[TokenSequence]) -> str | None:
    """Return why this model must compute these rows padded, or None where it computes them right in a tree."""
    longest = max(len(sequence.tokens) for sequence in sequences)
    window = sliding_window(model)
    if window is not None and longest > window:
        return f"rows have up to {longest} tokens; the model's sliding window has {window}"
    some = _some(sequences)
    try:
        distance = logits_distance(model, some)
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        return f"the model refuses a tree: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}"
    dtype = next(model.parameters()).dtype
    if not distance <= TOLERANCE.get(dtype, 0.1):
        return f"logits over a tree differ from those of rows alone by {distance:.2f} of their spread"
    return None


def sliding_window(model: nn.Module) -> int | None:
    """Return the number of tokens that the model's shortest attention reaches back, or None if it reaches all."""
    config: Any = model.config
    config = config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and not any("full" not in kind for kind in kinds):
        return None
    return window


@torch.no_grad()
def logits_distance(model: nn.Module, sequences: Sequence[TokenSequence]) -> float:
    """Return the distance of logits over a tree from those of each sequence alone, as a share of their spread."""
    logits, reads, _, owners = tree_logits(model, sequences)
    device, distance, spread = logits.device, 0.0, 0.0
    for number, sequence in enumerate(sequences):
        tokens = torch.tensor([sequence.tokens[:-1]], device=device)
        alone = model(input_ids=tokens, use_cache=False).logits[0, len(sequence.prompt) - 1 :].float()
        ours = logits[reads[owners == number]].float()
        distance += float((ours - alone).square().sum())
        spread += float((alone - alone.mean(dim=-1, keepdim=True)).square().sum())
    return (distance / spread) ** 0.5


def _some(sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
    """Return a few different sequences, short enough to be computed alone."""
    different = list(dict.fromkeys(sequences))
    short = [sequence for sequence in different if len(sequence.tokens) <= MOST_TOKENS]
    return (short or different)[:ROWS]
