"""Answers of the base model to general prompts: drawn once, by the model with its adapter off, and kept in a file.

Later trainings read them, and one that continues too, so that it gives the same adapter.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from core.durable_file import replace_content
from core.model_folder import fingerprint
from core.prompts import Chat, Text
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.rendering import Renderer

# Answers are cut at this number of tokens.
MOST_TOKENS = 24
# Prompts that are answered at a time. Their keys and values take memory.
BATCH = 24
SEED = 0
# For a base model without a chat template.
PLAIN = "Question: {}\nAnswer:"


def prompt_tokens(renderer: Renderer, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the tokens of each instruction, as a request for an answer has them."""
    found = []
    for text in texts:
        tokens = renderer.prompt(Chat((("user", text),))) or renderer.prompt(Text(PLAIN.format(text)))
        assert tokens, "a text has tokens"
        found.append(tokens)
    return found


def base_answers(
    model: Any, renderer: Renderer, texts: Sequence[str], *, base: Path, file: Path
) -> list[TokenSequence]:
    """Return what the base model answers to general instructions: from the file, or drawn and written to it.

    `base` is the model's folder. Answers of another model are replaced. The prompts are kept as they were rendered
    then: some templates write today's date.
    """
    ends = renderer.ends
    drawn_by = [fingerprint(base), str(model.dtype), ends, list(texts), MOST_TOKENS, BATCH, SEED]
    identity = hashlib.sha256(json.dumps(drawn_by).encode()).hexdigest()
    known = _read(file, identity)
    if known is None:
        known = draw_answers(model, prompt_tokens(renderer, texts), ends)
        _write(file, identity, known)
    return known


@torch.no_grad()
def draw_answers(model: Any, prompts: Sequence[tuple[int, ...]], ends: Sequence[int]) -> list[TokenSequence]:
    """Draw an answer to each prompt from the base model, at temperature 1, with a seed of its own.

    An answer ends with one of `ends`, or after MOST_TOKENS tokens.
    """
    base, found = model.get_base_model(), []
    pad = ends[0] if ends else 0
    config = GenerationConfig(
        do_sample=True, top_k=0, max_new_tokens=MOST_TOKENS, eos_token_id=list(ends) or None, pad_token_id=pad
    )
    # The folder's own settings of generation would replace those that have no value here.
    kept, base.generation_config = base.generation_config, config
    try:
        with model.disable_adapter(), torch.random.fork_rng():
            torch.manual_seed(SEED)
            for first in range(0, len(prompts), BATCH):
                some = prompts[first : first + BATCH]
                longest = max(len(prompt) for prompt in some)
                padding = [longest - len(prompt) for prompt in some]
                tokens = torch.tensor([[pad] * left + list(one) for left, one in zip(padding, some, strict=True)])
                mask = torch.tensor([[0] * left + [1] * (longest - left) for left in padding])
                drawn = base.generate(input_ids=tokens.to(model.device), attention_mask=mask.to(model.device))
                answers = [until_end(answer, ends) for answer in drawn[:, longest:].tolist()]
                found += [TokenSequence(one, answer) for one, answer in zip(some, answers, strict=True)]
    finally:
        base.generation_config = kept
    return found


def until_end(answer: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """Return an answer up to its first end, which is a part of it."""
    places = [place for place, token in enumerate(answer) if token in ends]
    return tuple(answer[: places[0] + 1] if places else answer)


def _read(file: Path, identity: str) -> list[TokenSequence] | None:
    """Return the answers of a file, None without one for these prompts, and if it is damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["identity"] != identity:
            return None
        return [TokenSequence(tuple(one["prompt"]), tuple(one["answer"])) for one in found["answers"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, identity: str, answers: Sequence[TokenSequence]) -> None:
    """Write the file. It is complete after a power cut, or not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"identity": identity, "answers": [asdict(one) for one in answers]})
    replace_content(file, content.encode(), scratch=file.with_suffix(f".{os.getpid()}.part"))
