"""Facts about preflight: an adapter that is hostile or does not fit is refused in a sentence."""

import json
import math
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AdapterRefused
from core.model_folder import matrix_shapes
from serve.adapters.config import read_object
from serve.adapters.preflight import WEIGHTS, preflight
from tests.support.adapters import PLAIN, A, B, Q, Tensors, check_sentence, pair, refusal, written

CONFIGS: dict[str, tuple[Any, str]] = {
    "another method": (PLAIN | {"peft_type": "LOHA"}, "peft_type='LOHA'"),
    "no method": ({k: v for k, v in PLAIN.items() if k != "peft_type"}, "peft_type=None"),
    "no alpha": ({k: v for k, v in PLAIN.items() if k != "lora_alpha"}, "lora_alpha=None"),
    "alpha 0": (PLAIN | {"lora_alpha": 0}, "lora_alpha=0"),
    "alpha below 0": (PLAIN | {"lora_alpha": -8}, "lora_alpha=-8"),
    "alpha NaN": (json.dumps(PLAIN | {"lora_alpha": math.nan}).encode(), "NaN is no JSON number"),
    "alpha infinite": (json.dumps(PLAIN).replace('a": 8', 'a": 1e999').encode(), "lora_alpha=inf"),
    "patterns null": (PLAIN | {"rank_pattern": None}, "rank_pattern=None"),
    "alpha huge": (PLAIN | {"lora_alpha": 1e6}, "by 250000, above 1000"),
    "alpha of 10,000 digits": (json.dumps(PLAIN).replace('a": 8', f'a": {"9" * 10_000}').encode(), "is not JSON"),
    "alpha true": (PLAIN | {"lora_alpha": True}, "lora_alpha=True"),
    "alpha in words": (PLAIN | {"lora_alpha": "8"}, "lora_alpha='8'"),
    "rank in words": (PLAIN | {"r": "4"}, "r='4'"),
    "rank true": (PLAIN | {"r": True}, "r=True"),
    "rank 4.0": (PLAIN | {"r": 4.0}, "r=4.0"),
    "rsLoRA in words": (PLAIN | {"use_rslora": "yes"}, "use_rslora='yes'"),
    "a rank of a module too high": (PLAIN | {"rank_pattern": {"k_proj": 32}}, "rank 32 is above 16"),
    "a rank of a module 0": (PLAIN | {"rank_pattern": {"q_proj": 0}}, "'rank_pattern.q_proj'=0"),
    "a rank that no tensor has": (PLAIN | {"rank_pattern": {"q_proj": 8}}, "expected (8, 64)"),
    "a pattern that never ends": (PLAIN | {"rank_pattern": {"(a+)+$": 4}}, "regular expression"),
    "patterns in a list": (PLAIN | {"alpha_pattern": ["q_proj"]}, "alpha_pattern=["),
    "many patterns": (PLAIN | {"alpha_pattern": {f"m{n}": 8 for n in range(257)}}, "at most 256"),
    "patterns that differ": (PLAIN | {"alpha_pattern": {"self_attn.q_proj": 1, "q_proj": 2}}, "several values"),
    "an alpha of a module NaN": (PLAIN | {"alpha_pattern": {"q_proj": None}}, "'alpha_pattern.q_proj'=None"),
    "DoRA": (PLAIN | {"use_dora": True}, "use_dora=True"),
    "bias": (PLAIN | {"bias": "lora_only"}, "bias='lora_only'"),
    "LoRA bias": (PLAIN | {"lora_bias": True}, "lora_bias=True"),
    "whole modules": (PLAIN | {"modules_to_save": ["lm_head"]}, "modules_to_save=['lm_head']"),
    "layer replication": (PLAIN | {"layer_replication": [[0, 1]]}, "layer_replication"),
    "new tokens": (PLAIN | {"trainable_token_indices": [1]}, "trainable_token_indices"),
    "parameters": (PLAIN | {"target_parameters": ["experts.w"]}, "target_parameters"),
    "something yet unknown": (PLAIN | {"use_mirrors": 3}, "use_mirrors=3"),
    "PiSSA": (PLAIN | {"init_lora_weights": "pissa"}, "changes the base model"),
    "no targets": (PLAIN | {"target_modules": None}, "target_modules=None"),
    "other targets": (PLAIN | {"target_modules": ["k_proj"]}, "does not name"),
    "base name a number": (PLAIN | {"base_model_name_or_path": 7}, "base_model_name_or_path=7"),
    "a list": ([PLAIN], "not a JSON object"),
    "twice": (b'{"r": 4, "r": 8}', "'r' is in it twice"),
    "nested": (b'{"a":' * 200_000, "nested too deeply"),
    "UTF-16": (json.dumps(PLAIN).encode("utf-16"), "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(PLAIN).encode(), "not JSON"),
    "100 MB": (b" " * 100_000_000, "larger than 1048576 bytes"),
    "control characters": (PLAIN | {"\x1b[2J\n": "\u202e\ud800"}, r"\x1b[2J\n"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_cannot_be_served_is_refused(tmp_path: Path, tiny_base: Path, case: str):
    config, words = CONFIGS[case]
    assert words in refusal(written(tmp_path, config), tiny_base)


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int, end: int, *shape: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def many(count: int) -> bytes:
    empty = json.dumps(entry(0, 0, 0))
    return ("{" + ",".join(f'"{n}":{empty}' for n in range(count)) + "}").encode()


TENSORS: dict[str, tuple[Tensors | bytes | Callable[[], bytes], str]] = {
    "A without B": ({A: torch.ones(4, 64)}, "None"),
    "B without A": ({B: torch.ones(64, 4)}, "None"),
    "all zeros": ({A: torch.ones(4, 64), B: torch.zeros(64, 4)}, "all zeros"),
    "another name of the adapter": ({A.replace("_A.", "_A.default."): torch.ones(4, 64)}, "no LoRA tensor"),
    "a name that goes on": ({A + "\n": torch.ones(4, 64), B: torch.ones(64, 4)}, r"weight\n"),
    "embeddings": (pair("model.embed_tokens", shapes=(46, 64)), "no linear layer"),
    "no such layer": (pair("model.layers.7.self_attn.q_proj"), "has no module"),
    "a type of 8 bits": ({A: torch.ones(4, 64).to(torch.float8_e4m3fn), B: torch.ones(64, 4)}, "type F8_E4M3"),
    "a type of 64 bits": ({A: torch.ones(4, 64).double(), B: torch.ones(64, 4)}, "type F64"),
    "whole numbers": ({A: torch.ones(4, 64).int(), B: torch.ones(64, 4)}, "type I32"),
    "three dimensions": ({A: torch.ones(4, 64, 1), B: torch.ones(64, 4)}, "(4, 64, 1)"),
    "rank 0": ({A: torch.ones(0, 64), B: torch.ones(64, 0)}, "(0, 64)"),
    "NaN in bfloat16": ({A: torch.ones(4, 64).bfloat16() * math.nan, B: torch.ones(64, 4).bfloat16()}, "NaN"),
    "-inf in float16": ({A: torch.ones(4, 64).half(), B: torch.ones(64, 4).half() * -math.inf}, "infinite"),
    "too large": ({A: torch.ones(4, 64), B: torch.full((64, 4), -4e4)}, "up to 8e+04"),
    "overlapping": (safetensors({A: entry(0, 1024, 4, 64), B: entry(512, 1536, 64, 4)}, bytes(1536)), "no safetensors"),
    "a hole": (safetensors({A: entry(0, 1024, 4, 64), B: entry(1032, 2056, 64, 4)}, bytes(2056)), "no safetensors"),
    "beyond the end": (safetensors({A: entry(0, 1024, 4, 64)}, bytes(1000)), "no safetensors"),
    "a shape that is not its size": (safetensors({A: entry(0, 1024, 4, 6)}, bytes(1024)), "no safetensors"),
    "a shape of 2^124": (safetensors({A: entry(0, 1024, 2**62, 2**62)}, bytes(1024)), "no safetensors"),
    "one name twice": (
        safetensors(b'{"a": %s, "a": %s}' % ((json.dumps(entry(0, 8, 2)).encode(),) * 2), bytes(8)),
        "is in it twice",
    ),
    "a nested header": (safetensors(b'{"a":' * 100_000), "nested too deeply"),
    "a million entries": (lambda: safetensors(many(1_000_000)), "has a header of"),
    "many entries": (safetensors(many(10_000)), "10000 tensors"),
    "a header of 2^63 bytes": (b"\xff" * 7 + b"\x7f" + b"{}", "cut off"),
    "control characters": (safetensors({"\x1b[2J\n\u202e": entry(0, 8, 2), "a": entry(0, 8, 2)}, bytes(8)), "no saf"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_weights_that_cannot_be_served_are_refused(tmp_path: Path, tiny_base: Path, case: str):
    tensors, words = TENSORS[case]
    assert words in refusal(written(tmp_path, tensors=tensors() if callable(tensors) else tensors), tiny_base)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, tiny_base: Path):
    whole = (written(tmp_path) / WEIGHTS).read_bytes()
    for length in {0, 1, 7, 8, 9, 100, *range(200, len(whole), 211), len(whole) - 1}:
        refusal(written(tmp_path, tensors=whole[:length]), tiny_base)


def test_a_large_file_for_a_small_base_is_refused_in_little_memory(tmp_path: Path, tiny_base: Path):
    huge = safetensors({A: entry(0, 4 * 4 * 10**7, 4, 10**7), B: entry(4 * 4 * 10**7, 16 * 10**7 + 1024, 64, 4)})
    written(tmp_path, tensors=huge)
    with (tmp_path / WEIGHTS).open("r+b") as file:
        file.truncate(len(huge) + 16 * 10**7 + 1024)
    tracemalloc.start()
    try:
        assert "expected (4, 64)" in refusal(tmp_path, tiny_base)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_another_name_of_the_base_warns_and_another_shape_refuses(tmp_path: Path, tiny_base: Path):
    config = PLAIN | {"base_model_name_or_path": "some\x1bwhere/Larger-8B", "revision": "v2"}
    name, revision = preflight(written(tmp_path, config), base=tiny_base, max_rank=16).warnings
    assert r"'some\x1bwhere/Larger-8B'" in name and "'v2'" in revision
    same = preflight(written(tmp_path, PLAIN | {"base_model_name_or_path": "/mnt/Tiny"}), base=tiny_base, max_rank=16)
    assert not same.warnings


VALUE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(data=st.one_of(st.binary(max_size=300), VALUE.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_a_json_object_or_refused(data: bytes):
    try:
        assert isinstance(read_object(data, "It"), dict)
    except AdapterRefused as refused:
        check_sentence(refused)


def test_the_base_has_what_the_tests_say(tiny_base: Path):
    shapes = matrix_shapes(tiny_base)
    assert shapes[Q] == (64, 64) and shapes["model.layers.1.mlp.down_proj"] == (64, 128)
