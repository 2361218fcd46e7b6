"""What is learnt from a snapshot: a real adapter that answers, and a quick classifier of labels.

It must not know which votes are a brigade's.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from bench.poison_votes import DESCRIBE, messages
from bench.progress import say
from core.prompts import subject
from demo.ratings import LABELS, Rated
from feedback.snapshot import Snapshot
from retrain.trainer.job import Job, Step
from retrain.trainer.process import Trainer

ANSWERS_AT_ONCE = 50
MOST_NEW_TOKENS = 32


def train_adapter(snapshot: Snapshot, base: Path, output: Path, rows: int) -> Path:
    """A real adapter, made by the trainer's process from the newest rows of the snapshot."""
    job = Job(
        run_id=output.name,
        base=str(base),
        snapshot=str(snapshot.path),
        output=str(output),
        rank=16,
        epochs=1.0,
        batch_size=8,
        learning_rate=5e-4,
        max_rows=rows,
        max_length=512,
        seed=0,
        threads=os.cpu_count() or 2,
        dtype="bfloat16",
    )

    def progress(step: Step) -> None:
        if step.done % 10 == 0 or step.done == step.total:
            say(f"{output.name}: step {step.done} of {step.total}, {step.metrics}")

    return Trainer().run(job, progress)


def answers(base: Path, adapter: Path, texts: Sequence[Rated]) -> list[str]:
    """The greedy answer of base model and adapter to each text."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from retrain.trainer.rendering import chat_ids

    tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    prompts = [chat_ids(tokenizer, messages(DESCRIBE, text)) or () for text in texts]
    # Prompts of like length share a batch.
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    found = [""] * len(prompts)
    for first in range(0, len(order), ANSWERS_AT_ONCE):
        some = order[first : first + ANSWERS_AT_ONCE]
        batch = tokenizer.pad({"input_ids": [list(prompts[n]) for n in some]}, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(**batch, max_new_tokens=MOST_NEW_TOKENS, do_sample=False)
        said = tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for n, answer in zip(some, said, strict=True):
            found[n] = answer
        say(f"{first + len(some)} of {len(order)} answers")
    return found


def macro_f1(snapshot: Snapshot, tested: Sequence[Rated]) -> float:
    """Macro F1 of a logistic regression over TF-IDF of the train rows, on texts of other documents."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline

    rows = snapshot.of("train")
    learner = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(max_iter=1000))
    learner.fit([subject(row.prompt) for row in rows], [row.label for row in rows])
    said = learner.predict([messages(DESCRIBE, text)[1]["content"] for text in tested])
    return float(f1_score([text.truth for text in tested], said, labels=list(LABELS), average="macro"))
