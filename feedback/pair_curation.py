"""Choose the votes that make pairs of a snapshot, by the rules of rows. Every other vote is counted by its reason.

Two votes are on the same text if their prompts are near-duplicates and their answers are equal. Preferences and
corrections have limits of their own, and so have thumbs and ratings.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from core.db import curation
from core.prompt_fields import Unreadable
from core.prompts import Prompt, read_stored, to_json, whole_text
from core.settings import ModelSettings
from feedback.curation import Clusters, count_values, most_of, normalized, rules_of_votes
from feedback.pairs import COMPARING, PAIR_SCHEMA, RATING
from feedback.weights import EVERYBODY_1, weights_of_thumbs

NOT_KEPT = "an answer that is not kept, or not text alone"
CUT = "an answer that failed or was cut off"
SAME = "both answers are the same"
NO_LABELS = pa.table(
    {"said": pa.array([], pa.string()), "label": pa.array([], pa.string()), "begins_another": pa.array([], pa.bool_())}
)
NO_VERDICT = {
    "middle": "a rating in the middle of the scale",
    "no middle": "a rating, and retrain.rating_middle is not set",
}

Answers = Callable[[pa.Table], Iterable[pa.RecordBatch]]
"""Request and answer of interactions and choices: batches of interaction_id, choice, endpoint, request and answer."""
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class CuratedPairs:
    """The pairs of a snapshot in their order, and how many votes make none, by reason."""

    pairs: pa.Table
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class Judged:
    """What a vote is about: an answer, or two answers with their ids, all to one prompt."""

    prompt: Prompt
    answers: Mapping[str, str]

    @property
    def key(self) -> str:
        """The same text for votes on equal answers."""
        return "\n\n".join(sorted(normalized(answer) for answer in self.answers.values()))


def curate_pairs(
    votes: pa.Table,
    answers: Answers,
    settings: ModelSettings,
    *,
    clusters: Clusters,
    flagged: frozenset[str] = frozenset(),
) -> CuratedPairs:
    """Choose the votes that make pairs. `flagged` are interactions with an answer that is unsafe or private."""
    left_out: Counter[str] = Counter()
    kinds = [_candidates(votes, types, settings, left_out) for types in (COMPARING, RATING)]
    about = {row["id"]: row for row in votes.select(ABOUT).to_pylist()}
    wanted = {id: about[id] for kind in kinds for id in kind["feedback_id"].to_pylist()}
    items = _items(wanted.values(), answers, flagged)
    prompts = _prompts(items, wanted.values(), clusters)
    weights = weights_of_thumbs(votes, ("thumbs", "rating", "preference")) if settings.trust.weights else EVERYBODY_1
    made = []
    for kind in kinds:
        selected = curation.select(
            _teaching(kind, wanted, items, left_out),
            prompts,
            weights,
            min_weight=settings.trust.min_weight,
            correction_voters=settings.trust.correction_voters,
            rows_per_duplicate_cluster=most_of(settings.trust.rows_per_duplicate_cluster),
        )
        refused = selected["reason"].is_valid()
        left_out.update(count_values(selected.filter(refused)["reason"]))
        kept = selected.filter(selected["reason"].is_null())
        kept = kept.append_column("prompt", prompts["prompt"].take(kept["place"]))
        made += [_pair(row, wanted[row["feedback_id"]], items) for row in kept.to_pylist()]
    return CuratedPairs(pa.Table.from_pylist(made, PAIR_SCHEMA), dict(sorted(left_out.items())))


ABOUT = [
    "id",
    "interaction_id",
    "answer_id",
    "other_id",
    "choice",
    "two_askers",
    "other_unknown",
    "choice_unknown",
    "ended",
]


def _candidates(votes: pa.Table, types: tuple[str, str], settings: ModelSettings, left_out: Counter[str]) -> pa.Table:
    """The votes of these types that the rules of votes allow, with their buckets."""
    of_types = votes.filter(pa.compute.is_in(votes["type"], pa.array(types)))  # type: ignore[attr-defined]
    judged = curation.judge(of_types, NO_LABELS, **rules_of_votes(settings) | {"truth": list(types)})
    left_out.update(count_values(judged.filter(judged["reason"].is_valid())["reason"]))
    return judged.filter(judged["reason"].is_null())


def _items(votes: Iterable[dict[str, Any]], answers: Answers, flagged: frozenset[str]) -> dict[str, Judged | str]:
    """What each vote is about, by `interaction_id`, or why it teaches nothing."""
    votes = list(votes)
    keys = {key: None for vote in votes for key in _keys(vote)}
    table = pa.table(
        {
            "interaction_id": pa.array([id for id, _ in keys], pa.string()),
            "choice": pa.array([choice for _, choice in keys], pa.int32()),
        }
    )
    found: dict[Key, tuple[Prompt | Unreadable, str]] = {}
    for batch in answers(table):
        for row in batch.to_pylist():
            key = row["interaction_id"], row["choice"]
            found[key] = read_stored(row["endpoint"], row["request"]), (row["answer"] or "").strip()
    return {vote["interaction_id"]: _item(vote, found, flagged) for vote in votes}


def _keys(vote: dict[str, Any]) -> list[Key]:
    """The answers of a vote."""
    return [(id, vote["choice"]) for id in (vote["answer_id"], vote["other_id"]) if id]


def _item(
    vote: dict[str, Any], found: Mapping[Key, tuple[Prompt | Unreadable, str]], flagged: frozenset[str]
) -> Judged | str:
    keys = _keys(vote)
    refusals = {
        "the answer is flagged unsafe or private": not flagged.isdisjoint(id for id, _ in keys),
        "an answer that is not known": vote["other_unknown"] or not all(key in found for key in keys),
        "does not name which of several choices it is about": vote["choice_unknown"],
        "answers that different users asked for": vote["two_askers"],
        CUT: vote["ended"] == "failed",
    }
    reason = next((reason for reason, refused in refusals.items() if refused), None)
    return reason or _judged([found[key][0] for key in keys], {id: found[id, choice][1] for id, choice in keys})


def _judged(prompts: list[Prompt | Unreadable], texts: dict[str, str]) -> Judged | str:
    """Answers by their ids with their prompt, or why they cannot be compared."""
    first = prompts[0]
    for prompt in prompts:
        if isinstance(prompt, Unreadable):
            return prompt.reason
    if any(other != first for other in prompts):
        return "answers to different prompts"
    if not all(texts.values()):
        return NOT_KEPT
    if len(set(texts.values())) < len(prompts):
        return SAME
    assert not isinstance(first, Unreadable)
    return Judged(first, texts)


def _prompts(items: Mapping[str, Judged | str], votes: Iterable[dict[str, Any]], clusters: Clusters) -> pa.Table:
    """Prompt as JSON and cluster of each item, or the reason why it has none."""
    first = {vote["interaction_id"]: vote["answer_id"] for vote in votes}
    asked = {first[id]: item.prompt for id, item in items.items() if isinstance(item, Judged)}
    numbers = clusters(pa.array(list(asked), pa.string()), [whole_text(prompt) for prompt in asked.values()]).tolist()
    of_prompt = dict(zip(asked, numbers, strict=True))
    texts = {id: (of_prompt[first[id]], item.key) for id, item in items.items() if isinstance(item, Judged)}
    number_of = {text: number for number, text in enumerate(dict.fromkeys(texts.values()))}
    return pa.table(
        {
            "interaction_id": pa.array(list(items), pa.string()),
            "prompt": pa.array(
                [to_json(item.prompt) if isinstance(item, Judged) else None for item in items.values()], pa.string()
            ),
            "cluster": pa.array([number_of[texts[id]] if id in texts else None for id in items], pa.int64()),
            "unreadable": pa.array([item if isinstance(item, str) else None for item in items.values()], pa.string()),
        }
    )


def _teaching(
    candidates: pa.Table,
    wanted: Mapping[str, dict[str, Any]],
    items: Mapping[str, Judged | str],
    left_out: Counter[str],
) -> pa.Table:
    """The candidates whose own words teach something. What is cut off can judge, but its end must not be learnt."""
    keep = []
    for row in candidates.select(["feedback_id", "type", "label", "bucket"]).to_pylist():
        vote = wanted[row["feedback_id"]]
        item = items[vote["interaction_id"]]
        reason = NO_VERDICT.get(row["label"]) if row["type"] == "rating" else None
        if vote["ended"] == "cut" and (row["bucket"] == "train" or row["type"] != "preference"):
            reason = CUT
        elif row["type"] == "correction" and isinstance(item, Judged) and row["label"] in item.answers.values():
            reason = SAME
        keep.append(reason is None)
        if reason is not None:
            left_out[reason] += 1
    return candidates.filter(pa.array(keep, pa.bool_()))


def _pair(row: dict[str, Any], vote: dict[str, Any], items: Mapping[str, Judged | str]) -> dict[str, Any]:
    """One row of the table of pairs."""
    item = items[vote["interaction_id"]]
    assert isinstance(item, Judged), "an item with a reason makes no pair"
    answer, said, other = item.answers[vote["answer_id"]], row["label"], ""
    match row["type"]:
        case "preference":
            other = vote["other_id"]
            texts = answer, item.answers[other]
        case "correction":
            texts = said, answer
        case _:
            texts = (answer, "") if said == "up" else ("", answer)
    return row | {
        "interaction_id": vote["answer_id"],
        "other_id": other,
        "chosen": texts[0],
        "rejected": texts[1],
        "signal": row["type"],
    }
