"""Drawing: texts from templates and word lists, the same ones every time.

It owns the combinatorics alone; what is combined stands in the suites.
"""

import random
from collections.abc import Mapping, Sequence
from itertools import product
from string import Formatter


def filled(templates: Sequence[str], words: Mapping[str, Sequence[str]]) -> list[str]:
    """Every template with every combination of words for its fields, each template's in a list after another's."""
    found = []
    for template in templates:
        fields = [name for _, name, _, _ in Formatter().parse(template) if name]
        for chosen in product(*(words[name] for name in fields)):
            found.append(template.format(**dict(zip(fields, chosen, strict=True))))
    return found


def spread(templates: Sequence[str], words: Mapping[str, Sequence[str]], count: int, seed: int) -> list[str]:
    """`count` texts, as evenly over the templates as their combinations allow, in a drawn order."""
    rng = random.Random(seed)
    piles = [filled([template], words) for template in templates]
    for pile in piles:
        rng.shuffle(pile)
    found: list[str] = []
    while len(found) < count and any(piles):
        for pile in piles:
            if pile:
                found.append(pile.pop())
    found = list(dict.fromkeys(found))[:count]
    rng.shuffle(found)
    return found
