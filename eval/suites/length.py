"""Length: plain questions, to see whether answers grow or shrink. Written for LoraLoop.

It owns the questions; an answer is cut at so many tokens, since only a change in length is looked for.
"""

from core.prompts import Chat
from eval.suites.drawing import spread
from eval.suites.suite import Suite, Writing

COUNT = 500
TOKENS = 24
WORDS = {
    "thing": ("a bridge", "a lighthouse", "a violin", "a compass", "a glacier", "a dictionary", "a windmill", "a kite",
              "a harbour", "an orchestra", "a recipe", "a telescope", "a market", "a library", "a passport"),
    "work": ("a baker", "a judge", "a pilot", "a plumber", "a translator", "a midwife", "a farmer", "a surveyor"),
    "topic": ("rain", "bread", "sleep", "money", "friendship", "gravity", "salt", "music", "maps", "winter",
              "glass", "honey"),
}  # fmt: skip
TEMPLATES = (
    "What is {thing} for?",
    "In a few words, what is {thing}?",
    "Describe {thing} in one short sentence.",
    "Who first made {thing}?",
    "Where would I find {thing}?",
    "What does {work} do all day?",
    "Name one tool that {work} uses.",
    "How does one become {work}?",
    "What would {work} say about {topic}?",
    "Say something short about {topic}.",
    "Why does {topic} matter?",
    "Give one example of {topic}.",
    "How is {thing} linked to {topic}?",
    "Tell a child how {thing} helps with {topic}.",
    "What would {work} need {thing} for?",
)


def build() -> Suite:
    """The suite."""
    texts = spread(TEMPLATES, WORDS, COUNT, seed=9)
    items = tuple(
        Writing(f"length-{number}", Chat((("user", text),)), TOKENS) for number, text in enumerate(texts)
    )  # fmt: skip
    return Suite(
        name="length", kpi="mean_length", about="mean length of answers in tokens, cut at 24", measure="length",
        better="same", items=items,
    )  # fmt: skip
