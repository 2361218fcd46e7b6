"""Choose the votes that make pairs of a snapshot, by the rules of rows. Every other vote is counted by its reason.

Two votes are on the same text if their prompts are near-duplicates and their answers are equal. Preferences and
corrections have limits of their own, and so have thumbs and ratings.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.db import curation
from core.settings import ModelSettings
from feedback.curation import Clusters, normalized
from feedback.pairs import COMPARING, PAIR_SCHEMA, RATING
from feedback.pii_rows import replaced_in
from feedback.prepared_prompts import Prompts, texts_of
from feedback.report_counts import count_values
from feedback.vote_rules import count_left_out, judge, most_of
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
"""The answers of interactions and choices: batches of interaction_id, choice and answer."""
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class CuratedPairs:
    """The pairs of a snapshot in their order, and how many votes make none, by reason.

    Prompts have no personal data. `replaced` counts what was replaced in them, by rule.
    """

    pairs: pa.Table
    left_out: dict[str, int]
    replaced: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a vote is about: an answer, or two answers with their ids, all to one prompt.

    `place` is the row of this prompt among the prepared ones.
    """

    place: int
    answers: Mapping[str, str]

    @property
    def key(self) -> str:
        """The same text for votes on equal answers."""
        return "\n\n".join(sorted(normalized(answer) for answer in self.answers.values()))


class _Read:
    """The prompts and answers that votes are about."""

    def __init__(self, wanted: Iterable[Key], prompts: Prompts, answers: Answers) -> None:
        keys = list(wanted)
        ids = pa.array([id for id, _ in keys], pa.string())
        choices = pa.array([choice for _, choice in keys], pa.int32())
        self.prompts = prompts(ids.unique()).combine_chunks()
        self._places = {id: place for place, id in enumerate(self.prompts["interaction_id"].to_pylist())}
        self._unreadable = self.prompts["unreadable"].to_pylist()
        self._answers: dict[Key, str] = {}
        for batch in answers(pa.table({"interaction_id": ids, "choice": choices})):
            for row in batch.to_pylist():
                self._answers[row["interaction_id"], row["choice"]] = (row["answer"] or "").strip()

    def has(self, keys: Iterable[Key]) -> bool:
        """Whether all of these answers are stored, with their prompts."""
        return all(key in self._answers and key[0] in self._places for key in keys)

    def judged(self, keys: Sequence[Key]) -> Judged | str:
        """Answers by their ids with their prompt, or why they cannot be compared."""
        places = [self._places[id] for id, _ in keys]
        for place in places:
            if self._unreadable[place] is not None:
                return self._unreadable[place]
        prompts = self.prompts["prompt"]
        if any(prompts[place].as_py() != prompts[places[0]].as_py() for place in places[1:]):
            return "answers to different prompts"
        texts = {key[0]: self._answers[key] for key in keys}
        if not all(texts.values()):
            return NOT_KEPT
        return SAME if len(set(texts.values())) < len(keys) else Judged(places[0], texts)


def curate_pairs(
    votes: pa.Table,
    prompts: Prompts,
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
    read = _Read({key: None for vote in wanted.values() for key in _keys(vote)}, prompts, answers)
    items = {vote["interaction_id"]: _item(vote, read, flagged) for vote in wanted.values()}
    compared = _compared(items, wanted.values(), read.prompts, clusters)
    weights = weights_of_thumbs(votes, ("thumbs", "rating", "preference")) if settings.trust.weights else EVERYBODY_1
    made, replaced = [], Counter[str]()
    for kind in kinds:
        selected = curation.select(
            _teaching(kind, wanted, items, left_out),
            compared,
            weights,
            min_weight=settings.trust.min_weight,
            correction_voters=settings.trust.correction_voters,
            rows_per_duplicate_cluster=most_of(settings.trust.rows_per_duplicate_cluster),
        )
        refused = selected["reason"].is_valid()
        left_out.update(count_values(selected.filter(refused)["reason"]))
        kept = selected.filter(selected["reason"].is_null())
        kept = kept.append_column("prompt", compared["prompt"].take(kept["place"]))
        replaced += replaced_in(compared["replaced"].take(kept["place"]))
        made += [_pair(row, wanted[row["feedback_id"]], items) for row in kept.to_pylist()]
    return CuratedPairs(pa.Table.from_pylist(made, PAIR_SCHEMA), dict(sorted(left_out.items())), replaced)


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
    judged = judge(of_types, NO_LABELS, settings, types)
    left_out.update(count_left_out(judged.left_out, "reason"))
    return judged.candidates


def _keys(vote: dict[str, Any]) -> list[Key]:
    """The answers of a vote."""
    return [(id, vote["choice"]) for id in (vote["answer_id"], vote["other_id"]) if id]


def _item(vote: dict[str, Any], read: _Read, flagged: frozenset[str]) -> Judged | str:
    keys = _keys(vote)
    refusals = {
        "the answer is flagged unsafe or private": not flagged.isdisjoint(id for id, _ in keys),
        "an answer that is not known": vote["other_unknown"] or not read.has(keys),
        "does not name which of several choices it is about": vote["choice_unknown"],
        "answers that different users asked for": vote["two_askers"],
        CUT: vote["ended"] == "failed",
    }
    return next((reason for reason, refused in refusals.items() if refused), None) or read.judged(keys)


def _compared(
    items: Mapping[str, Judged | str], votes: Iterable[dict[str, Any]], prepared: pa.Table, clusters: Clusters
) -> pa.Table:
    """Prompt as snapshots write it and cluster of each item, or the reason why it has none."""
    first = {vote["interaction_id"]: vote["answer_id"] for vote in votes}
    asked = {first[id]: item.place for id, item in items.items() if isinstance(item, Judged)}
    texts = texts_of(prepared.take(pa.array(list(asked.values()), pa.int64())).combine_chunks())
    of_prompt = dict(zip(asked, clusters(pa.array(list(asked), pa.string()), texts).tolist(), strict=True))
    same = {id: (of_prompt[first[id]], item.key) for id, item in items.items() if isinstance(item, Judged)}
    number_of = {text: number for number, text in enumerate(dict.fromkeys(same.values()))}
    places = pa.array([item.place if isinstance(item, Judged) else None for item in items.values()], pa.int64())
    written = pc.coalesce(prepared["scrubbed"], prepared["prompt"])  # type: ignore[attr-defined]
    return pa.table(
        {
            "interaction_id": pa.array(list(items), pa.string()),
            "prompt": written.take(places),
            "replaced": prepared["replaced"].take(places),
            "cluster": pa.array([number_of[same[id]] if id in same else None for id in items], pa.int64()),
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
