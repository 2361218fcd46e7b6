"""Adapter folders of the tiny base, and what every refusal has to say."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.errors import AdapterRefused
from serve.adapters.config import CONFIG
from serve.adapters.preflight import WEIGHTS, preflight

Tensors = dict[str, torch.Tensor]
Q = "model.layers.0.self_attn.q_proj"
A, B = (f"base_model.model.{Q}.lora_{side}.weight" for side in "AB")
PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "tiny",
}


def pair(module: str = Q, rank: int = 4, shapes: tuple[int, int] = (64, 64)) -> Tensors:
    root = f"base_model.model.{module}"
    return {
        f"{root}.lora_A.weight": torch.full((rank, shapes[1]), 0.5),
        f"{root}.lora_B.weight": torch.full((shapes[0], rank), 0.5),
    }


def written(folder: Path, config: Any = PLAIN, tensors: Tensors | bytes | None = None) -> Path:
    text = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / CONFIG).write_bytes(text)
    if isinstance(tensors, bytes):
        (folder / WEIGHTS).write_bytes(tensors)
    else:
        save_file(pair() if tensors is None else tensors, folder / WEIGHTS)
    return folder


def refusal(folder: Path, base: Path) -> str:
    with pytest.raises(AdapterRefused) as caught:
        preflight(folder, base=base, max_rank=16)
    check_sentence(caught.value)
    return str(caught.value)


def check_sentence(refused: AdapterRefused) -> None:
    """A reason and a fix, fit for a log."""
    assert refused.hint
    assert str(refused).isprintable()
    assert len(str(refused)) < 600
