"""What adapters cost on vLLM's CPU engine: base, stock adapters and ours, in one script.

It starts its own engines and measures over HTTP; it must know nothing of the plugin's inside.

    python -m bench.lora

Every ratio compares adapters with the base model in the same engine, in turns. The last line is
one JSON object; progress goes to stderr. Stock engines run with LORALOOP_CPU_LORA=off.
"""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from core.basemodel import prepare
from serve.cpu_lora import SWITCH
from serve.cpu_lora.selftest import asker, compare

BASE = "base"
ADAPTERS = ("one", "two", "three")
CONCURRENCY = (1, 8, 32)
DECODE_TOKENS = {1: 32, 8: 32, 32: 24}
PREFILL_TOKENS = 1024
BATCH = 16
START_SECONDS = 300


def say(text: str) -> None:
    """Progress, on stderr so that the last line of stdout stays the result."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def make_adapters(model: str, folder: Path) -> None:
    """Three PEFT adapters of rank 8 on every linear layer, A and B random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    for seed, name in enumerate(ADAPTERS):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(base, config).save_pretrained(str(folder / name))


@contextmanager
def engine(model: str, folder: Path, log: Path, *, stock: bool) -> Iterator[str]:
    """An engine with the adapters loaded, as its URL; its process group ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", model, "--served-model-name", BASE, "--dtype", "bfloat16"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "2048"]
    command += ["--enable-lora", "--max-loras", "4", "--max-lora-rank", "16"]
    command += ["--lora-modules", *(f"{name}={folder / name}" for name in ADAPTERS)]
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "0-1",
        "HF_HUB_OFFLINE": "1",
        **os.environ,
        SWITCH: "off" if stock else "on",
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
    """Return once the engine is healthy; leave with its last words if it ends or stays silent."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    raise SystemExit(f"the engine did not start:\n{log.read_text()[-3000:]}")


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
    """Token ids drawn anew each time, so that no prefix cache serves them."""
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
    """Medians of base and of adapters' ratio to the base beside it, after one unmeasured turn."""
    measure((BASE,))
    measure(ADAPTERS)
    bases, ratios = [], []
    for _ in range(rounds):
        base = measure((BASE,))
        ratios.append(measure(ADAPTERS) / base)
        bases.append(base)
    return statistics.median(bases), round(statistics.median(ratios), 3)


def measure_costs(url: str, rounds: int) -> dict[str, object]:
    """Decode and prefill ratios of one engine."""
    decode = {}
    for concurrency in CONCURRENCY:
        base, decode[str(concurrency)] = ratio(lambda models, n=concurrency: decode_rate(url, models, n), rounds)
        say(f"decode of {concurrency}: base {base:.0f} tokens/s, ratio {decode[str(concurrency)]}")
    base, prefill = ratio(lambda models: prefill_seconds(url, models), rounds)
    say(f"prefill of {PREFILL_TOKENS}: base {base:.2f} s, ratio {prefill}")
    return {"decode": decode, "prefill_1024": prefill}


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged base model, or a folder")
    parser.add_argument("--rounds", type=int, default=5, help="turns of which the median is taken")
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
            with engine(options.model, folder, folder / "stock.log", stock=True) as url:
                stock = measure_costs(url, options.rounds)
        say("starting ours")
        with engine(options.model, folder, folder / "ours.log", stock=False) as url:
            ours = measure_costs(url, options.rounds)
            unchanged, checked = check_base(url, options.prompts)
    result = {**ours, "stock": stock, "base_unchanged": unchanged, "prompts_checked": checked}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
