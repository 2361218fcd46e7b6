"""Supervised fine-tuning of a fresh LoRA adapter, as a process: `python -m retrain.trainer.sft job.json`.

It owns the way from a snapshot's train rows to an adapter folder. It always starts from the base model,
never from an earlier adapter, so that drift cannot add up; it must not touch the store or an engine.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, TrainerCallback
from transformers.utils.logging import disable_progress_bar
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from core.prompts import Chat, Prompt, answer_text, to_json
from feedback.snapshot import Row, read_rows
from retrain.trainer.job import ADAPTER, Job, Step

SHOWN = ("loss", "learning_rate", "grad_norm")


def texts(tokenizer: PreTrainedTokenizerBase, rows: list[Row]) -> list[dict[str, str]]:
    """Rows as prompt and completion, rendered just as the engine renders them; TRL adds the end token."""
    return [
        {"prompt": _render(tokenizer, row.prompt), "completion": answer_text(row.prompt, row.label)} for row in rows
    ]


def _render(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    if isinstance(prompt, Chat):
        return str(tokenizer.apply_chat_template(prompt.as_openai(), tokenize=False, add_generation_prompt=True))
    return prompt.text


def choose_rows(rows: list[Row], job: Job) -> list[Row]:
    """The train rows, the newest `max_rows` of them. Their order follows from the seed and their content alone."""
    train = [row for row in rows if row.bucket == "train"]
    newest = train[-job.max_rows :] if job.max_rows else train

    def place(row: Row) -> bytes:
        return hashlib.sha256(json.dumps([job.seed, to_json(row.prompt), row.label]).encode()).digest()

    return sorted(newest, key=place)


class Reporter(TrainerCallback):
    """Prints a line a step for control to read."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called by the trainer with the step's numbers."""
        numbers = {name: value for name, value in (logs or {}).items() if name in SHOWN}
        numbers["seconds"] = round(time.monotonic() - self._started, 1)
        print(Step(state.global_step, state.max_steps, numbers).line(), flush=True)


def train(job: Job) -> None:
    """Trains and saves the adapter into the job's output folder."""
    torch.set_num_threads(job.threads)
    disable_progress_bar()
    disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    dtype = torch.bfloat16 if job.dtype == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job.base, dtype=dtype)
    rows = choose_rows(read_rows(Path(job.snapshot)), job)
    output = Path(job.output)
    config = SFTConfig(
        output_dir=str(output / "work"),
        num_train_epochs=job.epochs,
        per_device_train_batch_size=job.batch_size,
        learning_rate=job.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=5,
        max_length=job.max_length,
        completion_only_loss=True,
        # Rows of like length share a batch: padding is the larger part of the arithmetic otherwise.
        train_sampling_strategy="group_by_length",
        gradient_checkpointing=False,
        seed=job.seed,
        data_seed=job.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    lora = LoraConfig(
        r=job.rank, lora_alpha=2 * job.rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(texts(tokenizer, rows)),
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=[Reporter()],
    )
    trainer.train()
    adapted: Any = trainer.model
    adapted.save_pretrained(str(output / ADAPTER))


if __name__ == "__main__":
    train(Job.read(Path(sys.argv[1])))
