"""Decide when new feedback starts a run: votes that teach by the model's method, counted by their arrival."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.db import new_votes, snapshots
from core.db.store import Database
from core.settings import ModelSettings
from feedback.curation import TRUTH_SIGNAL
from feedback.pairs import COMPARING, RATING
from retrain.plan import Method, least_rows

# What the votes of each method are about, in words.
ABOUT: Mapping[Method, str] = {
    "sft": "new feedback on {} answers",
    "dpo": "new preferences and corrections on {} pairs of answers",
    "kto": "new thumbs and ratings on {} answers",
}


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """Answers or pairs with new votes that teach by a method, and the number of their voters.

    `trained_on` is the number of such votes in the newest snapshot.
    """

    answers: int
    voters: int
    trained_on: int = 0


def reason_to_start(new: Mapping[Method, NewFeedback], settings: ModelSettings) -> str | None:
    """The reason to start a run now, or None if there is too little feedback."""
    retrain, method = settings.retrain, counted_method(new, settings)
    found = new[method]
    if found.answers < retrain.min_new_feedback or found.voters < retrain.min_new_voters:
        return None
    return (
        f"Triggered by {ABOUT[method].format(f'{found.answers:,}')} from {found.voters:,} voters "
        f"(thresholds {retrain.min_new_feedback:,} and {retrain.min_new_voters:,})"
    )


def possible_methods(settings: ModelSettings) -> list[Method]:
    """The methods that a run may train by, in the order in which a plan prefers them."""
    objective = settings.retrain.objective
    if settings.task != "generate" or objective in ("sft", "rag"):
        return ["sft"]
    return ["sft", "dpo", "kto"] if objective == "auto" else [objective]


def counted_method(new: Mapping[Method, NewFeedback], settings: ModelSettings) -> Method:
    """The method whose votes start the next run.

    With `auto` this is the first one whose train split would be large enough with the new votes. Without one it is
    SFT, whose run may make a retrieval and otherwise reports what is missing.
    """
    methods = possible_methods(settings)
    for method in methods:
        train = settings.split.train * (new[method].trained_on + new[method].answers)
        if len(methods) > 1 and train >= least_rows(method, settings.retrain):
            return method
    return methods[0]


def most_new(db: Database, models: Mapping[str, ModelSettings]) -> dict[str, dict[Method, int]]:
    """For each model and possible method, the largest number of new votes that `count_new` can find, in one query."""
    each: list[tuple[str, Method]] = [
        (model, method) for model, settings in models.items() for method in possible_methods(settings)
    ]
    asked = [new_votes.Asked(model, _types(method, models[model])) for model, method in each]
    found: dict[str, dict[Method, int]] = {model: {} for model in models}
    for (model, method), n in zip(each, new_votes.at_most(db, asked), strict=True):
        found[model][method] = n
    return found


def count_new(
    db: Database,
    model: str,
    settings: ModelSettings,
    *,
    least: int = 1,
    most: int | None = None,
    at_most: Mapping[Method, int] | None = None,
) -> dict[Method, NewFeedback]:
    """Count new feedback of each possible method. `at_most` is what `most_new` found, where it is known.

    Where fewer than `least` votes are new, or more than `most`, their number is returned without voters. The votes
    of `dpo` are counted exactly above `most` too.
    """
    limits = most_new(db, {model: settings})[model] if at_most is None else at_most
    methods = possible_methods(settings)
    found: dict[Method, NewFeedback] = {}
    for method in methods:
        # A preference names no model, so their number may be of another model's answers.
        is_far = most is not None and method != "dpo" and limits[method] > most
        exact = limits[method] >= least and not is_far
        found[method] = _count(db, model, method, settings) if exact else NewFeedback(limits[method], 0)
    if len(methods) == 1 or all(new.answers < least for new in found.values()):
        return found
    report = snapshots.newest_report(db, model=model)
    known = votes_of(json.loads(report)) if report else {}
    return {method: NewFeedback(new.answers, new.voters, known.get(method, 0)) for method, new in found.items()}


def votes_of(report: Mapping[str, Any]) -> dict[Method, int]:
    """The number of votes in a snapshot that teach by each method, of all buckets, from its report."""
    rows = {signal: counts["rows"] for signal, counts in report["by_signal"].items()}
    judged = report.get("pairs", {}).get("by_signal", {})
    pairs = {signal: counts["rows"] for signal, counts in judged.items()}
    return {
        "sft": rows.get("correction", 0),
        "dpo": sum(pairs.get(signal, 0) for signal in COMPARING),
        "kto": sum(pairs.get(signal, 0) for signal in RATING),
    }


def _count(db: Database, model: str, method: Method, settings: ModelSettings) -> NewFeedback:
    found = new_votes.count(
        db,
        model=model,
        types=_types(method, settings),
        middle=settings.retrain.rating_middle,
        compares=method == "dpo",
    )
    return NewFeedback(found.answers, found.voters)


def _types(method: Method, settings: ModelSettings) -> Sequence[str]:
    return {"sft": (TRUTH_SIGNAL[settings.task],), "dpo": COMPARING, "kto": RATING}[method]
