"""Make texts from templates and word lists, the same texts every time."""

import random
from collections.abc import Mapping, Sequence
from itertools import product
from string import Formatter


def expand(templates: Sequence[str], words: Mapping[str, Sequence[str]]) -> list[str]:
    """Every template with every combination of words for its fields, template after template."""
    texts = []
    for template in templates:
        fields = [name for _, name, _, _ in Formatter().parse(template) if name]
        for chosen in product(*(words[name] for name in fields)):
            texts.append(template.format(**dict(zip(fields, chosen, strict=True))))
    return texts


def sample_texts(templates: Sequence[str], words: Mapping[str, Sequence[str]], count: int, seed: int) -> list[str]:
    """Choose `count` texts at random, in equal numbers per template as far as their combinations allow."""
    rng = random.Random(seed)
    by_template = [expand([template], words) for template in templates]
    for texts in by_template:
        rng.shuffle(texts)
    chosen: list[str] = []
    while len(chosen) < count and any(by_template):
        for texts in by_template:
            if texts:
                chosen.append(texts.pop())
    chosen = list(dict.fromkeys(chosen))[:count]
    rng.shuffle(chosen)
    return chosen
