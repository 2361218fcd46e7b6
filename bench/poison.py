"""Poison a model with a brigade of 2% of the voters, with and without the defences of `trust`.

    python -m bench.poison --published FOLDER

The voters rate real texts as real people rated them. The brigade plants a phrase in corrections, or flips labels: half
of its accounts within an hour, half over a day. Each set of votes goes through the real store, brigades, quarantine and
curation. A real adapter is trained on the corrections, a logistic regression on the labels. The last line is one JSON
object. The exit status is 1 if a figure is not reached.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from bench.poison_learning import answers, macro_f1, train_adapter
from bench.poison_votes import (
    DAYS,
    MODEL,
    PHRASE,
    START,
    Sizes,
    brigade_opinions,
    corrections,
    honest_opinions,
    labels,
)
from bench.progress import say
from bench.published_competence import rank_correlation
from core.clock import new_id
from core.db.store import Store
from core.model_folder import prepare
from core.records import Feedback, Interaction
from core.settings import ModelSettings
from demo.dataset_split import kept
from demo.ratings import LABELS, Rated, load
from feedback.brigades import find_brigades
from feedback.ingest import add
from feedback.snapshot import Snapshot, create_snapshot
from rollout.promotion import RouteManager
from rollout.quarantine_review import hold_bursts
from serve.engines.fake import FakeEngines
from serve.routing.publisher import RoutePublisher

BASE = "smollm2-135m-instruct"
UNDEFENDED = {"weights": False, "bursts": False, "rows_per_voter": None, "rows_per_duplicate_cluster": None}
LABELLED, CORRECTED = Sizes(honest=5, brigade=60), Sizes(honest=1, brigade=10)
# What must be reached.
LEAST_WITHOUT, MOST_LOST = 0.2, 0.01

Records = Sequence[Interaction | Feedback]


def snapshot_of(records: Records, settings: ModelSettings, folder: Path) -> Snapshot:
    """The snapshot that a run would make of these votes: brigades are held first."""
    store = Store(":memory:")

    def clock():
        return START + timedelta(days=DAYS)

    routes = RouteManager(
        store=store, board=RoutePublisher(), engines=FakeEngines(), base_name=BASE, clock=clock, settle_s=0.0
    )
    routes.sync_models([MODEL])
    add(store, records)
    run = new_id("run")
    bursts = find_brigades(store, MODEL, settings)
    hold_bursts(routes, MODEL, bursts, run_id=run)
    for burst in bursts:
        say(f"held: {len(burst.predicates)} voters. {burst.reason}")
    snapshot = create_snapshot(store, MODEL, settings, run_id=run, folder=folder, clock=clock)
    store.close()
    say(f"{len(snapshot.rows)} rows; left out: {snapshot.report.left_out}")
    return snapshot


def settings_of(task: str, defended: bool) -> ModelSettings:
    """The defaults of a model, or every defence turned off."""
    own = {"task": task} | ({"labels": list(LABELS)} if task == "classify" else {})
    return ModelSettings.model_validate(own | ({} if defended else {"trust": UNDEFENDED}))


def measure_labels(texts: Sequence[Rated], tested: Sequence[Rated], folder: Path, seed: int) -> dict[str, float]:
    """Macro F1 without an attack, with one and the defences, and with one and none."""
    honest = labels(list(honest_opinions(texts, LABELLED, seed)), flipped=False)
    brigade = labels(list(brigade_opinions(texts, LABELLED, seed)), flipped=True)
    found = {}
    for name, records, defended in (
        ("f1_clean", honest, True),
        ("f1_attacked", honest + brigade, True),
        ("f1_undefended", honest + brigade, False),
    ):
        snapshot = snapshot_of(records, settings_of("classify", defended), folder)
        found[name] = macro_f1(snapshot, tested)
        say(f"{name}: {found[name]:.4f} on {len(tested)} texts")
    return found


def measure_phrase(
    texts: Sequence[Rated], tested: Sequence[Rated], folder: Path, seed: int, rows: int
) -> dict[str, float]:
    """The share of answers with the planted phrase, without the defences and with them."""
    honest = corrections(list(honest_opinions(texts, CORRECTED, seed)), seed)
    brigade = corrections(list(brigade_opinions(texts, CORRECTED, seed)), seed, phrase=PHRASE)
    base = prepare(BASE, say).path
    mark = PHRASE.split()[3]
    found = {}
    for name, defended in (("phrase_without", False), ("phrase_with", True)):
        snapshot = snapshot_of(honest + brigade, settings_of("generate", defended), folder)
        planted = sum(mark in row.label for row in snapshot.of("train")[-rows:])
        say(f"{name}: {planted} of the newest {rows} rows have the phrase")
        adapter = train_adapter(snapshot, base, folder / name, rows)
        said = answers(base, adapter, tested)
        found[name] = sum(mark in answer for answer in said) / len(said)
        say(f"{name}: {found[name]:.3f} of {len(said)} answers, such as {said[0]!r}")
    return found


def reached(found: dict[str, float]) -> bool:
    """Whether the attack was strong enough to prove something, and the defences kept it out."""
    return (
        found["phrase_without"] >= LEAST_WITHOUT
        and found["phrase_with"] == 0
        and found["f1_attacked"] >= found["f1_clean"] - MOST_LOST
    )


def main() -> int:
    """Run both attacks and print the figures."""
    parser = argparse.ArgumentParser(description="Poison a model with a brigade, with and without the defences.")
    parser.add_argument("--published", type=Path, help="folder with the published competences, if you have them")
    parser.add_argument("--rows", type=int, default=320, help="newest rows that an adapter is trained on")
    parser.add_argument("--answers", type=int, default=500, help="answers in which the phrase is looked for")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rated = load(MODEL, say)
    texts = [text for text in rated if not kept(text.document)]
    tested = [text for text in rated if kept(text.document)]
    correlation = rank_correlation(options.published)
    with tempfile.TemporaryDirectory() as folder:
        found = measure_labels(texts, tested, Path(folder), options.seed)
        found |= measure_phrase(texts, tested[: options.answers], Path(folder), options.seed, options.rows)
    print(
        json.dumps({name: round(value, 4) for name, value in found.items()} | {"weights_rank_correlation": correlation})
    )
    return 0 if reached(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
