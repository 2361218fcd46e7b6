"""Statements: short claims of which everybody can say whether they are true, and matters of taste.

It owns the word lists that suites share; it must not know what is asked about a claim.
"""

import random
from dataclasses import dataclass
from itertools import combinations

# Things in the order of the quality, the least first. Neighbours differ by far more than anybody could doubt.
ORDERED = {
    ("heavier", "lighter"): ("a feather", "a coin", "a shoe", "a bicycle", "a horse", "a lorry", "a ship"),
    ("faster", "slower"): ("a snail", "a tortoise", "a person on foot", "a racing cyclist", "an express train",
                           "an airliner", "a space rocket"),
    ("taller", "shorter"): ("an ant", "a mouse", "a cat", "a pony", "a giraffe", "a church tower", "a mountain"),
    ("older", "younger"): ("the smartphone", "the aeroplane", "the steam engine", "the printing press", "the wheel"),
    ("hotter", "colder"): ("an ice cube", "a cool drink", "a cup of hot tea", "a baking oven", "molten iron"),
    ("louder", "quieter"): ("falling snow", "a whisper", "a conversation", "a motorbike", "a jet engine"),
    ("longer", "shorter"): ("a grain of rice", "a pencil", "a bed", "a bus", "a football field", "the Nile"),
    ("harder", "softer"): ("a cloud", "a pillow", "a candle", "an oak plank", "a diamond"),
}  # fmt: skip
KINDS = {
    "a fish": ("a salmon", "a trout", "a herring", "a carp", "a tuna"),
    "a bird": ("a sparrow", "an eagle", "a penguin", "an owl", "a robin"),
    "a fruit": ("an apple", "a plum", "a mango", "a pear", "a cherry"),
    "a metal": ("iron", "copper", "gold", "zinc", "silver"),
    "an instrument": ("a violin", "a trumpet", "a drum", "a flute", "a harp"),
    "a country": ("Peru", "Norway", "Kenya", "Japan", "Portugal"),
    "a tool": ("a hammer", "a saw", "a spanner", "a chisel", "a drill"),
    "a tree": ("an oak", "a birch", "a willow", "a spruce", "a beech"),
}
TASTES = ("tea", "coffee", "the mountains", "the sea", "winter", "summer", "novels", "films", "cats", "dogs", "jazz",
          "opera", "small towns", "big cities", "train journeys", "long walks", "early mornings", "late evenings",
          "board games", "painting", "football", "tennis", "cooking", "gardening")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as a sentence without its full stop, its question, and whether it is true; None: a matter of taste."""

    sentence: str
    question: str
    true: bool | None


def facts(seed: int) -> list[Claim]:
    """Every claim of the lists, true and false ones, in a drawn order."""
    found = []
    for (more, less), things in ORDERED.items():
        for low, high in combinations(things, 2):
            for a, word, b, true in ((high, more, low, True), (low, more, high, False), (low, less, high, True),
                                     (high, less, low, False)):  # fmt: skip
                found.append(Claim(f"{a} is {word} than {b}", f"is {a} {word} than {b}", true))
    for kind, members in KINDS.items():
        for other, strangers in KINDS.items():
            for thing in members if other == kind else strangers[:2]:
                found.append(Claim(f"{thing} is {kind}", f"is {thing} {kind}", other == kind))
    random.Random(seed).shuffle(found)
    return found


def tastes(seed: int) -> list[Claim]:
    """Comparisons about which people differ, in a drawn order."""
    found = [Claim(f"{a} are nicer than {b}" if a.endswith("s") else f"{a} is nicer than {b}",
                   f"are {a} nicer than {b}" if a.endswith("s") else f"is {a} nicer than {b}", None)
             for a, b in combinations(TASTES, 2)]  # fmt: skip
    random.Random(seed).shuffle(found)
    return found


def capital(text: str) -> str:
    """The text with a capital first letter, as a sentence begins."""
    return text[:1].upper() + text[1:]
