"""Consistency: one question in two wordings, to which the answer must be the same. Written for LoraLoop.

It owns the wordings; whether an answer is right is not judged, only that it is the same.
"""

from eval.suites.statements import Claim, capital, facts
from eval.suites.suite import Choice, Suite, choice

GROUPS = 500
WORDINGS = (
    "{Question}? Answer yes or no.",
    "Answer with yes or no: {question}?",
    "Tell me, yes or no: {question}?",
    "{Sentence}. Is that so? Say yes or no.",
    "Is it true that {sentence}? Yes or no?",
    "Yes or no: would you say that {sentence}?",
)
ANSWERS = ("yes", "no", "Yes", "No")


def build() -> Suite:
    """The suite."""
    items = [item for number, claim in enumerate(facts(seed=5)[:GROUPS]) for item in _pair(number, claim)]
    return Suite(
        name="consistency", kpi="consistency", about="pairs of wordings that get the same answer",
        measure="agreement", better="higher", items=tuple(items),
    )  # fmt: skip


def _pair(number: int, claim: Claim) -> list[Choice]:
    first = number % len(WORDINGS)
    second = (first + 1 + number // len(WORDINGS) % (len(WORDINGS) - 1)) % len(WORDINGS)
    words = {"question": claim.question, "Question": capital(claim.question), "sentence": claim.sentence,
             "Sentence": capital(claim.sentence)}  # fmt: skip
    return [yes_or_no(f"consistency-{number}", WORDINGS[wording].format(**words), "yes") for wording in (first, second)]


def yes_or_no(group: str, text: str, counts: str) -> Choice:
    """An item that is answered by yes or no, in small letters or with a capital."""
    asked = choice(group, text, ANSWERS, counts, capital(counts))
    return Choice(asked.group, asked.prompt, asked.choices, asked.counts, (0, 1, 0, 1))
