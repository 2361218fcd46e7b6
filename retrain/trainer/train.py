"""Train a fresh LoRA adapter, as a process: `python -m retrain.trainer.train job.json`.

It owns the way from a snapshot's train rows to an adapter folder. It always starts from the base model, never from an
earlier adapter, so that drift cannot add up. It must not touch the store or an engine.
"""

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from core.errors import LoraLoopError, TooFewRows
from retrain.trainer.base_answers import base_answers
from retrain.trainer.batches import PASS_TOKENS, Example
from retrain.trainer.general_prompts import HELD_OUT, REPLAYED
from retrain.trainer.job import ADAPTER, REPORT, TOO_FEW_ROWS, Job, Report, Step
from retrain.trainer.lora_linear import speed_up
from retrain.trainer.objective_order import read_in_order, report_of_second, train_in_order
from retrain.trainer.objectives import Scored
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.rendering import Renderer
from retrain.trainer.replay import Forgetting, Replay, measure_forgetting
from retrain.trainer.scoring import score_padded, score_tree
from retrain.trainer.tree_check import reason_against_trees

# The engine on the same cores comes first.
NICE = 10
# The base model's answers to the general prompts that are replayed, and to those that measure forgetting.
REPLAYED_FILE, HELD_OUT_FILE = "replayed.json", "held-out.json"


def load_model(base: str, *, dtype: torch.dtype, rank: int, seed: int) -> Any:
    """Return the base model with a fresh adapter, which depends on the seed alone."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(seed)
    adapted: Any = get_peft_model(model.to(device), lora)
    # PEFT keeps a set, whose order in the saved file would differ from process to process.
    for config in adapted.peft_config.values():
        config.target_modules = sorted(config.target_modules or ())
    speed_up(adapted)
    # Without dropout, also where the base's configuration has one.
    return adapted.eval()


def scored_with(model: Any, examples: list[Example], say: Callable[[str], None]) -> Scored:
    """Return how examples are scored: in prefix trees where the model can, which is checked, else padded."""
    sequences = [sequence for example in examples for sequence in example.sequences]
    if model.device.type == "cpu" and max(len(one.tokens) for one in sequences) <= PASS_TOKENS:
        # With a mask, the backward pass of the CPU's fused attention takes a quarter of a step. Plain attention keeps a
        # square of weights per layer and head, which is small for short rows only.
        model.set_attn_implementation("eager")
    reason = reason_against_trees(model, sequences)
    if reason is None:
        say("Rows that begin alike share their tokens (prefix trees).")
        return Scored(model, score_tree)
    say(f"Rows are padded, without prefix trees: {reason}.")
    return Scored(model, score_padded)


def train(job: Job, report: Callable[[Step], None]) -> None:
    """Train and save the adapter into the job's output folder. Raises TrainingFailed."""
    torch.set_num_threads(min(job.threads, len(os.sched_getaffinity(0))))
    disable_progress_bar()
    output = Path(job.output)
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    renderer = Renderer(tokenizer, job.max_length)
    jobs, lacking = read_in_order(job, renderer, say)
    dtype = torch.bfloat16 if job.dtype == "bfloat16" else torch.float32
    model = load_model(job.base, dtype=dtype, rank=job.rank, seed=job.seed)
    scored = scored_with(model, [example for one in jobs for example in one.examples], say)
    replay = replay_of(job, model, renderer)
    dev = train_in_order(jobs, scored, renderer, replay=replay, report=report, say=say)
    for ended in dev:
        if ended and "reason" in ended:
            say(ended["reason"])
    model.save_pretrained(str(output / ADAPTER))
    done = Report(
        rows=len(jobs[0].examples),
        left_out=jobs[0].left_out,
        prefix_trees=scored.score is score_tree,
        dev=dev[0],
        then=report_of_second(jobs, dev, lacking),
    )
    done.write(output / REPORT)
    # A trial's adapter is not kept.
    if not job.scores and (forgetting := forgetting_of(job, model, renderer)):
        replace(done, forgetting=asdict(forgetting)).write(output / REPORT)


def replay_of(job: Job, model: Any, renderer: Renderer) -> Replay | None:
    """Return what a job replays, None if it replays nothing."""
    if not job.replay:
        return None
    rows = general_rows(job, model, renderer, REPLAYED, REPLAYED_FILE)
    say(f"{job.replay:.0%} of each step are {len(rows)} general prompts, with the base model's answers.")
    return Replay(rows, share=job.replay, batch_size=job.batch_size, seed=job.seed)


def forgetting_of(job: Job, model: Any, renderer: Renderer) -> Forgetting | None:
    """Measure how far the trained adapter is from the base model on general prompts.

    None where that fails, for example for want of memory: a finished training is not lost for it.
    """
    try:
        found = measure_forgetting(model, general_rows(job, model, renderer, HELD_OUT, HELD_OUT_FILE))
    except Exception as error:
        say(f"Forgetting was not measured: {type(error).__name__}: {error}")
        return None
    if not math.isfinite(found.value):
        say("Forgetting was not measured: it is not finite.")
        return None
    say(f"Forgetting: {found.value:.3f} nats per token on {found.prompts} general prompts.")
    return found


def general_rows(job: Job, model: Any, renderer: Renderer, texts: Sequence[str], name: str) -> list[TokenSequence]:
    """Return general prompts with the base model's answers, from the job's file of this name if it is there."""
    file = Path(job.answers or job.output) / name
    return base_answers(model, renderer, texts, base=Path(job.base), file=file)


def say(text: str) -> None:
    """Print a line for the trainer's log."""
    print(text, flush=True)


def main() -> None:
    """Train the job of the file that is named on the command line."""
    os.nice(NICE)
    try:
        train(Job.read(Path(sys.argv[1])), lambda step: say(step.line()))
    except TooFewRows as error:
        say(str(error))
        raise SystemExit(TOO_FEW_ROWS) from error
    except LoraLoopError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
