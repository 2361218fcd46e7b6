"""Consistency: one question in two wordings, which must get the same answer, right or wrong. Written for LoraLoop."""

from eval.suites.statements import Claim, capitalized, facts
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
    """Build the suite."""
    items = [item for number, claim in enumerate(facts(seed=5)[:GROUPS]) for item in _pair(number, claim)]
    return Suite(
        name="consistency", kpi="consistency", about="pairs of wordings that get the same answer",
        measure="agreement", better="higher", items=tuple(items),
    )  # fmt: skip


def _pair(number: int, claim: Claim) -> list[Choice]:
    first = number % len(WORDINGS)
    second = (first + 1 + number // len(WORDINGS) % (len(WORDINGS) - 1)) % len(WORDINGS)
    words = {"question": claim.question, "Question": capitalized(claim.question), "sentence": claim.sentence,
             "Sentence": capitalized(claim.sentence)}  # fmt: skip
    return [yes_or_no(f"consistency-{number}", WORDINGS[wording].format(**words), "yes") for wording in (first, second)]


def yes_or_no(group: str, text: str, counts: str) -> Choice:
    """An item with the answers yes and no, in lower case or capitalized."""
    asked = choice(group, text, ANSWERS, counts, capitalized(counts))
    return Choice(asked.group, asked.prompt, asked.choices, asked.counts, (0, 1, 0, 1))
