"""The training recipe on 15 intents: defaults only, against TF-IDF with logistic regression on the same rows.

    python -m bench.intents [--seed N] [--wrong SHARE] [--set NAME=VALUE ...]

600 messages, 40 per intent, 5 % of them with a wrong intent, are split by user as feedback is. The adapter is trained
on the train split by the default settings of `retrain`, and answers 300 other messages by the likelihood of each label.
The last line is one JSON object; the exit status is 1 if the adapter is not above.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from peft import PeftModel
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.intent_rows import INSTRUCTION, LABELS, Text, learning_texts, other_texts
from bench.progress import say
from core.model_folder import ModelFolder, prepare
from core.prompts import Chat, Prompt, to_json
from core.settings import build
from feedback.snapshot import SCHEMA, Report, Row, Snapshot
from feedback.snapshot_files import Tables, with_model, write_files
from feedback.split import bucket_of, split_key
from retrain.job_settings import job_of_run
from retrain.progress import describe
from retrain.trainer.job import REPORT, Step
from retrain.trainer.prefix_tree import TokenSequence
from retrain.trainer.process import Trainer
from retrain.trainer.rendering import Left, Renderer
from retrain.trainer.scoring import score_tree

MODEL = "intents"
TELL_STEPS = 25


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wrong", type=float, default=0.05)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    changed = dict(pair.split("=", 1) for pair in options.set)
    texts, tested = learning_texts(options.seed, wrong=options.wrong), other_texts(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(Path(scratch), texts, tested, changed)
    print(json.dumps({"seed": options.seed, "wrong": options.wrong, "set": changed} | result))
    sys.exit(result["accuracy"] <= result["tfidf"])


def measure(folder: Path, texts: Sequence[Text], tested: Sequence[Text], changed: dict[str, str]) -> dict[str, Any]:
    """Return the accuracy of the adapter and of TF-IDF with logistic regression on texts that neither learned."""
    model = {"labels": list(LABELS), "retrain": changed}
    settings = build({"data": str(folder), "models": {MODEL: model}})
    base = prepare(settings.base_model, say)
    split = settings.models[MODEL].split
    rows = [
        Row(
            f"i{n}",
            f"f{n}",
            one.user,
            bucket_of(split_key(one.user), train=split.train, dev=split.dev),
            prompt,
            one.said,
        )
        for n, (one, prompt) in enumerate((one, prompt_of(one.text)) for one in texts)
    ]
    snapshot = write_snapshot(rows, folder / "snapshot")
    job = job_of_run("intents", "sft", model=settings.models[MODEL], settings=settings, base=base, snapshot=snapshot)
    adapter = Trainer().run(job, tell)
    train = [one for one, row in zip(texts, rows, strict=True) if row.bucket == "train"]
    guessed = by_likelihood(base, adapter, [one.text for one in tested])
    right = sum(one.intent == guess for one, guess in zip(tested, guessed, strict=True))
    report = json.loads((Path(job.output) / REPORT).read_text())
    return {
        "accuracy": round(right / len(tested), 3),
        "tfidf": round(tfidf_accuracy(train, tested), 3),
        "train_rows": len(train),
        "report": report,
    }


def tell(step: Step) -> None:
    """Report every 25th step."""
    if step.done % TELL_STEPS == 0 or step.done == step.total:
        say(describe("training", step))


def prompt_of(text: str) -> Prompt:
    """Return the request of an app for a text."""
    return Chat((("system", INSTRUCTION), ("user", text)))


def write_snapshot(rows: list[Row], folder: Path) -> Snapshot:
    """Write rows as a snapshot."""
    plain = [{name: getattr(row, name) for name in SCHEMA.names} | {"prompt": to_json(row.prompt)} for row in rows]
    tables = Tables(with_model(pa.Table.from_pylist(plain, SCHEMA), MODEL, SCHEMA))
    report, target = Report({}, {}, {}, {}, {}, {}), folder / tables.content_hash()
    write_files(tables, asdict(report), target)
    return Snapshot(target.name, target, rows, report)


def tfidf_accuracy(train: Sequence[Text], tested: Sequence[Text]) -> float:
    """Return the accuracy of TF-IDF of words and pairs of words with logistic regression."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    found = LogisticRegression(C=10.0, max_iter=2000).fit(
        vectorizer.fit_transform([one.text for one in train]), [one.said for one in train]
    )
    return float(found.score(vectorizer.transform([one.text for one in tested]), [one.intent for one in tested]))


@torch.no_grad()
def by_likelihood(base: ModelFolder, adapter: Path, texts: Sequence[str]) -> list[str]:
    """Return the label that the adapter gives each text: the one with the highest likelihood."""
    renderer = Renderer(AutoTokenizer.from_pretrained(base.path), 512)
    plain = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(plain, str(adapter)).eval()
    found = []
    for text in texts:
        sequences = []
        for label in LABELS:
            rendered = renderer.render(prompt_of(text), label)
            assert not isinstance(rendered, Left), rendered
            sequences.append(TokenSequence(*rendered))
        found.append(LABELS[int(score_tree(model, sequences).argmax())])
    return found


if __name__ == "__main__":
    main()
