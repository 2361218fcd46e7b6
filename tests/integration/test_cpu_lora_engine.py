"""Facts about the CPU LoRA plugin in a real vLLM engine, on a tiny Llama made here.

The engine's answers are held against PEFT's, in float32, with adapters and base mixed.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("vllm")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from serve.cpu_lora.selftest import PROMPTS, check_engine

pytestmark = pytest.mark.integration

BASE = "base"
VOCABULARY = 257
TARGETS = {
    "everywhere": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "ends": ["v_proj", "embed_tokens", "lm_head"],
}
STARTUP_SECONDS = 240
CHUNK = 64


def make_model(folder: Path) -> None:
    """A random Llama of two layers whose tokens are bytes."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=256,
        eos_token_id=256,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*letters, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(str(folder))


def make_adapters(model: Path, folder: Path) -> None:
    """PEFT adapters with random A and B, of different ranks and on different layers."""
    for seed, (name, targets) in enumerate(TARGETS.items()):
        torch.manual_seed(seed)
        config = LoraConfig(r=8 if seed else 4, lora_alpha=16, target_modules=targets, init_lora_weights=False)
        base = LlamaForCausalLM.from_pretrained(str(model))
        get_peft_model(base, config).save_pretrained(str(folder / name), save_embedding_layers=False)


@contextmanager
def running_engine(model: Path, adapters: Path, log: Path) -> Iterator[str]:
    """The URL of an engine on a free loopback port; its process group ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", BASE, "--dtype", "float32", "--max-model-len", "256"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-num-batched-tokens", str(CHUNK), "--max-num-seqs", "32"]
    command += ["--enable-lora", "--max-loras", "2", "--max-lora-rank", "8"]
    command += ["--lora-modules", *(f"{name}={adapters / name}" for name in TARGETS)]
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "0-1",
        "HF_HUB_OFFLINE": "1",
        **os.environ,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"the engine did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with `model` and `adapters`."""
    folder = tmp_path_factory.mktemp("tiny")
    make_model(folder / "model")
    make_adapters(folder / "model", folder / "adapters")
    return folder


@pytest.fixture(scope="module")
def engine(tiny) -> Iterator[str]:
    with running_engine(tiny / "model", tiny / "adapters", tiny / "engine.log") as url:
        assert "Using GroupedPunicaWrapper" in (tiny / "engine.log").read_text()
        yield url


def post(url: str, body: dict) -> dict:
    """The one choice of a completion."""
    request = urllib.request.Request(
        f"{url}/v1/completions",
        data=json.dumps(body | {"temperature": 0, "ignore_eos": True}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["choices"][0]


def complete(url: str, model: str, prompt: list[int]) -> tuple[list[int], list[float]]:
    """Twelve greedy tokens and their log-probabilities."""
    body = {"model": model, "prompt": prompt, "max_tokens": 12, "logprobs": 0, "return_token_ids": True}
    choice = post(url, body)
    return choice["token_ids"], choice["logprobs"]["token_logprobs"]


def score(url: str, model: str, prompt: list[int]) -> list[float]:
    """The log-probability of each token of a prompt but the first."""
    choice = post(url, {"model": model, "prompt": prompt, "max_tokens": 1, "prompt_logprobs": 0})
    steps = zip(choice["prompt_logprobs"][1:], prompt[1:], strict=True)
    return [step[str(token)]["logprob"] for step, token in steps]


def reference(tiny: Path, name: str) -> torch.nn.Module:
    base = LlamaForCausalLM.from_pretrained(str(tiny / "model"))
    if name == BASE:
        return base
    return PeftModel.from_pretrained(base, str(tiny / "adapters" / name))


def log_probabilities(model: torch.nn.Module, prompt: list[int], answer: list[int]) -> list[float]:
    """What the reference gives each token of an answer."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0]
    steps = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return steps[torch.arange(len(answer)), torch.tensor(answer)].tolist()


def test_mixed_requests_agree_with_peft(engine, tiny):
    """Short and long prompts at once: decode, prefill, chunked prefill and mixtures of them."""
    random = torch.Generator().manual_seed(1)
    names = [BASE, *TARGETS]
    lengths = [3, 5, 17, CHUNK + 30, 8, 2 * CHUNK + 11]
    questions = [
        (name, torch.randint(0, 256, (length,), generator=random).tolist()) for length in lengths for name in names
    ]
    with ThreadPoolExecutor(len(questions)) as pool:
        answers = list(pool.map(lambda question: complete(engine, *question), questions))
    models_by_name = {name: reference(tiny, name).eval() for name in names}
    for (name, prompt), (tokens, found) in zip(questions, answers, strict=True):
        expected = log_probabilities(models_by_name[name], prompt, tokens)
        assert found == pytest.approx(expected, abs=1e-4), (name, len(prompt))


def test_scores_of_prompts_agree_with_peft_while_others_decode(engine, tiny):
    random = torch.Generator().manual_seed(2)
    questions = [
        (name, torch.randint(0, 256, (length,), generator=random).tolist())
        for length in (2, 6, CHUNK + 20)
        for name in (*TARGETS, BASE)
    ]
    with ThreadPoolExecutor(2 * len(questions)) as pool:
        noise = [pool.submit(complete, engine, *question) for question in questions]
        answers = list(pool.map(lambda question: score(engine, *question), questions))
        assert all(job.result() for job in noise)
    for (name, prompt), found in zip(questions, answers, strict=True):
        expected = log_probabilities(reference(tiny, name).eval(), prompt[:1], prompt[1:])
        assert found == pytest.approx(expected, abs=1e-4), (name, len(prompt))


def test_adapters_answer_unlike_the_base_and_each_other(engine):
    prompt = list(b"The capital of France")
    assert len({tuple(complete(engine, name, prompt)[0]) for name in (BASE, *TARGETS)}) == 3


def test_base_answers_beside_adapters_are_those_without(engine):
    result = check_engine(engine, BASE, list(TARGETS))
    assert result.ok, result.reason
    assert result.prompts == len(PROMPTS)
