"""Checkpoints: the adapter's weights, the optimiser's state and the position, so that a kill costs minutes."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.durable_file import sync
from retrain.trainer.job import CHECKPOINT

IDENTITY, DONE, DEV, BEFORE = "identity", "done", "dev", "before"
WEIGHT, BEST = "weight", "best"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Steps done, with tensors by name, and what was measured on dev.

    `identity` is of all that the training depends on. `before` is the dev report of the objective before, as JSON.
    """

    identity: str
    done: int
    tensors: dict[str, Tensor]
    dev: str = "[]"
    before: str = "null"


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint instead of the last one. It is complete after a power cut, or not there."""
    scratch, target = folder / f"{CHECKPOINT}.part", folder / CHECKPOINT
    metadata = {IDENTITY: checkpoint.identity, DONE: str(checkpoint.done), DEV: checkpoint.dev}
    metadata[BEFORE] = checkpoint.before
    save_file(checkpoint.tensors, scratch, metadata=metadata)
    sync(scratch)
    os.replace(scratch, target)


def read_checkpoint(folder: Path, identity: str) -> Checkpoint | None:
    """Return the last checkpoint of a training with this identity, None without one that can be read."""
    try:
        with safe_open(folder / CHECKPOINT, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get(IDENTITY) != identity:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 — safe_open is no dictionary
            dev, before = metadata.get(DEV, "[]"), metadata.get(BEFORE, "null")
            return Checkpoint(identity, int(metadata[DONE]), tensors, dev, before)
    except (OSError, SafetensorError):
        return None


def state_tensors(
    named: dict[str, Tensor], optimizer: torch.optim.Optimizer, best: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the weights, the best weights so far, and the optimiser's moments as tensors by name."""
    found = {f"{WEIGHT}.{name}": parameter.detach() for name, parameter in named.items()}
    found |= {f"{BEST}.{name}": tensor for name, tensor in (best or {}).items()}
    for name, parameter in named.items():
        found |= {f"{key}.{name}": value for key, value in optimizer.state[parameter].items()}
    return found


def restore_tensors(
    tensors: dict[str, Tensor], named: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put back what `state_tensors` returned, and return the best weights."""
    set_weights(named, {name: tensors[f"{WEIGHT}.{name}"] for name in named})
    best: dict[str, Tensor] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind == BEST:
            best[name] = value
        elif kind != WEIGHT:
            parameter = named[name]
            optimizer.state[parameter][kind] = value.to(parameter.device) if value.ndim else value
    return best


def set_weights(named: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Set parameters to these values."""
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(weights[name])
