"""General instructions of our own making, which have nothing to do with any app.

A training replays those of `REPLAYED`. `HELD_OUT` are of the same kinds, about other subjects, and measure forgetting.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of instruction: two wordings of it, the subjects that are replayed, and those that are held out."""

    wordings: tuple[str, str]
    replayed: tuple[str, ...]
    held_out: tuple[str, ...]


KINDS = (
    Kind(
        ("Explain {} in two sentences.", "What is {}? Answer for a child of ten years."),
        ("a rainbow", "gravity", "inflation", "an earthquake"),
        ("a vaccine", "electricity", "compound interest"),
    ),
    Kind(
        ("What is the capital of {}?", "Name a large river of {}."),
        ("Egypt", "France", "Brazil", "China"),
        ("Germany", "Russia", "India"),
    ),
    Kind(
        ("List three things to take to {}.", "Give me three ideas for {}."),
        ("a picnic", "a camping trip", "a birthday party", "a rainy Sunday"),
        ("a wedding", "a long flight", "the first day at school"),
    ),
    Kind(
        ("Write a short poem about {}.", "Write the first sentence of a story about {}."),
        ("the sea", "an old clock", "a lost dog", "winter"),
        ("a train at night", "a garden", "a lighthouse"),
    ),
    Kind(
        ("Write a polite email that {}.", "Write a short text message that {}."),
        ("asks for a day off", "declines an invitation", "thanks a neighbour", "reports a broken lamp"),
        ("moves a meeting to Friday", "asks for a refund", "congratulates a colleague"),
    ),
    Kind(
        ("How much is {}?", "Calculate {} and explain each step."),
        ("17 plus 26", "12 times 9", "144 divided by 12", "81 minus 37"),
        ("15 times 6", "250 plus 375", "96 divided by 8"),
    ),
    Kind(
        ("Translate into French: {}", "Translate into Spanish: {}"),
        ("Good morning, my friend.", "Where is the station?", "The book is on the table.", "I would like some water."),
        ("How much does it cost?", "We arrive tomorrow.", "My sister lives near a small lake."),
    ),
    Kind(
        ("Rewrite this more politely: {}", "Correct the mistakes in this sentence: {}"),
        ("send me the report now", "you was late again", "he dont answer my call", "give me back my pen"),
        ("open window please, its hot", "why you not call me", "i has no time for this"),
    ),
    Kind(
        ("Write a Python function that {}.", "Describe how a program {}."),
        ("reverses a text", "finds the largest number of a list", "counts the words of a text", "tests for a prime"),
        ("sorts a list of names", "removes duplicates from a list", "adds the digits of a number"),
    ),
    Kind(
        ("Summarize this in one sentence: {}", "What is the main point of this text? {}"),
        (
            "The library opens at nine. On Mondays it is closed, because the staff sort the new books on that day.",
            "Bees visit flowers for nectar. On the way they carry pollen, without which many plants have no fruit.",
            "The bridge is old and narrow. The city will build a second one, so that buses do not have to wait.",
            "Anna planted tomatoes in March. A late frost came in April, and she had to start again.",
        ),
        (
            "The ferry leaves at six. In a storm it stays in the harbour, and the company pays for a hotel.",
            "Coffee grows in warm countries. Its beans are dried, roasted and ground before they are brewed.",
            "The museum bought a painting. Experts found that it is a copy. Now the museum asks for its money back.",
        ),
    ),
    Kind(
        ("How can I {}?", "Give me one tip on how to {}."),
        ("sleep better", "learn a new language", "save money on groceries", "remember names"),
        ("prepare for an exam", "keep a plant alive", "speak in front of people"),
    ),
    Kind(
        ("{}", "Hello! {}"),
        ("How are you today?", "Can you tell me a joke?", "What can you help me with?", "I had a long day at work."),
        ("Who are you?", "What should I read next?", "I am bored. What can I do?"),
    ),
)

REPLAYED = tuple(wording.format(subject) for kind in KINDS for subject in kind.replayed for wording in kind.wordings)
HELD_OUT = tuple(
    kind.wordings[(place + number) % 2].format(subject)
    for place, kind in enumerate(KINDS)
    for number, subject in enumerate(kind.held_out)
)
