"""Words that the prompts of a slice's lost items have more often than its other prompts, by voters.

A word is shown only if several voters and several askers have it, so no word is of one person.
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.words import words_in

LONGEST_WORD = 30
# Han, kana, Thai, Lao, Burmese and Khmer have no spaces between words. A run of their letters can be a sentence.
WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
# Characters of a prompt that are read: one request can have megabytes.
LONGEST_TEXT = 4000
# A word needs as many voters with lost items, and as many askers. All unknown askers count as one.
FEWEST_PEOPLE = 5
MOST_WORDS = 5
# The level for all words of a slice together.
LEVEL = 0.05

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CommonWord:
    """A word with the voters of lost items, how many of them have it there, and the same for the other items."""

    word: str
    lost: int
    of_lost: int
    rest: int
    of_rest: int


def single_words(text: str) -> list[str]:
    """The words of a text in lower case, in their order. Scripts without spaces between words have none."""
    return [
        word for word in words_in(text[:LONGEST_TEXT]) if len(word) <= LONGEST_WORD and not WITHOUT_SPACES.search(word)
    ]


def common_words(
    words: Sequence[Set[str]], voters: Sequence[str], askers: Sequence[str], lost: Bools
) -> tuple[CommonWord, ...]:
    """The words of lost items that chance does not explain, the most unlikely first.

    The items are those of one slice. `words` are those of each prompt, and `lost` (n,) says which items are lost. A
    voter counts once per word in lost items, and once in others. Fisher's exact test, one-sided, compares the shares of
    these voters that have the word. The level is divided by the number of words that enough people have in all items
    (Bonferroni). Words of enough people in lost items alone would be chosen by what is tested.
    """
    from scipy.stats import hypergeom  # control imports this module, and starts without

    inside, outside = (_people_by_word(words, voters, side) for side in (lost, ~lost))
    asked, asked_outside = (_people_by_word(words, askers, side) for side in (lost, ~lost))
    of_lost, of_rest = (len({v for v, chosen in zip(voters, side, strict=True) if chosen}) for side in (lost, ~lost))
    tested = _shared(inside, outside) & _shared(asked, asked_outside)
    found = []
    for word in tested & _shared(inside) & _shared(asked):
        a, b = len(inside[word]), len(outside.get(word, ()))
        chance = float(hypergeom.sf(a - 1, of_lost + of_rest, a + b, of_lost))
        if chance * len(tested) <= LEVEL:
            found.append((chance, word, CommonWord(word, a, of_lost, b, of_rest)))
    return tuple(one for *_, one in sorted(found, key=lambda one: one[:2])[:MOST_WORDS])


def _people_by_word(words: Sequence[Set[str]], people: Sequence[str], chosen: Bools) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = {}
    for said, person, is_chosen in zip(words, people, chosen, strict=True):
        if is_chosen:
            for word in said:
                found.setdefault(word, set()).add(person)
    return found


def _shared(*sides: Mapping[str, set[str]]) -> set[str]:
    """The words that enough people have on any of the sides."""
    words = set[str]().union(*sides)
    return {word for word in words if len(set[str]().union(*(side.get(word, ()) for side in sides))) >= FEWEST_PEOPLE}
