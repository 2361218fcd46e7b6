"""Read adapter_config.json strictly, and accept only features of PEFT that the engine serves as they were trained."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import AdapterRefused
from core.quoting import quote_untrusted

CONFIG = "adapter_config.json"
MAX_CONFIG_BYTES = 1024 * 1024
# Above this an adapter drowns its base model; what people train stays below a hundred.
MAX_SCALING = 1000.0
# vLLM compiles every pattern for every tensor.
MAX_PATTERNS = 256
# A pattern is a regular expression that the engine runs; a name can be matched in no time.
PATTERN = re.compile(r"[A-Za-z0-9_.]+")
# These only choose initial weights; the others of PEFT change the base model when the adapter is loaded.
INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# Read below, or without a say in what a trained adapter computes.
READ = frozenset(
    {
        "r",
        "lora_alpha",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
        "target_modules",
        "peft_type",
        "bias",
        "init_lora_weights",
        "base_model_name_or_path",
        "revision",
    }
)
SILENT = frozenset(
    {
        "auto_mapping",
        "peft_version",
        "task_type",
        "inference_mode",
        "lora_dropout",
        "fan_in_fan_out",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "megatron_core",
        "loftq_config",
        "eva_config",
        "corda_config",
        "lora_ga_config",
        "qalora_group_size",
        "runtime_config",
    }
)


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The fields that say how tensors become a change of the base model.

    `targets` is None when the file names its modules by a pattern, which is not run.
    """

    rank: int
    alpha: float
    rslora: bool
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    targets: frozenset[str] | None
    base_name: str | None
    revision: str | None


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object in UTF-8 that says everything once. Raises AdapterRefused."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise AdapterRefused(f"{what} is nested too deeply.", hint="Save it with PEFT's save_pretrained.") from error
    except ValueError as error:
        raise AdapterRefused(f"{what} is not JSON: {error}.", hint="Save it with PEFT's save_pretrained.") from error
    if not isinstance(found, dict):
        raise AdapterRefused(f"{what} is not a JSON object.", hint="Save it with PEFT's save_pretrained.")
    return found


def read_config(file: Path) -> AdapterConfig:
    """Reads and judges the file. Raises AdapterRefused with the field and the fix."""
    if file.stat().st_size > MAX_CONFIG_BYTES:
        raise AdapterRefused(f"{CONFIG} is larger than {MAX_CONFIG_BYTES} bytes.", hint="PEFT writes a few hundred.")
    config = read_object(file.read_bytes(), CONFIG)
    _check_features(config)
    rslora = config.get("use_rslora", False)
    if not isinstance(rslora, bool):
        raise _wrong("use_rslora", rslora, "Write true or false.")
    return AdapterConfig(
        rank=_rank("r", config.get("r")),
        alpha=_alpha("lora_alpha", config.get("lora_alpha")),
        rslora=rslora,
        ranks={key: _rank(f"rank_pattern.{key}", r) for key, r in _patterns(config, "rank_pattern").items()},
        alphas={key: _alpha(f"alpha_pattern.{key}", a) for key, a in _patterns(config, "alpha_pattern").items()},
        targets=_targets(config.get("target_modules")),
        base_name=_name(config, "base_model_name_or_path"),
        revision=_name(config, "revision"),
    )


def rank_of(config: AdapterConfig, module: str) -> int:
    """The rank that PEFT and vLLM give a module."""
    return int(_value("rank_pattern", config.ranks, module, config.rank))


def scaling_of(config: AdapterConfig, module: str) -> float:
    """The factor on B·A: alpha / rank, or alpha / sqrt(rank) for rsLoRA (arXiv 2312.03732). Raises AdapterRefused."""
    rank = rank_of(config, module)
    alpha = _value("alpha_pattern", config.alphas, module, config.alpha)
    scaling = alpha / (math.sqrt(rank) if config.rslora else rank)
    if scaling > MAX_SCALING:
        raise AdapterRefused(
            f"{CONFIG} scales {quote_untrusted(module)} by {scaling:.6g}, above {MAX_SCALING:.0f}.",
            hint="Lower lora_alpha: it is divided by the rank r.",
        )
    return scaling


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{quote_untrusted(name)} is in it twice")
        found[name] = value
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _wrong(name: str, value: Any, hint: str) -> AdapterRefused:
    return AdapterRefused(f"{CONFIG} has {_field(name)}={quote_untrusted(value)}.", hint=hint)


def _field(name: str) -> str:
    return name if name.isidentifier() else quote_untrusted(name)


def _check_features(config: dict[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise _wrong("peft_type", kind, "Only LoRA adapters can be served; peft_type must be 'LORA'.")
    if config.get("bias", "none") != "none":
        raise _wrong("bias", config["bias"], "vLLM cannot serve it; train with bias='none'.")
    init = config.get("init_lora_weights", True)
    if not isinstance(init, bool) and not (isinstance(init, str) and init.lower() in INITS):
        raise _wrong(
            "init_lora_weights",
            init,
            "It changes the base model; convert it to a plain LoRA with PEFT's "
            "path_initial_model_for_weight_conversion.",
        )
    for name, value in config.items():
        if name not in READ and name not in SILENT and value:
            raise _wrong(name, value, "vLLM does not serve that as it was trained; train without it.")


def _rank(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(name, value, "A rank is a whole number of at least 1.")
    return value


def _alpha(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e9:
        raise _wrong(name, value, "An alpha is a number above 0; PEFT's default is 8.")
    return float(value)


def _patterns(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name, {})
    if not isinstance(found, dict) or len(found) > MAX_PATTERNS:  # nor null, with which PEFT cannot load it
        raise _wrong(name, found, f"It maps at most {MAX_PATTERNS} module names to numbers.")
    for key in found:
        if not PATTERN.fullmatch(key):
            raise _wrong(name, key, "The engine would run it as a regular expression; write module names.")
    return found


def _value(field: str, patterns: Mapping[str, float], module: str, otherwise: float) -> float:
    """What the patterns say of a module, by PEFT's rule and vLLM's: a pattern is its name, or its end after a dot.

    The first that fits wins, but PEFT sorts them when it saves. Of two that differ, the first is unknown.
    """
    found = {value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)}
    if len(found) > 1:
        raise AdapterRefused(
            f"{CONFIG} has several values for {quote_untrusted(module)} in {field}.",
            hint="Write the module's whole name, once.",
        )
    return found.pop() if found else otherwise


def _targets(value: Any) -> frozenset[str] | None:
    if isinstance(value, str) and value:
        return None
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return frozenset(value)
    raise _wrong("target_modules", value, "List the modules that were trained, as PEFT's save_pretrained does.")


def _name(config: dict[str, Any], name: str) -> str | None:
    value = config.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(name, value, "It is a name, or null.")
    return value
