"""Select held-out thumbs on answers: those of users whose feedback is not used for training.

The rules are those of curation: last words, flags, whole answers, and near-duplicates. Votes that are left out are
counted by reason.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from core.names import REVIEWER
from core.prompts import Prompt, from_stored, whole_text
from core.settings import ModelSettings
from feedback.curation import Clusters
from feedback.pii_rows import scrub_prompt
from feedback.snapshot import Row
from feedback.split import bucket_of, places_of, split_key

Vote = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Thumb:
    """An answer with a user's thumb on it."""

    user: str
    prompt: Prompt
    answer: str
    up: bool


class Bucket:
    """One bucket of a split without the prompts of the train rows: its users, and what to leave out.

    Users of `before` are in it no more. `flagged` are interactions whose answers do not judge. `clusters` says which
    prompts are the same text.
    """

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        learnt: Sequence[Row],
        before: frozenset[str] = frozenset(),
        *,
        flagged: frozenset[str] = frozenset(),
        clusters: Clusters,
    ) -> None:
        self._name = name
        self._split = settings.split
        self._reviewers_judge = settings.trust.reviewers_judge
        self._before = before
        self._learnt = learnt
        self._clusters = clusters
        self._rules = settings.privacy.rules
        self.flagged = flagged

    @property
    def places(self) -> tuple[float, float]:
        """The hashes of its users: from this one to below that one."""
        return places_of(self._name, train=self._split.train, dev=self._split.dev)

    def judge_of(self, voter: str | None, askers: Sequence[str | None]) -> tuple[str | None, str]:
        """The user whose vote it is, or None and the reason why the vote does not judge.

        Voter and askers must all be in the bucket. A voter or asker who is unknown is the other one. A reviewer is in
        the bucket of the asker.
        """
        reviewed = bool(voter and voter.startswith(REVIEWER))
        if reviewed and not self._reviewers_judge:
            return None, "a reviewer's vote"
        known = {split_key(name) for name in (*askers, None if reviewed else voter) if name}
        own = (bucket_of(key, train=self._split.train, dev=self._split.dev) == self._name for key in known)
        if not known:
            return None, "voter and asker are unknown"
        if known & self._before or not all(own):
            return None, "another bucket"
        return split_key(voter or next(filter(None, askers))), ""

    def learnt(self, asked: Sequence[tuple[str, Prompt]]) -> list[bool]:
        """Whether a row with the same text was learnt from, for each interaction and its prompt.

        Rows have tags instead of personal data, so prompts are compared with the same tags.
        """
        scrubbed = ((identity, scrub_prompt(prompt, self._rules)[0]) for identity, prompt in asked)
        given = [*((row.interaction_id, row.prompt) for row in self._learnt), *scrubbed]
        ids = pa.array([identity for identity, _ in given], pa.string())
        numbers = self._clusters(ids, [whole_text(prompt) for _, prompt in given])
        known, new = np.split(numbers, [len(self._learnt)])
        return [bool(same) for same in np.isin(new, known)]


def thumbs(votes: Sequence[Vote], bucket: Bucket) -> tuple[list[Thumb], Counter[str]]:
    """Thumbs from joined votes (by time), and how many were left out for which reason.

    Both the voter and the author of the prompt must be in the bucket. Otherwise a training row could be tested on.
    Of several thumbs of one voter on one answer the last counts. If it was taken back, none does.
    """
    newest = {(*_voter(vote), vote["interaction_id"]): vote for vote in votes}
    left_out: Counter[str] = Counter()
    made: list[tuple[str, Thumb]] = []
    for vote in newest.values():
        found = "taken back" if vote["revoked"] else _thumb(vote, bucket)
        if isinstance(found, str):
            left_out[found] += 1
        else:
            made.append((vote["interaction_id"], found))
    learnt = bucket.learnt([(identity, found.prompt) for identity, found in made])
    if any(learnt):
        left_out["same text as one to learn from"] = sum(learnt)
    return [found for (_, found), known in zip(made, learnt, strict=True) if not known], left_out


def _voter(vote: Vote) -> tuple[str, str]:
    """A voter is a key and a user. A vote without a user is by the user of the answer."""
    return vote["app"], vote["voter"] or vote["user_id"] or ""


def _thumb(vote: Vote, bucket: Bucket) -> Thumb | str:
    prompt, answer = from_stored(vote["endpoint"], vote["request"]), (vote["answer"] or "").strip()
    user, reason = bucket.judge_of(vote["voter"], (vote["user_id"],))
    if user is None:
        return reason
    if vote["interaction_id"] in bucket.flagged:
        return "the answer is flagged unsafe or private"
    if prompt is None or not answer:
        return "prompt or answer is not kept, or not text alone"
    if not vote["whole"]:
        return "an answer that failed or was cut off"
    return Thumb(user, prompt, answer, json.loads(vote["value"]))
