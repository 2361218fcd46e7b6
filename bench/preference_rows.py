"""Read votes between two arguments as records of a model: answers of one debate and side, and voters' preferences.

The folder has `convarg_arguments.parquet` and `convarg_votes.parquet`, made of UKPLab/acl2016-convincing-arguments
(CC BY 4.0). Nothing here may depend on how they are trained on.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.records import Interaction

# Words of an argument that the model learns and is judged on, about 110 tokens. Most have fewer words.
WORDS = 85
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: its prompt names the debate and the side."""

    id: str
    prompt: str
    text: str

    @property
    def short(self) -> str:
        """Return the text without the words behind WORDS."""
        return " ".join(self.text.split()[:WORDS])


@dataclass(frozen=True, slots=True)
class Choice:
    """A voter's decided vote: the id of the argument that convinces more, and of the other."""

    voter: str
    chosen: str
    rejected: str

    @property
    def pair(self) -> frozenset[str]:
        """Return both ids."""
        return frozenset((self.chosen, self.rejected))


def read_arguments(folder: Path) -> dict[str, Argument]:
    """Return the arguments by id."""
    rows = pq.read_table(folder / "convarg_arguments.parquet").to_pylist()
    return {row["id"]: Argument(row["id"], f"{row['debate']} Argue for: {row['stance']}", row["text"]) for row in rows}


def read_choices(folder: Path, arguments: Mapping[str, Argument]) -> list[Choice]:
    """Return the decided votes in the order of the file."""
    columns = ["arg1", "arg2", "worker", "value"]
    found = []
    for row in pq.read_table(folder / "convarg_votes.parquet", columns=columns).to_pylist():
        sides = [row[name] for name in ("arg1", "arg2")]
        if row["value"] == "equal" or not all(side in arguments for side in sides):
            continue
        if row["value"] == "a2":
            sides.reverse()
        found.append(Choice(row["worker"], *sides))
    return found


@dataclass(frozen=True, slots=True)
class Edit:
    """A machine translation with a person's correction of it."""

    machine: str
    edited: str

    @property
    def prompt(self) -> str:
        """Return the request to correct it."""
        return f"Correct this translation into English: {self.machine}"


def read_edits(folder: Path, count: int) -> list[Edit]:
    """Return the first corrections that changed something, without two of one machine translation."""
    columns = ["machine", "edited"]
    rows = pq.read_table(folder / "post_edits.parquet", columns=columns).to_pylist()
    found = {row["machine"]: Edit(**row) for row in rows if row["machine"] != row["edited"]}
    return list(found.values())[:count]


def arguments_as_answers(arguments: Mapping[str, Argument], model: str) -> Iterator[Interaction]:
    """Yield each argument as an answer to its prompt."""
    for one in arguments.values():
        yield answer(f"{model}-{one.id}", model, one.prompt, one.short)


def edits_as_answers(edits: Sequence[Edit], model: str) -> Iterator[Interaction]:
    """Yield each machine translation as an answer to the request to correct it."""
    for n, edit in enumerate(edits):
        yield answer(f"{model}-{n}", model, edit.prompt, edit.machine)


def corrections(edits: Sequence[Edit], model: str, editors: int) -> Iterator[dict[str, Any]]:
    """Yield the corrections, as apps send them. The data does not name people, so editors take turns."""
    for n, edit in enumerate(edits):
        who = f"editor-{n % editors}"
        yield {"type": "correction", "interaction_id": f"{model}-{n}", "value": edit.edited, "user": who}


def answer(identity: str, model: str, prompt: str, text: str) -> Interaction:
    """Return an answer of version 0 to nobody in particular."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    return Interaction(
        id=identity,
        time=BEGAN,
        model=model,
        version=0,
        arm="champion",
        share=0.0,
        bucket=None,
        user=None,
        conversation=None,
        endpoint="chat",
        request=body,
        answer=text,
        finish_reason="stop",
        status=200,
        latency_ms=1.0,
        ttft_ms=None,
        prompt_tokens=1,
        completion_tokens=1,
        streamed=False,
    )


def preferences(choices: Sequence[Choice], model: str) -> Iterator[dict[str, Any]]:
    """Yield each vote as a preference, as apps send it."""
    for choice in choices:
        value = {"chosen": f"{model}-{choice.chosen}", "rejected": f"{model}-{choice.rejected}"}
        yield {"type": "preference", "value": value, "user": choice.voter}


def thumbs(choices: Sequence[Choice], model: str) -> Iterator[dict[str, Any]]:
    """Yield each vote as a thumb up on the chosen argument and a thumb down on the other, as apps send them."""
    for choice in choices:
        for about, up in ((choice.chosen, True), (choice.rejected, False)):
            yield {"type": "thumbs", "interaction_id": f"{model}-{about}", "value": up, "user": choice.voter}


def longer_wins(choices: Sequence[Choice], arguments: Mapping[str, Argument]) -> float:
    """Return the share of votes whose chosen text is the longer one. Equal lengths count half."""
    sizes = [(len(arguments[choice.chosen].text), len(arguments[choice.rejected].text)) for choice in choices]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in sizes) / len(sizes)


def one_person(judged: Sequence[Choice], everyone: Sequence[Choice]) -> float:
    """Return how often a vote agrees with the majority of the other voters on its pair, where there is one."""
    votes: dict[frozenset[str], Counter[str]] = defaultdict(Counter)
    for choice in everyone:
        votes[choice.pair][choice.chosen] += 1
    # Without the vote itself.
    ahead = [votes[choice.pair][choice.chosen] - 1 - votes[choice.pair][choice.rejected] for choice in judged]
    decided = [lead for lead in ahead if lead]
    return sum(lead > 0 for lead in decided) / len(decided)
