"""Learning from people's judgements, as traffic through gateway, control, trainer, engine and gate.

    python -m bench.preferences FOLDER [--only dpo kto corrections] [--steps 100]

Votes on arguments are sent as preferences (DPO), and those of train users as thumbs (KTO). Corrections of machine
translations are for SFT. The folder's files are made of UKPLab/acl2016-convincing-arguments (CC BY 4.0) and
sheffieldnlp/mlqe-pe (CC0). The last line is one JSON object. The exit status is 1 if DPO misses its target.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx

from bench.preference_rows import (
    Choice,
    arguments_as_answers,
    corrections,
    edits_as_answers,
    longer_wins,
    one_person,
    preferences,
    read_arguments,
    read_choices,
    read_edits,
    thumbs,
)
from bench.progress import say
from core.record_codec import encode_all
from core.records import Interaction
from eval.kpis.text import chrf
from feedback.pairs import Pair
from feedback.snapshot import read_pairs, read_rows
from feedback.split import bucket_of, split_key
from tools.live_stack import LiveStack

SPLIT = {"train": 0.6, "dev": 0.1}
BATCH = 8
TARGET = 0.73
EDITORS = 300
RUN_SECONDS = 3 * 3600
ENGINE = {"max_loras": 4, "max_lora_rank": 16, "max_model_len": 1024, "dtype": "bfloat16", "extra_args": []}
# Years of votes arrive within minutes, which would be a burst.
TRUST = {"bursts": False}


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one model learns from: its answers, and its feedback in the form that apps send."""

    model: str
    retrain: dict[str, Any]
    evaluation: dict[str, Any]
    kpi: str
    answers: list[Interaction]
    votes: list[dict[str, Any]]

    def settings(self) -> dict[str, Any]:
        """Return the model's settings. The gate decides alone, without a canary."""
        return {
            "task": "generate",
            "split": SPLIT,
            "trust": TRUST,
            "retrain": {"schedule": None, "min_new_feedback": 10_000_000, **self.retrain},
            "evaluation": self.evaluation,
            "promotion": {
                "primary": {"kpi": self.kpi},
                "must_beat": ["base"],
                "canary": None,
                "holdback": None,
                "limits": {"window_hours": 0, "cooldown_hours": 0},
            },
        }


def run(stack: LiveStack, experiment: Experiment) -> dict[str, Any]:
    """Send answers and votes, start a run, and return its decision."""
    model, known = experiment.model, stored(stack)
    for some in in_parts(experiment.answers, 1000):
        with httpx.Client(base_url=stack.settings.control_url, headers=stack.bearer("ops"), timeout=120) as control:
            control.post("/api/import", content=encode_all(some)).raise_for_status()
    with httpx.Client(base_url=stack.gateway, headers=stack.bearer("app"), timeout=120) as gateway:
        for some in in_parts(experiment.votes, 1000):
            gateway.post("/v1/feedback", json=some).raise_for_status()
    say(f"{model}: {len(experiment.answers)} answers, {len(experiment.votes)} votes sent")
    stack.wait(lambda: stored(stack) - known >= len(experiment.votes), "the votes in the store")
    before = len(stack.decisions(model))
    stack.control.post(f"/api/models/{model}/retrain", {"actor": "bench"})
    watch = Watch(stack, model)
    stack.wait(lambda: watch.look() or len(stack.decisions(model)) > before, "the decision", RUN_SECONDS)
    row = stack.decisions(model)[-1]
    return dict(stack.control.get(f"/api/promotions/{row['id']}"))


def stored(stack: LiveStack) -> int:
    """Return the number of votes in the store."""
    return int(sum(row["n"] for row in stack.control.get("/api/feedback")))


class Watch:
    """Say once per minute how far a run is."""

    def __init__(self, stack: LiveStack, model: str) -> None:
        self._stack, self._model, self._last = stack, model, 0.0

    def look(self) -> None:
        """Say it if a minute is over."""
        if time.monotonic() - self._last < 60:
            return
        self._last = time.monotonic()
        for found in self._stack.control.get("/api/runs", model=self._model, limit=1):
            say(f"{self._model}: {found['state']} {found['progress'] or ''}")


def in_parts(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of at most this many rows."""
    remaining = iter(rows)
    while part := list(islice(remaining, size)):
        yield part


def held_out_pairs(snapshots: Path, decision: dict[str, Any]) -> list[Pair]:
    """Return the preferences that judged a decision, oldest first."""
    evidence, lineage = decision["evidence"], decision["lineage"]
    bucket = evidence["holdout"].partition(".")[0]
    pairs = read_pairs(snapshots / lineage["snapshot"])
    found = [pair for pair in pairs if pair.bucket == bucket and pair.signal == "preference"]
    return found[-evidence["suites"]["preference_margin"]["n"] :]


def judged_by_preferences(
    snapshots: Path, decision: dict[str, Any], everyone: Sequence[Choice], folder: Path
) -> dict[str, Any]:
    """Return the figures of a version that learnt from votes, with the baselines on the same votes."""
    if not decision["evidence"]:
        return {"verdict": decision["verdict"], "reason": decision["reason"]}
    pairs = held_out_pairs(snapshots, decision)
    judged = [
        Choice(pair.user, *(id.removeprefix(f"{decision['model']}-") for id in (pair.interaction_id, pair.other_id)))
        for pair in pairs
    ]
    suites, training = decision["evidence"]["suites"], decision["lineage"]["training"]
    margin = suites["preference_margin"]
    candidate = margin["arms"]["candidate"]
    arguments = read_arguments(folder)
    return {
        "heldout_voters_accuracy": candidate["value"],
        "interval": [candidate["low"], candidate["high"]],
        "votes": margin["n"],
        "voters": margin["users"],
        "by_likelihood": {arm: one["value"] for arm, one in suites["preference_accuracy"]["arms"].items()},
        "length_baseline": round(longer_wins(judged, arguments), 4),
        "one_person": round(one_person(judged, everyone), 4),
        "kl_to_base": suites["kl_to_base"]["arms"].get("candidate", {}).get("value"),
        "learnt_from": training["rows"],
        "objective": training["objective"],
        "cost": decision["lineage"]["cost"],
        "verdict": decision["verdict"],
        "reason": decision["reason"],
    }


def judged_by_corrections(snapshots: Path, decision: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a version that learnt from corrections, with those of the text that was corrected."""
    if not decision["evidence"]:
        return {"verdict": decision["verdict"], "reason": decision["reason"]}
    evidence, lineage = decision["evidence"], decision["lineage"]
    bucket = evidence["holdout"].partition(".")[0]
    rows = [row for row in read_rows(snapshots / lineage["snapshot"]) if row.bucket == bucket]
    machine = [row.prompt.messages[-1][1].partition(": ")[2] for row in rows]  # type: ignore[union-attr]
    raw = [chrf(text, row.label) for text, row in zip(machine, rows, strict=True)]
    arms = evidence["arms"]
    return {
        "chrf_base": arms["base"]["chrf"]["value"],
        "chrf_raw": round(sum(raw) / len(raw), 4),
        "chrf_candidate": arms["candidate"]["chrf"]["value"],
        "interval": [arms["candidate"]["chrf"]["low"], arms["candidate"]["chrf"]["high"]],
        "exact_match": {arm: found["exact_match"]["value"] for arm, found in arms.items()},
        "texts": evidence["n"],
        "learnt_from": lineage["training"]["rows"],
        "cost": lineage["cost"],
        "verdict": decision["verdict"],
        "reason": decision["reason"],
    }


def experiments(folder: Path, chosen: Sequence[str], steps: int, votes: int | None) -> dict[str, Experiment]:
    """Return the experiments by name."""
    arguments = read_arguments(folder)
    everyone = read_choices(folder, arguments)[:votes]
    learns = [one for one in everyone if bucket_of(split_key(one.voter), **SPLIT) == "train"]
    judges = [one for one in everyone if bucket_of(split_key(one.voter), **SPLIT) != "train"]
    edits = read_edits(folder, 3000)
    rows = steps * BATCH
    short = {
        "min_steps": 1,
        "max_rows": rows,
        "min_pairs": rows,
        "min_rated": rows,
        "min_labels": rows,
        "max_length": 256,
        "rank": 16,
        "batch_size": BATCH,
    }
    few = {"latency_items": 0, "max_tokens": 64, "bootstrap": 2000}
    made = {
        "dpo": Experiment(
            "arguments",
            {"objective": "dpo", **short},
            few,
            "preference_margin",
            list(arguments_as_answers(arguments, "arguments")),
            list(preferences(everyone, "arguments")),
        ),
        "kto": Experiment(
            "liked-arguments",
            {"objective": "kto", **short},
            few,
            "preference_margin",
            list(arguments_as_answers(arguments, "liked-arguments")),
            [*thumbs(learns, "liked-arguments"), *preferences(judges, "liked-arguments")],
        ),
        "corrections": Experiment(
            "translations",
            {"objective": "sft", **short, "learning_rate": 2e-4},
            few | {"items": 200},
            "chrf",
            list(edits_as_answers(edits, "translations")),
            list(corrections(edits, "translations", EDITORS)),
        ),
    }
    return {name: made[name] for name in chosen}


def measure(folder: Path, chosen: Sequence[str], steps: int, votes: int | None) -> dict[str, Any]:
    """Run the experiments one after another on one stack."""
    made, found = experiments(folder, chosen, steps, votes), dict[str, Any]()
    everyone = read_choices(folder, read_arguments(folder))
    with tempfile.TemporaryDirectory(prefix="preferences-") as scratch:
        models = {experiment.model: experiment.settings() for experiment in made.values()}
        content = {"base_model": "smollm2-135m-instruct", "models": models}
        stack = LiveStack(Path(scratch), content, engine_settings=ENGINE)
        try:
            stack.await_ready()
            for name, experiment in made.items():
                began = time.monotonic()
                decision = run(stack, experiment)
                snapshots = Path(scratch) / "data" / "snapshots"
                figures = (
                    judged_by_corrections(snapshots, decision)
                    if name == "corrections"
                    else judged_by_preferences(snapshots, decision, everyone, folder)
                )
                found[name] = figures | {"seconds": round(time.monotonic() - began)}
                say(f"{name}: {json.dumps(found[name])}")
        finally:
            stack.stop()
    return found


def main() -> None:
    """Run it; the last line of output is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the data")
    names = ["dpo", "kto", "corrections"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--steps", type=int, default=100, help="training steps of 8 pairs, answers or rows")
    parser.add_argument("--votes", type=int, help="use the first votes alone, for a quick look")
    options = parser.parse_args()
    found = measure(options.folder, options.only, options.steps, options.votes)
    print(json.dumps(found))
    sys.exit("dpo" in found and found["dpo"].get("heldout_voters_accuracy", 0.0) < TARGET)


if __name__ == "__main__":
    main()
