"""Facts about preflight and PEFT: PEFT can load what passes, and scales it as preflight says."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from vllm.lora.peft_helper import PEFTHelper

from core.errors import AdapterRefused
from serve.adapters.config import CONFIG, read_config, scaling_of
from serve.adapters.preflight import preflight
from tests.support.adapters import PLAIN, Tensors, check_sentence, pair, written


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"q_proj": 3}},
        {"alpha_pattern": {"k_proj": 32, "layers.1.self_attn.q_proj": 1}, "use_rslora": True},
    ],
)
def test_scaling_is_what_peft_and_the_engine_make_of_it(tmp_path: Path, tiny_base: Path, changes: dict[str, Any]):
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=["q_proj", "k_proj"],
        init_lora_weights=False,
        task_type="CAUSAL_LM",
        **changes,
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), config)
    model.save_pretrained(str(tmp_path))
    preflight(tmp_path, base=tiny_base, max_rank=16)
    ours, engine = read_config(tmp_path / CONFIG), PEFTHelper.from_local_dir(str(tmp_path), None)
    for module in (f"model.layers.{n}.self_attn.{p}_proj" for n in (0, 1) for p in "qk"):
        of_peft = model.base_model.model.get_submodule(module).scaling["default"]
        assert scaling_of(ours, module) == pytest.approx(of_peft)
        assert engine.get_rank_and_scaling(module)[1] == pytest.approx(of_peft)


NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VALUES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as it is": lambda t: t,
    "half": lambda t: t.half(),
    "bfloat16": lambda t: t.bfloat16(),
    "double": lambda t: t.double(),
    "zeros": torch.zeros_like,
    "NaN": lambda t: t * math.nan,
    "transposed": lambda t: t.T.contiguous(),
    "wider": lambda t: torch.cat([t, t], -1),
    "flat": lambda t: t.flatten(),
    "huge": lambda t: t * 1e30,
}
FIELDS: dict[str, list[Any]] = {
    "r": [0, 1, 4, 64, None, "8", 4.5],
    "lora_alpha": [0, -1, 0.5, 1e5, None, "x"],
    "use_rslora": [True, False, 1],
    "target_modules": [["q_proj"], [], None, ["nothing"], NAMES],
    "bias": ["none", "all", 3],
    "use_dora": [True, False],
    "rank_pattern": [{}, None, {"q_proj": 2}, {"layers.0.mlp.up_proj": 1}, []],
    "modules_to_save": [None, [], ["lm_head"]],
    "mystery": [None, 0, "x"],
    "alpha_pattern": [{}, None, {"self_attn.q_proj": 1}, {"k_proj": -1}],
    "peft_type": ["LORA", "IA3", 5, None],
    "init_lora_weights": [True, "gaussian", "pissa", "olora"],
    "fan_in_fan_out": [False, True],
    "lora_bias": [True],
    "layer_replication": [None, [[0, 2]]],
    "exclude_modules": [None, ["lm_head"]],
    "revision": [None, "main"],
    "base_model_name_or_path": ["elsewhere", None, "\ud800"],
    "inference_mode": [True, False],
    "lora_dropout": [0.0, 0.1],
    "task_type": ["CAUSAL_LM", None],
    "megatron_config": [None, {"a": 1}],
}
RENAMED = [
    ("lora_A", "lora_B"),
    ("model.model", "model"),
    ("layers.0", "layers.1"),
    ("q_proj", "k_proj"),
    (".weight", ""),
    ("lora_", "lora_embedding_"),
]


@st.composite
def adapters(draw: st.DrawFn) -> tuple[dict[str, Any], Tensors]:
    """A valid adapter of the tiny base, then at most three changes of any kind."""
    rank, names = draw(st.sampled_from([1, 2, 4, 8, 16, 17])), draw(st.lists(st.sampled_from(NAMES), min_size=1))
    config = PLAIN | {"r": rank, "lora_alpha": draw(st.integers(1, 64)), "target_modules": sorted(set(names))}
    tensors: Tensors = {}
    for layer in draw(st.sampled_from([[0], [1], [0, 1]])):
        for name in config["target_modules"]:
            block = "mlp" if name in NAMES[4:] else "self_attn"
            shapes = {"gate_proj": (128, 64), "up_proj": (128, 64), "down_proj": (64, 128)}.get(name, (64, 64))
            tensors |= pair(f"model.layers.{layer}.{block}.{name}", rank, shapes)
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["field", "value", "rename", "drop", "absent"]))
        key = draw(st.sampled_from(sorted(tensors))) if tensors else ""
        if kind == "field":
            name = draw(st.sampled_from(sorted(FIELDS)))
            config[name] = draw(st.sampled_from(FIELDS[name]))
        elif kind == "absent":
            config.pop(draw(st.sampled_from(sorted(config))))
        elif kind == "value" and key:
            tensors[key] = VALUES[draw(st.sampled_from(sorted(VALUES)))](tensors[key])
        elif kind == "rename" and key:
            old, new = draw(st.sampled_from(RENAMED))
            tensors[key.replace(old, new)] = tensors.pop(key)
        elif kind == "drop" and key:
            tensors.pop(key)
    return config, tensors


def load_with_peft(folder: Path, base: Any, tensors: Tensors) -> None:
    """Loads it as PEFT does and finds every tensor of the file in the model."""
    model = PeftModel.from_pretrained(base, str(folder))
    try:
        state = model.state_dict()
        for key, tensor in tensors.items():
            assert torch.equal(state[key.replace(".weight", ".default.weight")].float(), tensor.float()), key
    finally:
        model.unload()


@pytest.fixture(scope="module")
def base_in_peft(tiny_base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_base)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=adapters())
@pytest.mark.filterwarnings("ignore")  # PEFT warns of what it makes up itself, as modules without tensors
def test_what_passes_preflight_peft_can_load(tiny_base: Path, base_in_peft: Any, made: tuple[dict[str, Any], Tensors]):
    config, tensors = made
    with tempfile.TemporaryDirectory() as name:
        folder = written(Path(name), config, tensors)
        try:
            found = preflight(folder, base=tiny_base, max_rank=16)
        except AdapterRefused as refused:
            check_sentence(refused)
            return
        event("accepted")
        assert 1 <= found.rank <= 16 and found.modules == len(tensors) / 2
        load_with_peft(folder, base_in_peft, tensors)
