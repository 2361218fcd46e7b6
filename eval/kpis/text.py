"""KPIs of answers in words, each of one answer against its reference; a KPI is the mean over items.

It owns pure functions over two texts; it must not know arms, items or engines.
"""

import re
from collections import Counter
from collections.abc import Callable

WORD = re.compile(r"\w+")
# chrF's own defaults: characters in up to six, recall counting twice as much as precision.
ORDERS = 6
BETA = 2.0


def words(text: str) -> list[str]:
    """The words in small letters, without punctuation."""
    return WORD.findall(text.casefold())


def exact_match(answer: str, reference: str) -> float:
    """1 when both are the same words, ignoring case, spaces and punctuation."""
    mine, wanted = words(answer), words(reference)
    return float(mine == wanted if mine or wanted else answer.strip() == reference.strip())


def token_f1(answer: str, reference: str) -> float:
    """F1 of the words that both share, each as often as it occurs (Rajpurkar et al. 2016)."""
    mine, wanted = Counter(words(answer)), Counter(words(reference))
    if not mine or not wanted:
        return float(mine == wanted)
    shared = (mine & wanted).total()
    return 2 * shared / (mine.total() + wanted.total())


def chrf(answer: str, reference: str) -> float:
    """chrF2 of one sentence, from 0 to 1: F-score of character n-grams, spaces left out (Popović 2015).

    Orders where either side has no n-gram are left out of the average, as in sacreBLEU's.
    """
    mine, wanted = ("".join(text.split()) for text in (answer, reference))
    precision = recall = 0.0
    orders = 0
    for order in range(1, ORDERS + 1):
        have, want = (_grams(text, order) for text in (mine, wanted))
        if not have or not want:
            continue
        shared = (have & want).total()
        precision += shared / have.total()
        recall += shared / want.total()
        orders += 1
    if not orders or not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


REFERENCE: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "chrf": chrf,
}
