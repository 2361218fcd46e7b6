"""Measure what adapters cost on vLLM's CPU engine: base, stock adapters and LoraLoop's, in one script.

    python -m bench.lora

Every ratio compares adapters with the base model in the same engine, in alternating rounds. The last line is one JSON
object; progress goes to stderr. Stock engines run with LORALOOP_CPU_LORA=off.
"""

import argparse
import http.client
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.processes import free_port, memory_mib
from bench.progress import say
from core.model_folder import prepare
from core.settings import EngineSettings
from serve.cpu_lora import SWITCH
from serve.cpu_lora.selftest import asker, compare
from serve.engines.process import EngineProcess

BASE = "base"
ADAPTERS = ("one", "two", "three")
CONCURRENCY = (1, 8, 32)
DECODE_TOKENS = {1: 32, 8: 32, 32: 24}
PREFILL_TOKENS = 1024
BATCH = 16
# Untrained B of this size moves the base model's words about as far as a trained adapter does.
B_SCALE = 0.1
TEXTS = (
    "The river ran high after three days of rain, and the bridge at the mill was closed to carts.",
    "To make a good soup you need time, bones, an onion and a heavy pot with a lid.",
    "The battery lasts two days and the screen is bright, but the speaker sounds like a tin can.",
    "A prime number has no divisors other than one and itself; two is the only even one.",
    "She opened the letter, read it twice, and put it back into the drawer without a word.",
    "The train to the coast leaves at nine, stops in every village and is never on time.",
)


def make_adapters(model: str, folder: Path) -> None:
    """Three PEFT adapters of rank 8 on every linear layer, A and B random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for seed, name in enumerate(ADAPTERS):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
        adapted = get_peft_model(base, config)
        for key, tensor in adapted.named_parameters():
            if "lora_B" in key:
                tensor.data.mul_(B_SCALE)
        adapted.save_pretrained(str(folder / name))


@contextmanager
def engine(model: str, folder: Path, log: Path, *, stock: bool) -> Iterator[EngineProcess]:
    """An engine with the adapters loaded; its process group ends with the block."""
    os.environ[SWITCH] = "off" if stock else "on"
    loaded = ["--lora-modules", *(f"{name}={folder / name}" for name in ADAPTERS)]
    settings = EngineSettings(listen=f"127.0.0.1:{free_port()}", extra_args=loaded)
    process = EngineProcess(settings, Path(model), BASE, log)
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


def complete(url: str, model: str, prompt: list[int], tokens: int) -> int:
    """Ask for exactly `tokens` tokens and return how many came."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=600)
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    connection.request(
        "POST",
        "/v1/completions",
        json.dumps(body | {"ignore_eos": True}),
        {"Content-Type": "application/json"},
    )
    answer = json.load(connection.getresponse())
    connection.close()
    return answer["usage"]["completion_tokens"]


def fresh_prompt(tokens: int) -> list[int]:
    """Token ids drawn again on each call, so that no prefix cache serves them."""
    return [random.randrange(100, 40_000) for _ in range(tokens)]


def decode_rate(url: str, models: Sequence[str], concurrency: int) -> float:
    """Tokens a second of `concurrency` requests at once, dealt over `models`."""
    tokens = DECODE_TOKENS[concurrency]
    start = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        jobs = [
            pool.submit(complete, url, models[k % len(models)], fresh_prompt(4), tokens) for k in range(concurrency)
        ]
        produced = sum(job.result() for job in jobs)
    return produced / (time.perf_counter() - start)


def prefill_seconds(url: str, models: Sequence[str]) -> float:
    """Seconds to the first token of a prompt of `PREFILL_TOKENS` tokens."""
    start = time.perf_counter()
    complete(url, random.choice(models), fresh_prompt(PREFILL_TOKENS), 1)
    return time.perf_counter() - start


def ratio(measure: Callable[[Sequence[str]], float], rounds: int) -> tuple[float, float]:
    """Medians of the base and of each adapter's ratio to the base in the same round, after one unmeasured round."""
    measure((BASE,))
    measure(ADAPTERS)
    bases, ratios = [], []
    for _ in range(rounds):
        base = measure((BASE,))
        ratios.append(measure(ADAPTERS) / base)
        bases.append(base)
    return statistics.median(bases), round(statistics.median(ratios), 3)


def measure_costs(process: EngineProcess, rounds: int) -> dict[str, object]:
    """Decode and prefill ratios of one engine, and the most memory it took for them."""
    url, decode = process.url, {}
    for concurrency in CONCURRENCY:
        base, decode[str(concurrency)] = ratio(lambda models, n=concurrency: decode_rate(url, models, n), rounds)
        say(f"decode of {concurrency}: base {base:.0f} tokens/s, ratio {decode[str(concurrency)]}")
    base, prefill = ratio(lambda models: prefill_seconds(url, models), rounds)
    memory = memory_mib(process.process.pid)
    say(f"prefill of {PREFILL_TOKENS}: base {base:.2f} s, ratio {prefill}; peak memory {memory} MiB")
    return {"decode": decode, "prefill_1024": prefill, "memory_mib": memory}


def check_base(url: str, prompts: int) -> tuple[bool, int]:
    """Whether base answers in mixed batches are those of batches without adapters."""
    words = ["river", "stone", "engine", "music", "winter", "letter", "garden", "number", "shadow", "window"]
    ask = asker(url)
    checked, unchanged = 0, True
    while checked < prompts:
        texts = [f"{random.choice(words)} and {random.choice(words)}, {checked + k}:" for k in range(BATCH)]
        result = compare(ask, BASE, ADAPTERS, texts)
        checked += result.prompts
        if not result.ok:
            unchanged = False
            say(result.reason)
    say(f"base answers unchanged: {unchanged}, of {checked} prompts")
    return unchanged, checked


def score(url: str, model: str, tokens: list[int]) -> list[float]:
    """The log-probability of each token of a text but the first."""
    body = {"model": model, "prompt": tokens, "max_tokens": 1, "prompt_logprobs": 0}
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    steps = json.load(connection.getresponse())["choices"][0]["prompt_logprobs"][1:]
    connection.close()
    return [step[str(token)]["logprob"] for step, token in zip(steps, tokens[1:], strict=True)]


def check_peft(url: str, model: str, folder: Path) -> dict[str, float]:
    """How far the engine's bfloat16 is from PEFT's float32, compared with PEFT's own bfloat16.

    Mean absolute distances of teacher-forced log-probabilities, adapters and base mixed in one batch. Two right
    programs round differently in bfloat16, so the one says what the other may be; see docs/internals/cpu-lora.md.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    questions = [(name, tokenizer.encode(text)) for text in TEXTS for name in ADAPTERS]
    with ThreadPoolExecutor(2 * len(questions)) as pool:
        beside = [pool.submit(score, url, BASE, tokens) for _, tokens in questions]
        found = list(pool.map(lambda question: score(url, *question), questions))
        assert all(job.result() for job in beside)

    def by_peft(dtype: torch.dtype) -> list[list[float]]:
        scores: dict[str, Any] = {}
        for name in ADAPTERS:
            base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
            scores[name] = PeftModel.from_pretrained(base, str(folder / name)).to(dtype).eval()
        answers = []
        for name, tokens in questions:
            with torch.no_grad():
                steps = scores[name](torch.tensor([tokens])).logits[0, :-1].float().log_softmax(-1)
            answers.append(steps[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].tolist())
        return answers

    truth = by_peft(torch.float32)

    def distance(scores: list[list[float]]) -> float:
        pairs = [abs(a - b) for row, true in zip(scores, truth, strict=True) for a, b in zip(row, true, strict=True)]
        return round(statistics.fmean(pairs), 4)

    result = {"engine": distance(found), "peft": distance(by_peft(torch.bfloat16))}
    say(f"bfloat16's distance from PEFT's float32: {result}")
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged base model, or a folder")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the result is their median")
    parser.add_argument("--prompts", type=int, default=200, help="base prompts to check")
    parser.add_argument("--ours-only", action="store_true", help="leave the stock engine out")
    options = parser.parse_args()
    options.model = str(prepare(options.model, say).path)
    random.seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("making adapters")
        make_adapters(options.model, folder)
        stock: dict[str, object] = {}
        if not options.ours_only:
            say("starting the stock engine")
            with engine(options.model, folder, folder / "stock.log", stock=True) as started:
                stock = measure_costs(started, options.rounds)
        say("starting ours")
        with engine(options.model, folder, folder / "ours.log", stock=False) as started:
            ours = measure_costs(started, options.rounds)
            unchanged, checked = check_base(started.url, options.prompts)
            peft = check_peft(started.url, options.model, folder)
    result = {**ours, "stock": stock, "base_unchanged": unchanged, "prompts_checked": checked, "bf16_distance": peft}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
