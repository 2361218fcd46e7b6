"""Plan a run: what to make of its snapshot. Pure functions with reasons."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.db.runs import FinishedRun
from core.settings import ModelSettings, RetrainSettings
from core.settings.kpi_names import PreferenceKpi
from feedback.curation import TRUTH_SIGNAL
from feedback.pairs import COMPARING, Pair
from feedback.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run makes: an adapter by `sft`, `dpo` or `kto`, a retrieval by `rag`, or nothing; with the reason.

    `then` is the objective by which the same adapter is trained after that.
    """

    objective: Literal["sft", "dpo", "kto", "rag"] | None
    reason: str
    then: Literal["dpo"] | None = None


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """The number of pairs of a train split, and of answers that users liked or not by thumbs and ratings.

    `preferences` is the number of pairs that are no corrections.
    """

    pairs: int = 0
    liked: int = 0
    disliked: int = 0
    preferences: int = 0

    @classmethod
    def count(cls, pairs: Iterable[Pair]) -> "JudgedAnswers":
        """Count pairs by kind."""
        kinds = Counter(pair.signal if pair.compares else "liked" if pair.chosen else "disliked" for pair in pairs)
        compared = sum(kinds[signal] for signal in COMPARING)
        return cls(compared, kinds["liked"], kinds["disliked"], kinds["preference"])


# The primary KPI of versions that learnt from pairs or rated answers, unless the settings name one of preferences.
PREFERENCE_PRIMARY: PreferenceKpi = "preference_margin"
NO_ANSWERS = JudgedAnswers()
# The smallest share of KTO's answers that users must have liked, and that they must not have liked.
LEAST_SHARE = 0.2
Method = Literal["sft", "dpo", "kto"]
Found = tuple[bool, str]
"""Whether the data is enough for a method, and what there is or what is missing."""


def least_rows(method: Method, settings: RetrainSettings) -> int:
    """The number of rows, pairs or rated answers of the train split that a method needs."""
    return {"sft": settings.min_labels, "dpo": settings.min_pairs, "kto": settings.min_rated}[method]


def repeats_run(snapshot: str, settings: Mapping[str, Any], last: FinishedRun | None) -> str | None:
    """Why a run would only repeat the last finished one: the same rows and settings make the same adapter."""
    if last is None or (last.snapshot, last.settings) != (snapshot, settings):
        return None
    return f"No row of the snapshot has changed since run {last.id}, which has the same settings."


def plan_of(snapshot: Snapshot, settings: ModelSettings) -> Plan:
    """What to make of a snapshot."""
    signal = TRUTH_SIGNAL[settings.task]
    labels = Counter(row.label for row in snapshot.of("train") if row.signal == signal)
    return choose_plan(labels, settings.retrain, signal, JudgedAnswers.count(snapshot.pairs_of("train")))


def choose_plan(
    train_labels: Mapping[str, int],
    settings: RetrainSettings,
    signal: str = "label",
    judged: JudgedAnswers = NO_ANSWERS,
) -> Plan:
    """What the train split is enough for: SFT before DPO before KTO, or the method that the settings name.

    SFT needs corrections, or labels of at least two classes; DPO pairs; KTO thumbs and ratings of both kinds. DPO
    follows SFT where preferences alone are enough for it. A correction is a row and a pair, so corrections alone would
    train twice on the same texts.
    """
    if settings.objective == "rag":
        return Plan("rag", "retrain.objective is rag.")
    found: dict[Method, Found] = {"sft": _for_sft(train_labels, settings, signal)}
    if signal == "correction":
        found |= {"dpo": _for_dpo(judged, settings), "kto": _for_kto(judged, settings)}
    if settings.objective != "auto":
        if settings.objective not in found:
            return Plan(None, f"retrain.objective {settings.objective} needs task: generate.")
        found = {settings.objective: found[settings.objective]}
    enough: list[Method] = [method for method, (is_enough, _) in found.items() if is_enough]
    if enough:
        then, why = _second(judged, settings) if enough[:2] == ["sft", "dpo"] else (None, "")
        others = [found[method][1] for method in enough[1:] if not (why and method == "dpo")]
        used = f"{enough[0].upper()} and DPO do not use" if then else f"{enough[0].upper()} does not use"
        unused = f"It also has {' and '.join(others)}, which {used}." if others else ""
        parts = (f"The train split has {found[enough[0]][1]}.", why, unused)
        return Plan(enough[0], " ".join(part for part in parts if part), then)
    lacking = "; ".join(text for _, text in found.values())
    reason = f"The train split has {lacking}."
    rag = settings.fallback == "rag" and sum(train_labels.values()) < settings.min_labels
    return Plan("rag" if rag else None, reason)


def _second(judged: JudgedAnswers, settings: RetrainSettings) -> tuple[Literal["dpo"] | None, str]:
    """Whether DPO follows SFT, in a train split with enough pairs, and why."""
    if judged.preferences >= settings.min_pairs:
        return "dpo", f"DPO follows SFT on {judged.pairs} pairs, {judged.preferences} of them preferences."
    counts = f"{judged.preferences} of {judged.pairs} pairs are preferences"
    return None, f"DPO does not follow SFT: {counts}; retrain.min_pairs requires {settings.min_pairs} of them."


def _for_sft(labels: Mapping[str, int], settings: RetrainSettings, signal: str) -> Found:
    total = sum(labels.values())
    if total < settings.min_labels:
        return False, f"{total} {signal}s; retrain.min_labels requires {settings.min_labels}"
    classes = sorted(label for label, count in labels.items() if count)
    if signal == "label" and len(classes) < 2:
        return False, f"only the label {classes[0]!r}; a classifier needs at least two classes"
    return True, f"{total} {signal}s"


def _for_dpo(judged: JudgedAnswers, settings: RetrainSettings) -> Found:
    if judged.pairs < settings.min_pairs:
        return False, f"{judged.pairs} pairs; retrain.min_pairs requires {settings.min_pairs}"
    return True, f"{judged.pairs} pairs"


def _for_kto(judged: JudgedAnswers, settings: RetrainSettings) -> Found:
    each = math.ceil(settings.min_rated * LEAST_SHARE)
    counts = f"{judged.liked} answers that users liked and {judged.disliked} that they did not"
    if judged.liked + judged.disliked < settings.min_rated or min(judged.liked, judged.disliked) < each:
        return False, f"{counts}; retrain.min_rated requires {settings.min_rated}, {each} of each"
    return True, counts


def judged_by(plan: Plan, settings: ModelSettings) -> ModelSettings:
    """The settings by which a plan's candidate is judged.

    What DPO and KTO train is what held-out preferences measure. Likeness to corrections is not, so `preference_margin`
    replaces a primary KPI that is not one of preferences.
    """
    promotion = settings.promotion
    if plan.objective not in ("dpo", "kto") or promotion.primary.is_of_preferences:
        return settings
    primary = promotion.primary.model_copy(update={"kpi": PREFERENCE_PRIMARY})
    return settings.model_copy(update={"promotion": promotion.model_copy(update={"primary": primary})})


def require_examples(examples: int, plan: Plan, settings: RetrainSettings) -> Plan:
    """The plan to make a retrieval, or no plan if it would have fewer examples than `retrain.min_examples`."""
    if examples >= settings.min_examples:
        return plan
    return Plan(
        None,
        f"{plan.reason} A retrieval would have {examples} examples; "
        f"retrain.min_examples requires {settings.min_examples}.",
    )
