"""Statements: short claims that are clearly true or false, and matters of taste, for several suites."""

import random
from dataclasses import dataclass
from itertools import combinations

# Things in increasing order of the quality. Each differs clearly from the next.
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
    """A claim as a sentence without its full stop, its question, and whether it is true (None: a matter of taste)."""

    sentence: str
    question: str
    true: bool | None


def facts(seed: int) -> list[Claim]:
    """Every true and false claim of the lists, in random order."""
    claims = []
    for (more, less), things in ORDERED.items():
        for low, high in combinations(things, 2):
            for a, word, b, true in ((high, more, low, True), (low, more, high, False), (low, less, high, True),
                                     (high, less, low, False)):  # fmt: skip
                claims.append(Claim(f"{a} is {word} than {b}", f"is {a} {word} than {b}", true))
    for kind, members in KINDS.items():
        for other, strangers in KINDS.items():
            for thing in members if other == kind else strangers[:2]:
                claims.append(Claim(f"{thing} is {kind}", f"is {thing} {kind}", other == kind))
    random.Random(seed).shuffle(claims)
    return claims


def tastes(seed: int) -> list[Claim]:
    """Comparisons that are a matter of taste, in random order."""
    claims = [Claim(f"{a} are nicer than {b}" if a.endswith("s") else f"{a} is nicer than {b}",
                    f"are {a} nicer than {b}" if a.endswith("s") else f"is {a} nicer than {b}", None)
              for a, b in combinations(TASTES, 2)]  # fmt: skip
    random.Random(seed).shuffle(claims)
    return claims


def capitalized(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
