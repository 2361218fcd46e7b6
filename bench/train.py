"""Our trainer against TRL's best stock configuration, on the same rows, order, LoRA and steps.

    python -m bench.train [--data FOLDER]

Both train in one process and take turns at every step: TRL's own trainer makes a step, then ours makes the same step on
the same rows. The first steps are not counted. Speeds are real tokens per CPU-second of one core, times the threads, so
that other programs on the machine change them little. `--data` holds the votes of UKPLab/acl2016-convincing-arguments
for DPO. The last line is one JSON object; the exit status is 1 if a target is missed.
"""

import os

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.utils.logging import disable_progress_bar
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from bench.progress import say
from bench.train_rows import long_instruction, review_examples, vote_examples
from core.model_folder import prepare
from demo.dataset_split import INSTRUCTION
from demo.ratings import load
from retrain.trainer.batches import Example, plan_steps
from retrain.trainer.job import Job, Step
from retrain.trainer.loop import Loop
from retrain.trainer.objectives import Scored, choose_objective
from retrain.trainer.pause import PauseRequest
from retrain.trainer.train import load_model, scored_with

RANK, BATCH = 16, 8
UNCOUNTED = 3
LAST = 10
TARGETS = {"sft": 2.5, "sft_long_prefix": 5.0, "dpo": 2.0}
MOST_LOSS_APART = 0.02
MOST_GB = 2.5

Key = tuple[int, ...]


class TurnsCallback(TrainerCallback):
    """Time each step of TRL, then make and time the same step with ours."""

    def __init__(self, batches: deque[list[int]], ours: Callable[[int, Sequence[int]], float]) -> None:
        self.batches = batches
        self.ours = ours
        self.taken: list[list[int]] = []
        self.cpu: dict[str, list[float]] = {"trl": [], "ours": []}
        self.losses: dict[str, list[float]] = {"trl": [], "ours": []}
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Called by TRL before its step."""
        self._began = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by TRL after its step."""
        self.cpu["trl"].append(time.process_time() - self._began)
        numbers = self.batches.popleft()
        began = time.process_time()
        self.losses["ours"].append(self.ours(len(self.taken), numbers))
        self.cpu["ours"].append(time.process_time() - began)
        self.taken.append(numbers)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called by TRL with its loss, just after `on_step_end`."""
        if logs and "loss" in logs:
            self.losses["trl"].append(float(logs["loss"]))
            step = len(self.taken)
            if step % 10 == 0:
                took = {name: round(values[-1], 2) for name, values in self.cpu.items()}
                lost = {name: round(values[-1], 4) for name, values in self.losses.items()}
                say(f"step {step}: CPU seconds {took}, loss {lost}")


def job_of(base: Path, folder: Path, objective: str, steps: int, threads: int) -> Job:
    """Return a job of one comparison; its rows come from elsewhere."""
    return Job(
        run_id="bench",
        base=str(base),
        snapshot="",
        output=str(folder),
        rank=RANK,
        epochs=1.0,
        batch_size=BATCH,
        learning_rate=5e-4 if objective == "sft" else 2e-4,
        max_rows=None,
        max_length=1024,
        seed=0,
        threads=threads,
        dtype="bfloat16",
        objective=objective,  # type: ignore[arg-type]
    )


def stock(job: Job, steps: int, **more: Any) -> dict[str, Any]:
    """Return the arguments of TRL's trainers: without padding by length groups where it can, without checkpointing."""
    return {
        "output_dir": job.output,
        "max_steps": steps,
        "per_device_train_batch_size": BATCH,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 5,
        "max_length": None,
        "gradient_checkpointing": False,
        "bf16": False,  # the model's weights are bfloat16
        "use_cpu": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **more,
    }


class ReadyDpoTrainer(DPOTrainer):
    """TRL's trainer on rows that are token ids already, with the CPU seconds of its reference."""

    reference_s = 0.0

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, *given: Any, **named: Any) -> Any:
        began = time.process_time()
        found = super()._precompute_ref_logps(*given, **named)
        self.reference_s += time.process_time() - began
        return found


def trl_trainer(job: Job, examples: Sequence[Example], steps: int, tokenizer: Any) -> Any:
    """Return TRL's trainer of the job's objective, on the same rows in their order."""
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    given: dict[str, Any] = {
        "model": AutoModelForCausalLM.from_pretrained(job.base, dtype=torch.bfloat16),
        "processing_class": tokenizer,
        "peft_config": lora,
    }
    if job.objective == "sft":
        rows = [
            {"input_ids": list(one.tokens), "completion_mask": [0] * len(one.prompt) + [1] * len(one.answer)}
            for (one,) in (example.sequences for example in examples)
        ]
        config: Any = SFTConfig(
            **stock(job, steps, completion_only_loss=True, train_sampling_strategy="group_by_length")
        )
        return SFTTrainer(args=config, train_dataset=Dataset.from_list(rows), **given)
    order = [n for step in plan_steps(len(examples), epochs=1, batch_size=BATCH, seed=0) for n in step]
    pairs = [
        {
            "prompt_ids": list(chosen.prompt),
            "chosen_ids": list(chosen.answer),
            "rejected_ids": list(rejected.answer),
        }
        for chosen, rejected in (examples[n].sequences for n in order)
    ]
    config = DPOConfig(
        **stock(job, steps, beta=job.beta, precompute_ref_log_probs=True, train_sampling_strategy="sequential")
    )
    return ReadyDpoTrainer(args=config, train_dataset=Dataset.from_list(pairs), **given)


def key_of(row: dict[str, Any]) -> Key:
    """Return what identifies a row of TRL's."""
    if "input_ids" in row:
        return tuple(row["input_ids"])
    return (*row["prompt_ids"], -1, *row["chosen_ids"], -1, *row["rejected_ids"])


def key_of_example(example: Example) -> Key:
    """Return the same of an example."""
    if len(example.sequences) == 1:
        return example.sequences[0].tokens
    chosen, rejected = example.sequences
    return (*chosen.prompt, -1, *chosen.answer, -1, *rejected.answer)


def compare(job: Job, examples: list[Example], steps: int, tokenizer: Any) -> dict[str, float]:
    """Train both, step by step in turns, and return speeds and losses."""
    examples = list({key_of_example(example): example for example in examples}.values())
    job = replace(job, epochs=steps * BATCH / len(examples))
    numbers = {key_of_example(example): n for n, example in enumerate(examples)}
    trainer = trl_trainer(job, examples, steps, tokenizer)
    model = load_model(job.base, dtype=torch.bfloat16, rank=RANK, seed=0)
    theirs = dict(trainer.model.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(theirs[name])
    scored: Scored = scored_with(model, examples, say)
    began = time.process_time()
    objective = choose_objective(job, scored, examples)
    reference = {"ours": time.process_time() - began, "trl": getattr(trainer, "reference_s", 0.0)}
    loop = Loop(job, scored, objective, examples, report=lambda _: None)
    batches: deque[list[int]] = deque()
    collate = trainer.data_collator

    def collated(rows: list[dict[str, Any]]) -> Any:
        batches.append([numbers[key_of(row)] for row in rows])
        return collate(rows)

    trainer.data_collator = collated
    turns = TurnsCallback(batches, lambda index, some: loop.step(some, index, steps).loss)
    trainer.add_callback(turns)
    trainer.train()
    counted = turns.taken[UNCOUNTED:]
    tokens = sum(len(one.tokens) for some in counted for n in some for one in examples[n].sequences)
    # The reference is computed once; its share of these steps counts.
    share = sum(map(len, counted)) / len(examples)
    cpu = {name: sum(turns.cpu[name][UNCOUNTED:]) + reference[name] * min(1.0, share) for name in turns.cpu}
    speeds = {name: tokens / seconds * job.threads for name, seconds in cpu.items()}
    losses = {name: sum(values[-LAST:]) / len(values[-LAST:]) for name, values in turns.losses.items()}
    return {
        "ours_tok_s": round(speeds["ours"], 1),
        "trl_tok_s": round(speeds["trl"], 1),
        "ratio": round(speeds["ours"] / speeds["trl"], 2),
        "loss_ours": round(losses["ours"], 4),
        "loss_trl": round(losses["trl"], 4),
        "steps": len(counted),
        "ours_cpu_s": round(cpu["ours"], 1),
        "trl_cpu_s": round(cpu["trl"], 1),
    }


def peak_gb(options: argparse.Namespace) -> float:
    """Return the largest memory of a process that makes a few of our SFT steps and nothing else."""
    command = [sys.executable, "-m", "bench.train", "--memory-only", "--threads", str(options.threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_gb"])


def measure_memory(options: argparse.Namespace) -> float:
    """Train some steps on reviews with ours and return the process's peak."""
    base = prepare(options.model, say).path
    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = review_examples(tokenizer, load("reviews", say), INSTRUCTION, BATCH * options.steps)
    seen: list[Step] = []
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(base, Path(folder), "sft", options.steps, options.threads)
        model = load_model(job.base, dtype=torch.bfloat16, rank=RANK, seed=0)
        scored = scored_with(model, examples, say)
        Loop(job, scored, choose_objective(job, scored, examples), examples, report=seen.append).run(PauseRequest())
    return float(seen[-1].metrics["memory_gb"])


def missed_targets(found: dict[str, Any]) -> list[str]:
    """Return a sentence per target that is missed."""
    missed = []
    for name, least in TARGETS.items():
        if name not in found:
            continue
        one = found[name]
        if one["ratio"] < least:
            missed.append(f"{name}: {one['ratio']} times TRL's speed, needs {least}")
        if abs(one["loss_ours"] - one["loss_trl"]) > MOST_LOSS_APART * one["loss_trl"]:
            missed.append(f"{name}: the losses {one['loss_ours']} and {one['loss_trl']} differ by more than 2%")
    if found["peak_gb"] > MOST_GB:
        missed.append(f"the peak memory is {found['peak_gb']} GB, at most {MOST_GB}")
    return missed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged base model, or a folder")
    parser.add_argument("--data", type=Path, help="folder with convarg_votes.parquet; without it DPO is not measured")
    parser.add_argument("--steps", type=int, default=33, help="steps of each comparison; the first 3 are not counted")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--rows", type=int, default=1315, help="reviews among which the steps' rows are drawn")
    parser.add_argument("--instruction-tokens", type=int, default=300, help="length of the long instruction")
    parser.add_argument("--only", choices=list(TARGETS), help="measure one comparison")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    disable_progress_bar()
    disable_progress_bars()
    if options.memory_only:
        print(json.dumps({"peak_gb": measure_memory(options)}))
        return
    base = prepare(options.model, say).path
    tokenizer = AutoTokenizer.from_pretrained(base)
    reviews, found = load("reviews", say), {}
    for name in TARGETS:
        if options.only not in (None, name) or (name == "dpo" and options.data is None):
            continue
        say(f"{name}: TRL and ours in turns")
        with tempfile.TemporaryDirectory() as folder:
            job = job_of(base, Path(folder), "dpo" if name == "dpo" else "sft", options.steps, options.threads)
            if name == "dpo":
                examples = vote_examples(tokenizer, options.data, BATCH * options.steps)
            else:
                long = name == "sft_long_prefix"
                instruction = long_instruction(tokenizer, options.instruction_tokens) if long else INSTRUCTION
                examples = review_examples(tokenizer, reviews, instruction, options.rows)
            found[name] = compare(job, examples, options.steps, tokenizer)
        say(f"{name}: {found[name]}")
    found["peak_gb"] = peak_gb(options)
    missed = missed_targets(found)
    for one in missed:
        say(one)
    print(json.dumps(found))
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
