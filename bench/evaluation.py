"""What an evaluation adds to the engine's own time: items for four arms by ours and by a bare client, in turns.

It starts its own engine; it must not know how an evaluation is made inside.

    python -m bench.evaluation

Slices of the same prompts go to the engine twice, once through `eval.measure.labels` (scores, priority, answers kept on
disk) and once as plain completions of one token from threads that do nothing else. The one that goes first changes from
slice to slice. The prefix cache is off, so that the second is not served from the first's. Then the candidate answers
every shipped suite, as in a run that finds the champion's answers kept. The last line is one JSON object.
"""

import argparse
import http.client
import json
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.lora import ADAPTERS, BASE, make_adapters
from bench.processes import free_port
from bench.progress import say
from core.db.store import Store
from core.model_folder import prepare
from core.prompts import Chat, subject
from core.settings import EngineSettings, EvaluationSettings
from eval.arm_definitions import Arm, Item
from eval.engine_queries import EngineContext, QueryRunner, ReplyCache
from eval.measure.labels import Labels, score_labels
from eval.suites.run import run_suite
from eval.suites.shipped import BUILDERS, shipped_suite
from serve.engines.control_client import VllmClient
from serve.engines.process import EngineProcess
from serve.retrieval.retriever import Entry, Retrieval, Retriever

LABELS = ("negative", "neutral", "positive")
INSTRUCTION = "Rate the review: negative, neutral or positive. Answer with one word."
PARTS = (
    ("I bought this", "My sister gave me this", "We ordered this", "The office got this"),
    ("lamp", "kettle", "novel", "jacket", "keyboard", "tent", "radio", "chair"),
    ("last week", "in spring", "for a trip", "after the old one broke", "on sale", "for the kitchen"),
    ("and it works well.", "and it broke at once.", "and it does its job.", "and I would buy it again."),
    ("The colour is nice.", "It arrived late.", "The manual is hard to read.", "It is heavier than I thought."),
)
# As many as the engine takes into one batch.
ENGINE_CONCURRENCY = 32


def items_of(count: int, seed: int) -> list[Item]:
    """Short reviews, all different."""
    rng = random.Random(seed)
    return [
        Item(
            f"{seed}-{n}",
            f"user-{n % 50}",
            Chat((("system", INSTRUCTION), ("user", f"{n}: " + " ".join(rng.choice(part) for part in PARTS)))),
            rng.randrange(len(LABELS)),
        )
        for n in range(count)
    ]


def arms_of() -> list[Arm]:
    """Base, RAG, and two adapters."""
    examples = tuple(Entry("chat", subject(item.prompt), LABELS[item.truth], 30) for item in items_of(200, seed=1))
    retriever = Retriever(Retrieval(examples, k=2, budget_tokens=256))
    return [
        Arm("base", BASE),
        Arm("rag", BASE, retriever.rewrite),
        Arm("champion", ADAPTERS[0]),
        Arm("candidate", ADAPTERS[1]),
    ]


def bare(url: str, bodies: Sequence[bytes]) -> float:
    """Seconds that the engine takes for ready-made requests, from threads with a connection each."""
    local, address = threading.local(), url.removeprefix("http://")
    opened: list[http.client.HTTPConnection] = []

    def post(body: bytes) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(address, timeout=600)
            opened.append(local.connection)
        local.connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = local.connection.getresponse()
        response.read()
        if response.status != 200:
            raise SystemExit(f"the engine answered {response.status}")

    with ThreadPoolExecutor(ENGINE_CONCURRENCY) as pool:
        started = time.perf_counter()
        list(pool.map(post, bodies))
        seconds = time.perf_counter() - started
    for connection in opened:
        connection.close()
    return seconds


def plain(items: Sequence[Item], arms: Sequence[Arm]) -> list[bytes]:
    """The prompts of all arms as requests for one token."""
    found = []
    for item in items:
        for arm in arms:
            prompt = arm.rewrite(item.prompt)
            assert isinstance(prompt, Chat)
            body = {"model": arm.engine_name, "messages": prompt.as_openai(), "max_tokens": 1, "temperature": 0}
            found.append(json.dumps(body).encode())
    return found


def compare(engine_context: EngineContext, url: str, items: Sequence[Item], slices: int) -> dict[str, object]:
    """Both ways over the same items, slice by slice in turns, after one unmeasured slice each."""
    arms = arms_of()
    labels = Labels(engine_context, LABELS)
    warm = items_of(20, seed=2)
    bare(url, plain(warm, arms))
    score_labels(engine_context, arms, warm, labels)
    ours, engine = [], []
    for number in range(slices):
        part = items[number::slices]
        bodies = plain(part, arms)
        if number % 2:
            engine.append(bare(url, bodies))
        started = time.perf_counter()
        score_labels(engine_context, arms, part, labels)
        ours.append(time.perf_counter() - started)
        if not number % 2:
            engine.append(bare(url, bodies))
        say(f"slice {number + 1} of {slices}: ours {ours[-1]:.1f} s, engine {engine[-1]:.1f} s")
    started = time.perf_counter()
    for number in range(slices):
        score_labels(engine_context, arms, items[number::slices], labels)
    again = time.perf_counter() - started
    ratios = [a / b for a, b in zip(ours, engine, strict=True)]
    return {
        "items": len(items),
        "arms": len(arms),
        "ours_s": round(sum(ours), 2),
        "engine_s": round(sum(engine), 2),
        "ratio": round(sum(ours) / sum(engine), 3),
        "worst_slice": round(max(ratios), 3),
        "median_slice": round(statistics.median(ratios), 3),
        "again_s": round(again, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged base model, or a folder")
    parser.add_argument("--items", type=int, default=500, help="items of the classification")
    parser.add_argument("--slices", type=int, default=5, help="turns that the items are cut into")
    parser.add_argument("--suites", nargs="*", default=list(BUILDERS), help="suites to time on the candidate")
    options = parser.parse_args()
    # Asked to end, it ends the engine too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    model = str(prepare(options.model, say).path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("making adapters")
        make_adapters(model, folder)
        loaded = ["--lora-modules", *(f"{adapter}={folder / adapter}" for adapter in ADAPTERS)]
        settings = EngineSettings(listen=f"127.0.0.1:{free_port()}", extra_args=["--no-enable-prefix-caching", *loaded])
        say("starting the engine")
        process = EngineProcess(settings, Path(model), BASE, folder / "engine.log")
        store = Store(folder / "store.duckdb")
        try:
            process.wait_ready()
            client = VllmClient(process.url)
            runner = QueryRunner(client, concurrency=EvaluationSettings().concurrency, cache=ReplyCache(store, "bench"))
            context = EngineContext(runner, BASE)
            found = compare(context, process.url, items_of(options.items, seed=3), options.slices)
            suites = {}
            for chosen in options.suites:
                one, started = shipped_suite(chosen), time.perf_counter()
                probed = run_suite(context, [Arm("candidate", ADAPTERS[1])], one)
                suites[chosen] = round(time.perf_counter() - started, 1)
                say(
                    f"{chosen}: {suites[chosen]} s for {len(one.items)} items, "
                    f"{one.kpi} {probed.outcomes['candidate'].mean():.3f}"
                )
            client.close()
        finally:
            process.stop()
            store.close()
    print(json.dumps({**found, "suites_s": suites}))


if __name__ == "__main__":
    main()
