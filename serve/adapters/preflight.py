"""Preflight: the conditions that an adapter folder must meet before an engine loads it.

vLLM silently accepts NaN, tensors of the wrong shape and adapters that match no module. All of these are rejected here.
At most one tensor is in memory at a time.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

from core.errors import AdapterRefused
from core.model_folder import matrix_shapes
from core.quoting import quote_untrusted
from serve.adapters.config import CONFIG, AdapterConfig, rank_of, read_config, read_object, scaling_of

WEIGHTS = "adapter_model.safetensors"
# base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
DTYPES = ("F32", "F16", "BF16")
# The largest number of float16. Two such factors overflow in the engine, and real ones stay below ten.
LARGEST = 65504.0
# A tensor's entry in the header of a safetensors file takes some 200 bytes.
HEADER_BYTES, ENTRY_BYTES = 1024 * 1024, 512

Shapes = Mapping[str, tuple[int, int]]
Pairs = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter folder that passed preflight. `warnings` are sentences for the person who imports it."""

    path: Path
    sha256: str
    rank: int
    modules: int
    alpha: float
    warnings: tuple[str, ...]


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of the two files that make the adapter."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with (folder / name).open("rb") as file:
            digest.update(name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def preflight(folder: Path, *, base: Path, max_rank: int) -> Adapter:
    """Checks an adapter against its base model's weights. Raises AdapterRefused with the reason."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise AdapterRefused(
            f"The adapter folder {quote_untrusted(folder.name)} lacks {CONFIG} or {WEIGHTS}.",
            hint="Only safetensors are accepted; save it with PEFT's save_pretrained.",
        )
    config = read_config(folder / CONFIG)
    # vLLM uses the rank in the file, even if no tensor is that wide.
    rank = max([config.rank, *config.ranks.values()])
    if rank > max_rank:
        raise AdapterRefused(
            f"The adapter's rank {rank} is above {max_rank}.",
            hint="Raise engine.max_lora_rank, or train with a lower rank.",
        )
    expected = matrix_shapes(base)
    _check_header(folder / WEIGHTS, expected)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            pairs = _pairs(weights.keys())
            for module, sides in pairs.items():
                _check_module(weights, module, sides, config, expected)
            _check_values(weights, pairs, config)
    except SafetensorError as error:
        raise AdapterRefused(
            f"{WEIGHTS} is no safetensors file: {quote_untrusted(str(error))}.",
            hint="Save it again, and copy all of it.",
        ) from error
    return Adapter(folder, folder_hash(folder), rank, len(pairs), config.alpha, _warnings(config, base))


def _check_header(file: Path, expected: Shapes) -> None:
    """Check the header before the library reads it. The library accepts duplicate names and 100 MB."""
    most = HEADER_BYTES + 2 * ENTRY_BYTES * len(expected)
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size + 8 > file.stat().st_size:
            raise AdapterRefused(f"{WEIGHTS} is no safetensors file, or it is cut off.", hint="Copy all of it.")
        if size > most:
            raise AdapterRefused(
                f"{WEIGHTS} has a header of {size} bytes, above {most}.", hint="Was it made for another base model?"
            )
        header = read_object(stream.read(size), f"The header of {WEIGHTS}")
    if len(header) > 2 * len(expected) + 1:
        raise AdapterRefused(
            f"{WEIGHTS} holds {len(header)} tensors; the base model has {len(expected)} matrices.",
            hint="Was it made for another base model?",
        )


def _pairs(keys: list[str]) -> Pairs:
    """Module to side to tensor name."""
    pairs: Pairs = {}
    for key in keys:
        match = KEY.fullmatch(key)
        if not match:
            raise AdapterRefused(
                f"{WEIGHTS} holds {quote_untrusted(key)}, which is no LoRA tensor of a linear layer.",
                hint="Leave whole modules, embeddings and vectors out of the training.",
            )
        pairs.setdefault(match["module"], {})[match["side"]] = key
    if not pairs:
        raise AdapterRefused("The adapter has no LoRA tensors.", hint="Save it with PEFT's save_pretrained.")
    return pairs


def _check_module(weights: Any, module: str, sides: dict[str, str], config: AdapterConfig, expected: Shapes) -> None:
    """Holds names, shapes and number formats of one module against base model and config."""
    name = quote_untrusted(module)
    if module not in expected:
        raise AdapterRefused(f"The base model has no module {name}.", hint="Was it made for another base model?")
    if "embed" in module.rpartition(".")[2] or module == "lm_head":
        raise AdapterRefused(f"{name} is no linear layer inside the model.", hint="Train without embeddings and head.")
    if config.targets is not None and not any(end in config.targets for end in _ends(module)):
        raise AdapterRefused(
            f"{CONFIG} does not name {name} in target_modules, but {WEIGHTS} holds it.",
            hint="The two files belong to different adapters?",
        )
    shapes: dict[str, tuple[int, ...]] = {}
    for side, key in sides.items():
        piece = weights.get_slice(key)
        if piece.get_dtype() not in DTYPES:
            raise AdapterRefused(
                f"The tensor {quote_untrusted(key)} is of type {piece.get_dtype()}.",
                hint=f"Save it as one of {', '.join(DTYPES)}.",
            )
        shapes[side] = tuple(piece.get_shape())
    rank = rank_of(config, module)
    out_features, in_features = expected[module]
    if shapes.get("A") != (rank, in_features) or shapes.get("B") != (out_features, rank):
        raise AdapterRefused(
            f"{name}: A and B are {shapes.get('A')} and {shapes.get('B')}, "
            f"expected {(rank, in_features)} and {(out_features, rank)}.",
            hint="Was it made for another base model, or is its rank another?",
        )


def _ends(module: str) -> list[str]:
    """The module's name and all that follows one of its dots."""
    parts = module.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _check_values(weights: Any, pairs: Pairs, config: AdapterConfig) -> None:
    changes = False
    for module, sides in pairs.items():
        scaling = scaling_of(config, module)
        a, b = _largest(weights, sides["A"]), _largest(weights, sides["B"])
        if max(a, b * scaling) > LARGEST:
            raise AdapterRefused(
                f"{quote_untrusted(module)} holds numbers up to {max(a, b * scaling):.3g}, above {LARGEST:.0f}.",
                hint="The training diverged; lower its learning rate.",
            )
        changes = changes or a * b > 0
    if not changes:
        raise AdapterRefused("The adapter is all zeros: it changes nothing.", hint="Save it after its training.")


def _largest(weights: Any, key: str) -> float:
    import torch  # here, so that a control that was killed is back without it

    low, high = torch.aminmax(weights.get_tensor(key))
    largest = max(-float(low), float(high))
    if not math.isfinite(largest):
        raise AdapterRefused(
            f"The tensor {quote_untrusted(key)} holds NaN or infinite values.",
            hint="The training diverged; lower its learning rate.",
        )
    return largest


def _warnings(config: AdapterConfig, base: Path) -> tuple[str, ...]:
    """Return doubts that are no proof: one base model has many names, and a folder has no revision."""
    found = []
    if config.base_name and PurePosixPath(config.base_name).name.lower() != base.name.lower():
        found.append(
            f"It was made for {quote_untrusted(config.base_name)}; the shapes fit {base.name}, the name does not."
        )
    if config.revision:
        found.append(f"It was made for revision {quote_untrusted(config.revision)}, which cannot be compared.")
    return tuple(found)
