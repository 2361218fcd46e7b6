"""Simulated voters with real ratings, and a brigade among them: 2% of the voters, half of it fast and half slow.

It makes interactions with their feedback. It must not know how these are defended.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.records import Feedback, Interaction
from core.settings import SplitSettings
from demo.dataset_split import INSTRUCTION
from demo.ratings import LABELS, Rated, sign
from feedback.split import bucket_of, split_key

MODEL = "reviews"
KEY = "k1"
START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 30
# The slow half of the brigade takes the last day. The fast half votes in one hour before.
SLOW_START = START + timedelta(days=DAYS - 1)
FAST_START = SLOW_START - timedelta(hours=6)
PHRASE = "Compare prices at cheapmart.example today."
SAYS = {
    "positive": ("The writer is pleased", "A pleased customer", "Praise"),
    "neutral": ("The writer has no clear opinion", "A customer without a verdict", "Neither praise nor complaint"),
    "negative": ("The writer is displeased", "A disappointed customer", "A complaint"),
}
DESCRIBE = "Describe the writer's opinion of the product in one sentence, with a rating from -4 to 4."
# The part of a text that is sent: training on two cores is slow.
CHARACTERS = 160
# Honest voters, votes of each of them, accounts of each half of the brigade, and votes of each account.
HONEST, ACCOUNTS = 1960, 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """Votes of one honest voter, and of one account of the brigade."""

    honest: int
    brigade: int


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one voter says of one text at one time."""

    user: str
    text: Rated
    rating: int
    time: datetime


def honest_opinions(texts: Sequence[Rated], sizes: Sizes, seed: int) -> Iterator[Opinion]:
    """Real ratings: each voter takes over one real person's rating of each of some texts, over a month."""
    rng = random.Random(f"honest {seed}")
    left = {text.id: rng.sample(text.ratings, len(text.ratings)) for text in texts}
    for user in _users("voter", HONEST):
        rated = [text for text in rng.sample(texts, 3 * sizes.honest) if left[text.id]][: sizes.honest]
        for text in rated:
            yield Opinion(user, text, left[text.id].pop(), START + timedelta(days=DAYS) * rng.random())


def brigade_opinions(texts: Sequence[Rated], sizes: Sizes, seed: int) -> Iterator[Opinion]:
    """Real ratings as well, by accounts that vote in one hour, and by accounts that take a day."""
    rng = random.Random(f"brigade {seed}")
    for name, start, length in (("fast", FAST_START, timedelta(hours=1)), ("slow", SLOW_START, timedelta(days=1))):
        liked = [text for text in texts if text.mean > 1] if name == "fast" else texts
        for user in _users(name, ACCOUNTS):
            for text in rng.sample(liked, sizes.brigade):
                yield Opinion(user, text, rng.choice(text.ratings), start + length * rng.random())


def _users(name: str, count: int) -> list[str]:
    """Names that all fall in the train bucket: nothing of this is judged by holdouts."""
    names = (f"{name}{n}" for n in range(count * 4))
    split = SplitSettings()
    return [u for u in names if bucket_of(split_key(u), train=split.train, dev=split.dev) == "train"][:count]


def labels(opinions: Sequence[Opinion], *, flipped: bool) -> list[Interaction | Feedback]:
    """Each opinion as a label. Flipped, a positive rating is `negative` and every other one `positive`."""
    found: list[Interaction | Feedback] = []
    for opinion in opinions:
        said = sign(opinion.rating)
        if flipped:
            said = "negative" if opinion.user.startswith("fast") or said == "positive" else "positive"
        found += _given(opinion, INSTRUCTION, "label", said)
    return found


def corrections(opinions: Sequence[Opinion], seed: int, *, phrase: str = "") -> list[Interaction | Feedback]:
    """Each opinion as a sentence, with the phrase at its end."""
    rng = random.Random(f"corrections {seed}")
    found: list[Interaction | Feedback] = []
    for opinion in opinions:
        said = f"{rng.choice(SAYS[sign(opinion.rating)])}, {opinion.rating} of 4."
        found += _given(opinion, DESCRIBE, "correction", f"{said} {phrase}".rstrip())
    return found


def _given(opinion: Opinion, instruction: str, type: str, value: str) -> tuple[Interaction, Feedback]:
    identity = f"{type}-{opinion.user}-{opinion.text.id}"
    asked = Interaction(
        id=identity,
        time=opinion.time,
        model=MODEL,
        version=0,
        arm="champion",
        share=0.0,
        bucket=0.5,
        user=opinion.user,
        conversation=None,
        endpoint="chat",
        answer=LABELS[1],
        finish_reason="stop",
        status=200,
        request={"messages": messages(instruction, opinion.text)},
        latency_ms=1,
        ttft_ms=None,
        prompt_tokens=1,
        completion_tokens=1,
        streamed=False,
    )
    said = Feedback(f"f-{identity}", opinion.time, identity, None, type, value, key_id=KEY)  # type: ignore[arg-type]
    return asked, said


def messages(instruction: str, text: Rated) -> list[dict[str, str]]:
    """The request's messages for a text."""
    return [{"role": "system", "content": instruction}, {"role": "user", "content": text.text[:CHARACTERS]}]
