"""Preflight: what an adapter folder must be before an engine is asked to load it.

vLLM accepts NaN, tensors of the wrong shape and adapters that match no module without a word, so all of
that is refused here. It must not load anything into an engine.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from core.basemodel import matrix_shapes
from core.errors import AdapterRefused

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight$")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter folder that passed preflight."""

    path: Path
    sha256: str
    rank: int
    modules: int


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of the two files that make the adapter."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(name.encode() + b"\0" + hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def preflight(folder: Path, *, base: Path, max_rank: int) -> Adapter:
    """Checks an adapter against its base model's weights. Raises AdapterRefused with the reason."""
    config = _config(folder)
    rank = _rank(config, max_rank)
    expected = matrix_shapes(base)
    pairs = _pairs(folder)
    if not pairs:
        raise AdapterRefused("The adapter has no LoRA tensors.", hint="Save it with PEFT's save_pretrained.")
    for module, shapes in pairs.items():
        _check_module(module, shapes, rank, expected)
    return Adapter(folder, folder_hash(folder), rank, len(pairs))


def _config(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not file.is_file() or not (folder / WEIGHTS).is_file():
        raise AdapterRefused(
            f"The adapter folder {folder.name} lacks {CONFIG} or {WEIGHTS}.",
            hint="Only safetensors are accepted; save it with PEFT's save_pretrained.",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterRefused(f"{CONFIG} is not JSON: {error}.") from error
    if not isinstance(config, dict):
        raise AdapterRefused(f"{CONFIG} is not a JSON object.")
    for name, wanted in (("use_dora", False), ("bias", "none"), ("modules_to_save", None)):
        if config.get(name, wanted) not in (wanted, [] if wanted is None else wanted):
            raise AdapterRefused(f"{CONFIG} has {name}={config[name]!r}, which vLLM cannot serve.",
                                 hint=f"Train it with {name}={wanted!r}.")  # fmt: skip
    return config


def _rank(config: dict[str, Any], max_rank: int) -> int:
    rank = config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise AdapterRefused(f"{CONFIG} has no rank r.")
    if rank > max_rank:
        raise AdapterRefused(f"The adapter's rank {rank} is above {max_rank}.",
                             hint="Raise engine.max_lora_rank, or train with a lower rank.")  # fmt: skip
    return rank


def _pairs(folder: Path) -> dict[str, dict[str, tuple[int, ...]]]:
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118 — safe_open is no dictionary
                match = KEY.match(key)
                if not match:
                    raise AdapterRefused(f"{WEIGHTS} holds {key!r}, which is no LoRA tensor.")
                tensor = weights.get_tensor(key)
                if not torch.isfinite(tensor).all():
                    raise AdapterRefused(f"The tensor {key} holds NaN or infinite values.",
                                         hint="The training diverged; lower its learning rate.")  # fmt: skip
                pairs.setdefault(match["module"], {})[match["side"]] = tuple(tensor.shape)
    except SafetensorError as error:
        raise AdapterRefused(f"{WEIGHTS} is no safetensors file: {error}.") from error
    return pairs


def _check_module(module: str, shapes: dict[str, tuple[int, ...]], rank: int,
                  expected: Mapping[str, tuple[int, int]]) -> None:  # fmt: skip
    if module not in expected:
        raise AdapterRefused(f"The base model has no module {module}.", hint="Was it made for another base model?")
    out_features, in_features = expected[module]
    if shapes.get("A") != (rank, in_features) or shapes.get("B") != (out_features, rank):
        raise AdapterRefused(
            f"{module}: A and B are {shapes.get('A')} and {shapes.get('B')}, "
            f"expected {(rank, in_features)} and {(out_features, rank)}.",
            hint="Was it made for another base model?",
        )
