"""Length: plain questions with short answers, to see whether answers grow or shrink. Written for LoraLoop.

The questions ask for one short sentence, so that few answers are cut, because a change in length does not show in
answers that are cut. Without that request 59% of the answers of SmolLM2-135M-Instruct have 32 tokens or more.
With it 3% have 64 tokens or more.
"""

from core.prompts import Chat
from eval.suites.suite import Suite, Writing
from eval.suites.templates import sample_texts

COUNT = 500
TOKENS = 64
REQUEST = "Answer with one short sentence."
WORDS = {
    "country": ("France", "Peru", "Japan", "Kenya", "Norway", "Egypt", "Canada", "Chile", "Poland", "Greece", "Cuba",
                "India", "Spain", "Ireland", "Hungary", "Portugal", "Finland", "Morocco", "Vietnam", "Austria",
                "Mexico", "Sweden", "Turkey", "Brazil", "Iceland", "Ghana", "Nepal", "Italy", "Romania", "Belgium"),
    "asked": ("the capital of", "the language of", "the currency of", "the largest city in", "the continent of"),
    "adjective": ("hot", "tall", "early", "soft", "bright", "empty", "cheap", "brave", "quiet", "heavy", "narrow",
                  "wet", "rough", "young", "sharp", "clean", "slow", "rich", "strong", "open", "sweet", "loud"),
    "relation": ("the opposite of", "another word for", "a word that rhymes with"),
    "a": ("two", "seven", "twelve", "twenty", "thirty", "forty", "ninety"),
    "b": ("three", "five", "eight", "ten", "eleven", "fifteen", "a hundred"),
    "sum": ("plus", "minus", "times"),
    "animal": ("a spider", "a cow", "a hen", "a goldfish", "an ant", "a horse", "a frog", "a whale", "an owl"),
    "part": ("legs", "eyes", "wings", "tails"),
    "word": ("bread", "house", "water", "friend", "morning", "garden", "window", "letter", "road", "apple", "winter",
             "cloud", "table", "river", "mother", "street", "candle", "school", "music", "horse"),
    "language": ("French", "German", "Spanish", "Italian", "Latin"),
    "thing": ("a ripe banana", "fresh snow", "a lemon", "grass", "coal", "the sky at noon", "a carrot", "milk"),
}  # fmt: skip
TEMPLATES = (
    "What is {asked} {country}?",
    "What is {relation} {adjective}?",
    "What is {a} {sum} {b}?",
    "How many {part} does {animal} have?",
    "How do you say {word} in {language}?",
    "What colour is {thing}?",
    "Which letter does the word {word} begin with?",
    "What do you call the young of {animal}?",
)


def build() -> Suite:
    """Build the suite."""
    texts = sample_texts(TEMPLATES, WORDS, COUNT, seed=9)
    items = tuple(
        Writing(f"length-{number}", Chat((("user", f"{text} {REQUEST}"),)), TOKENS) for number, text in enumerate(texts)
    )  # fmt: skip
    return Suite(
        name="length", kpi="mean_length", about=f"mean length of answers in tokens, cut at {TOKENS}",
        measure="length", better="same", items=items,
    )  # fmt: skip
