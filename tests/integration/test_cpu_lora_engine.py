"""Facts about the CPU LoRA plugin in a real vLLM engine, on a tiny Llama made here.

The engine's answers are compared with PEFT's, in float32, with adapters and base mixed.
"""

import json
import statistics
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

pytest.importorskip("vllm")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.settings import EngineSettings
from serve.cpu_lora.selftest import PROMPTS, check_engine
from serve.engines.process import EngineProcess
from tools.live_stack import free_ports

pytestmark = pytest.mark.integration

BASE = "base"
VOCABULARY = 257
TARGETS = {
    "everywhere": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "ends": ["v_proj", "embed_tokens", "lm_head"],
}
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
def running_engine(tiny: Path, dtype: Literal["float32", "bfloat16"]) -> Iterator[str]:
    """The URL of an engine that `loraloop up` would start, with the adapters loaded."""
    log = tiny / f"engine-{dtype}.log"
    more = ["--max-num-batched-tokens", str(CHUNK)]
    more += ["--lora-modules", *(f"{name}={tiny / 'adapters' / name}" for name in TARGETS)]
    settings = EngineSettings(
        listen=f"127.0.0.1:{free_ports(1)[0]}",
        dtype=dtype,
        max_model_len=256,
        kv_cache_gib=1,
        max_loras=2,
        max_lora_rank=8,
        extra_args=more,
    )
    process = EngineProcess(settings, tiny / "model", BASE, log)
    try:
        process.wait_ready()
        assert "Using GroupedPunicaWrapper" in log.read_text()
        yield process.url
    finally:
        process.stop()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A folder with `model` and `adapters`."""
    folder = tmp_path_factory.mktemp("tiny")
    make_model(folder / "model")
    make_adapters(folder / "model", folder / "adapters")
    return folder


@pytest.fixture(scope="module")
def engine(tiny) -> Iterator[str]:
    with running_engine(tiny, "float32") as url:
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
        return base.eval()
    return PeftModel.from_pretrained(base, str(tiny / "adapters" / name)).eval()


def log_probabilities(model: torch.nn.Module, prompt: list[int], answer: list[int]) -> list[float]:
    """What the reference gives each token of an answer."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + answer])).logits[0].float()
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
    models_by_name = {name: reference(tiny, name) for name in names}
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
        expected = log_probabilities(reference(tiny, name), prompt[:1], prompt[1:])
        assert found == pytest.approx(expected, abs=1e-4), (name, len(prompt))


def test_adapters_answer_unlike_the_base_and_each_other(engine):
    prompt = list(b"The capital of France")
    assert len({tuple(complete(engine, name, prompt)[0]) for name in (BASE, *TARGETS)}) == 3


def test_base_answers_next_to_adapters_are_those_without(engine):
    result = check_engine(engine, BASE, list(TARGETS))
    assert result.ok, result.reason
    assert result.prompts == len(PROMPTS)


def test_bfloat16_is_as_near_to_the_truth_as_pefts_own(tiny):
    """Token by token two right programs differ in bfloat16; on average neither may be further from float32."""
    random = torch.Generator().manual_seed(3)
    questions = [
        (name, torch.randint(0, 256, (length,), generator=random).tolist())
        for length in (9, 40, CHUNK + 30)
        for name in (*TARGETS, BASE) * 2
    ]
    with running_engine(tiny, "bfloat16") as url, ThreadPoolExecutor(len(questions)) as pool:
        answers = list(pool.map(lambda question: score(url, *question), questions))
    ours, pefts = [], []
    for (name, prompt), found in zip(questions, answers, strict=True):
        model = reference(tiny, name)
        truth = log_probabilities(model, prompt[:1], prompt[1:])
        peft = log_probabilities(model.bfloat16(), prompt[:1], prompt[1:])
        ours += [abs(a - b) for a, b in zip(found, truth, strict=True)]
        pefts += [abs(a - b) for a, b in zip(peft, truth, strict=True)]
    assert statistics.fmean(ours) <= 1.25 * statistics.fmean(pefts)
