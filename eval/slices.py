"""Cut held-out items into slices by what is known of them, and compare the candidate with the champion on each.

Labels, length, script and topic come from the items, app and day from their interactions.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC

import numpy as np

from core.db import slices as stored
from core.db.slices import Arrival
from core.db.store import Store
from core.prompts import Prompt, subject
from core.settings import GENERATE_PRIMARY, ModelSettings
from eval.kpis.arrays import Floats, Ints
from eval.kpis.bootstrap import BootstrapPlan, user_numbers
from eval.kpis.common_words import common_words, single_words
from eval.kpis.evidence import ArmScores, Slice, SliceEvidence
from eval.kpis.label_selection import LabelSelection
from eval.kpis.slices import Dimension, ScoredItems, compare_slices
from eval.measure.preferences import PreferenceResult
from eval.measure.rows import Answers
from eval.measure.texts import ArmTexts
from feedback.coverage import group_texts
from feedback.pairs import Pair
from feedback.snapshot import Row

# A topic has about this many times the items that a slice needs, because topics differ in size.
SIZE_OF_TOPIC = 2
MOST_TOPICS = 8
# Items of as many dates or fewer have their date as the day, others the day of the week.
MOST_DATES = 7
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# The number of slices, of those that fell most, that have the words of their lost items.
MOST_EXPLAINED = 5
# The score of a single answer that replaces a primary KPI which single answers do not have.
OF_ITEMS = {"tool_name_f1": "tool_name"}
# Letters of a prompt that decide its script.
LETTERS = 2000

Items = Sequence[Row] | Sequence[Pair]


def measure_slices(
    store: Store,
    rows: Sequence[Row],
    answers: Answers,
    settings: ModelSettings,
    plan: BootstrapPlan,
    selection: LabelSelection | None = None,
) -> SliceEvidence | None:
    """The slices of the rows that an evaluation measured. None if the settings have no check of slices.

    Labels are compared by their F1 in a slice. Answers in words are compared by the primary KPI if a single answer has
    it, else by token F1.
    """
    if settings.promotion.slices is None:
        return None
    scored, tokens = scored_items(rows, answers, settings)
    # An item without a score in both arms, such as a schema that its request has not, is in no slice.
    known = ~(np.isnan(scored.champion) & np.isnan(scored.candidate))
    if scored.truth is None and not known.all():
        rows = [row for row, is_known in zip(rows, known, strict=True) if is_known]
        tokens = tokens[known]
        scored = ScoredItems(scored.kpi, voters_of(rows), scored.champion[known], scored.candidate[known])
    labels = [Dimension("label", [row.label for row in rows])] if scored.truth is not None else []
    dimensions = [*labels, Dimension("length", lengths(tokens))]
    return slices_of(store, rows, scored, dimensions, settings, plan, selection)


def preference_slices(
    store: Store, found: PreferenceResult, settings: ModelSettings, plan: BootstrapPlan
) -> SliceEvidence | None:
    """The slices of held-out preferences, by the primary KPI. None if the settings have no check of slices."""
    pairs, outcomes = found.pairs, found.outcomes
    nothing = np.zeros(0)
    scored = ScoredItems(
        found.suite.kpi, voters_of(pairs), outcomes.get("champion", nothing), outcomes.get("candidate", nothing)
    )
    return slices_of(store, pairs, scored, [], settings, plan)


def slices_of(
    store: Store,
    items: Items,
    scored: ScoredItems,
    dimensions: Sequence[Dimension],
    settings: ModelSettings,
    plan: BootstrapPlan,
    selection: LabelSelection | None = None,
) -> SliceEvidence | None:
    """The slices of scored rows or pairs by these dimensions, and by script, app, day and topic."""
    wanted = settings.promotion.slices
    if wanted is None:
        return None
    if not items:
        return SliceEvidence((), 0, wanted.least, plan.level)
    arrived = stored.arrivals(store, ids=[item.interaction_id for item in items])
    found = [arrived.get(item.interaction_id) for item in items]
    dimensions = [
        *dimensions,
        Dimension("script", [script_of(item.prompt) for item in items]),
        Dimension("app", [one and (one.app or "without a key") for one in found]),
        Dimension("day", days(found)),
        Dimension("topic", topics(items, wanted.least)),
    ]
    evidence = compare_slices(scored, dimensions, plan, wanted.least, selection)
    return explained(evidence, items, scored, {one.name: one for one in dimensions})


def scored_items(rows: Sequence[Row], answers: Answers, settings: ModelSettings) -> tuple[ScoredItems, Ints]:
    """The scores of both arms, and the tokens of each prompt, (n,). 0 for a prompt that every arm refused."""
    champion, candidate = answers["champion"], answers["candidate"]
    # The smallest count: a retrieval adds its examples to the prompt. A version that refused a prompt counts 0 tokens.
    counted = np.array([arm.prompt_tokens for arm in answers.values()])
    tokens = np.where(counted > 0, counted, np.iinfo(np.int64).max).min(0) * (counted > 0).any(0)
    match champion, candidate:
        case ArmTexts(), ArmTexts():
            primary = settings.promotion.primary.kpi
            kpi = OF_ITEMS.get(primary, primary)
            kpi = kpi if kpi in candidate.scores and kpi in champion.scores else GENERATE_PRIMARY
            return ScoredItems(kpi, voters_of(rows), champion.scores[kpi], candidate.scores[kpi]), tokens
        case ArmScores(), ArmScores():
            truth = np.array([settings.labels.index(row.label) for row in rows], dtype=np.int64)
            said = champion.probabilities.argmax(1), candidate.probabilities.argmax(1)
            right = _right(champion, truth), _right(candidate, truth)
            return ScoredItems("accuracy", voters_of(rows), *right, truth, said), tokens
        case _:
            raise TypeError("champion and candidate have different kinds of answers")


def _right(scores: ArmScores, truth: Ints) -> Floats:
    """1 for a right answer, 0 for a wrong one, (n,). NaN where a probability is no number."""
    right = (scores.probabilities.argmax(1) == truth).astype(np.float64)
    return np.where(np.isfinite(scores.probabilities).all(1), right, np.nan)


def voters_of(items: Items) -> Ints:
    """The voters of the items from 0, (n,)."""
    return user_numbers([item.user for item in items])


def lengths(tokens: Ints) -> list[str | None]:
    """Thirds of the prompts by tokens. Equal lengths are in one third, so a third can be missing. None for 0 tokens."""
    known = tokens[tokens > 0]
    if not len(known):
        return [None] * len(tokens)
    first, second = (int(np.quantile(known, share, method="inverted_cdf")) for share in (1 / 3, 2 / 3))
    names = (f"up to {first} tokens", f"{first + 1} to {second} tokens", f"over {second} tokens")
    return [names[int(count > first) + int(count > second)] if count else None for count in tokens.tolist()]


def script_of(prompt: Prompt) -> str:
    """The script of most letters of the question, such as Latin. Languages of one script are not distinguished.

    Kana makes a text Japanese, whose other letters are Han.
    """
    letters = [letter for letter in subject(prompt)[:LETTERS] if letter.isalpha()]
    counts = Counter(unicodedata.name(letter, "unknown").split()[0] for letter in letters)
    if not counts:
        return "no letters"
    if counts["HIRAGANA"] + counts["KATAKANA"] > len(letters) / 10:
        return "Japanese"
    name = min(counts, key=lambda one: (-counts[one], one))
    return {"CJK": "Han"}.get(name, name.capitalize())


def days(arrived: Sequence[Arrival | None]) -> list[str | None]:
    """The day of arrival in UTC: the date if there are few, else the day of the week."""
    times = [one and one.time.replace(tzinfo=UTC) for one in arrived]
    dates = {time.date() for time in times if time}
    if len(dates) <= MOST_DATES:
        return [time and time.date().isoformat() for time in times]
    return [time and DAYS[time.weekday()] for time in times]


def topics(items: Items, least: int) -> list[str | None]:
    """Groups of prompts by frequent words that several askers have, each named by up to three of them."""
    texts = [" ".join(single_words(subject(item.prompt))) for item in items]
    askers = [item.asker or None for item in items]
    groups = group_texts(texts, askers, texts_per_group=SIZE_OF_TOPIC * least, most_groups=MOST_TOPICS)
    if groups is None:
        return [None] * len(items)
    return [groups.names[number] for number in groups.of_texts.tolist()]


def explained(
    found: SliceEvidence, items: Items, scored: ScoredItems, dimensions: Mapping[str, Dimension]
) -> SliceEvidence:
    """The evidence with the words of lost items against the slice's other items, for the slices that fell most."""
    words = [set(single_words(subject(item.prompt))) for item in items]

    def with_words(one: Slice, place: int) -> Slice:
        if place >= MOST_EXPLAINED or not one.difference.value < 0:
            return one
        inside = np.flatnonzero(dimensions[one.dimension].inside(one.value))
        voters, askers = zip(*((items[n].user, items[n].asker) for n in inside), strict=True)
        return replace(one, words=common_words([words[n] for n in inside], voters, askers, scored.lost[inside]))

    return replace(found, slices=tuple(with_words(one, place) for place, one in enumerate(found.slices)))
