"""Import an adapter, promote it and roll it back, with the real engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tools.live_stack import LiveStack, texts

pytestmark = pytest.mark.integration

ASKED = texts(24, 500)


def test_an_adapter_made_elsewhere_answers_as_it_does_in_peft(running: LiveStack, tiny_base: Path, tmp_path: Path):
    of_base, of_adapter = make(tiny_base, tmp_path / "mine")
    assert sum(a != b for a, b in zip(of_base, of_adapter, strict=True)) > len(ASKED) / 2
    brought = loraloop(running, "import-adapter", "noise", str(tmp_path / "mine"), "--yes", "--json")
    found = json.loads(brought.stdout)
    assert found["new"] and found["warnings"] == []
    assert answers(running) == [(0, word) for word in of_base]

    loraloop(running, "promote", "noise", str(found["version"]), "--yes")
    assert answers(running) == [(found["version"], word) for word in of_adapter]

    loraloop(running, "rollback", "noise", "--yes")
    assert answers(running) == [(0, word) for word in of_base]
    verdicts = [row["verdict"] for row in running.decisions("noise") if row["run_id"] is None]
    assert verdicts == ["imported", "promoted", "switched", "rolled_back", "switched"]


def make(base: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Writes a random adapter with PEFT; returns what base and adapter say to each text, by transformers and PEFT."""
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    before = said(model, tokenizer)
    config = LoraConfig(
        r=4,
        lora_alpha=24,
        use_rslora=True,
        target_modules="all-linear",
        init_lora_weights=False,
        rank_pattern={"layers.0.self_attn.q_proj": 8},
        alpha_pattern={"layers.1.mlp.up_proj": 6},
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    adapted.save_pretrained(str(folder))
    return before, said(adapted, tokenizer)


def said(model: torch.nn.Module, tokenizer: "AutoTokenizer") -> list[str]:
    found = []
    for _, text, _ in ASKED:
        ids = tokenizer(f"<user> {text} <end> rate", return_tensors="pt").input_ids
        with torch.no_grad():
            found.append(tokenizer.decode(model(ids).logits[0, -1].argmax(), skip_special_tokens=True).strip())
    return found


def answers(running: LiveStack) -> list[tuple[int, str]]:
    found = (running.ask("noise", user, text, label, plain=True) for user, text, label in ASKED)
    return [(answer.version, answer.text.strip()) for answer in found]


def loraloop(running: LiveStack, *words: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli.app", *words, "-c", str(running.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"LORALOOP_KEY": running.keys["ops"]},
    )
    assert done.returncode == 0, done.stderr
    return done
