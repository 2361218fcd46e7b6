"""Turn texts into sets of hashes, without the parts that many texts of a model share.

Two sets describe a text: pairs of words, and for short texts pieces of words. A set is (n,) 32-bit hashes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feedback.texts import Hashes, Texts, hash_of

Mask = npt.NDArray[np.bool_]

# Words, line ends, and pictures, which often are the only difference of two short texts.
TOKEN = re.compile("\\w+|\n|[\u2600-\u27bf\U0001f000-\U0001faff]")
PIECE = 3
# A text with fewer words than the first has pieces only, one with more than the second has pairs only.
PAIRS_FROM, PIECES_TO = 6, 9
# With fewer words left, what a text shares with others is as important as the words.
FEW_WORDS = 4
# A number counts as this many pieces: another number is another text.
NUMBER_WEIGHT = 4
# A passage that other texts share counts as half of the rest.
PASSAGE_PART = 2
# At least this many distinct texts are needed before anything is common.
LEAST_TEXTS = 20
SAMPLE = 5_000
WINDOW = 3
# A passage has at least this many words, which at least this many texts share.
PASSAGE_WORDS, PASSAGE_TEXTS = 30, 10
TEXTS_AT_ONCE = 2_000
WORDS_REMEMBERED = 500_000

START, END, LINE_END = (np.uint64(number) for number in (1, 2, 3))


@dataclass(frozen=True, slots=True)
class Common:
    """Hashes of three words in a row that many texts share, sorted.

    `template` is what a fifth of the texts share, such as a question or an instruction. `passages` are long parts
    that one text in a hundred shares, such as a document of many questions.
    """

    template: Hashes
    passages: Hashes


NOTHING = Common(np.empty(0, np.uint64), np.empty(0, np.uint64))


@dataclass(frozen=True, slots=True)
class Shingles:
    """Sets of texts, one after the other. `owner` is the number of each set's text, `start` where the set begins."""

    hashes: npt.NDArray[np.uint32]
    start: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]

    def numbered_from(self, begin: int) -> "Shingles":
        """The same sets of texts whose numbers begin later."""
        return Shingles(self.hashes, self.start, self.owner + begin)


class _Hashed(dict[str, int]):
    """64-bit hashes by word. It is emptied when it is full, so that its size has a limit."""

    def __missing__(self, word: str) -> int:
        if len(self) >= WORDS_REMEMBERED:
            self.clear()
        found = self[word] = hash_of(word)
        return found


def mix64(values: Hashes) -> Hashes:
    """The finalizer of MurmurHash3 for 64 bits: equal values stay equal, others are spread."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def normalized(text: str) -> str:
    """A text without differences of case and of equal characters' codes."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold()


def distinct(texts: Sequence[str]) -> list[str]:
    """The texts without repetitions, up to 5,000, chosen and sorted by their hashes."""
    given = Texts.of(texts)
    _, places = np.unique(given.hashes, return_index=True)
    return [given[int(place)] for place in places[:SAMPLE]]


class Tokens:
    """The words of some texts as one array of hashes, each text between START and END."""

    def __init__(
        self, texts: Sequence[str], known: _Hashed | None = None, words: list[list[str]] | None = None
    ) -> None:
        known = _Hashed() if known is None else known
        known["\n"] = int(LINE_END)
        self.texts = texts
        self.words = words or [TOKEN.findall(normalized(text)) for text in texts]
        flat = [known[word] for words in self.words for word in words]
        lengths = np.array([len(words) for words in self.words], np.int64)
        self.first = np.concatenate([[0], np.cumsum(lengths + 2)])[:-1]
        self.last = self.first + lengths + 1
        self.hashes = np.zeros(int((lengths + 2).sum()), np.uint64)
        inner = np.ones(len(self.hashes), np.bool_)
        inner[self.first] = inner[self.last] = False
        self.hashes[inner] = np.array(flat, np.uint64)
        self.hashes[self.first], self.hashes[self.last] = START, END
        self.is_word = inner & (self.hashes != LINE_END)

    def windows(self) -> tuple[Hashes, Mask]:
        """The hash of each token with the two after it, and whether all three are of one text, (n - 2,) each."""
        h = self.hashes
        found = mix64(h[:-2] + mix64(h[1:-1] + mix64(h[2:])))
        whole = np.ones(len(h), np.bool_)
        whole[self.last] = False
        whole[self.last - 1] = False
        return found, whole[:-2]

    def covered(self, windows: Hashes, chosen: Hashes) -> Mask:
        """Which tokens are part of one of the chosen windows, (n,)."""
        found = np.zeros(len(self.hashes), np.bool_)
        if len(chosen):
            hit = _is_in(windows, chosen)
            for shift in range(WINDOW):
                found[shift : len(found) - WINDOW + 1 + shift] |= hit
        return found


@dataclass(frozen=True, slots=True)
class Counted:
    """The share of a model's distinct prompts that each window of three words is in. `hashes` is sorted.

    `windows` are those of a sample of prompts, one prompt after the other, and `whole` says which are within one.
    """

    texts: int
    hashes: Hashes
    counts: npt.NDArray[np.int64]
    windows: Hashes
    whole: Mask


def count_shared(texts: Sequence[str]) -> Counted:
    """Count in how many texts of a sample each window is. The sample depends on the set of texts alone."""
    sample = distinct(texts)
    tokens = Tokens(sample)
    windows, whole = tokens.windows()
    text = np.repeat(np.arange(len(sample), dtype=np.uint64), tokens.last - tokens.first + 1)[:-2]
    # A window counts once per text.
    _, once = np.unique(mix64(windows[whole] + mix64(text[whole])), return_index=True)
    hashes, counts = np.unique(windows[whole][once], return_counts=True)
    return Counted(len(sample), hashes, counts, windows, whole)


def common_at(counted: Counted, template: float = 0.2, passage: float = 0.01) -> Common:
    """What these shares of the texts have in common. With fewer than 20 texts nothing is common."""
    if counted.texts < LEAST_TEXTS:
        return NOTHING
    often = counted.hashes[counted.counts >= template * counted.texts]
    repeated = counted.hashes[counted.counts >= max(PASSAGE_TEXTS, passage * counted.texts)]
    passages = np.unique(counted.windows[_long_runs(counted.whole & _is_in(counted.windows, repeated))])
    return Common(often, np.setdiff1d(passages, often))


def find_common(texts: Sequence[str]) -> Common:
    """What many of the texts share. It depends on the set of texts alone."""
    return common_at(count_shared(texts))


def _is_in(values: Hashes, chosen: Hashes) -> Mask:
    """Which values are among the chosen ones, which are sorted."""
    if not len(chosen):
        return np.zeros(len(values), np.bool_)
    return chosen[np.minimum(np.searchsorted(chosen, values), len(chosen) - 1)] == values


def _long_runs(repeated: Mask) -> Mask:
    """The windows in runs with as many words as a passage has."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], repeated, [False]]).astype(np.int8)))
    found = np.zeros(len(repeated), np.bool_)
    for begin, end in edges.reshape(-1, 2):
        found[begin:end] = end - begin + WINDOW - 1 >= PASSAGE_WORDS
    return found


def shingles(texts: Sequence[str], common: Common) -> Iterator[tuple[Shingles, Shingles]]:
    """Pairs of words, and pieces of words, of the texts in batches. A text can be in one of them or in both."""
    known, pieces = _Hashed(), _Hashed()
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        batch = _Batch(Tokens(texts[begin : begin + TEXTS_AT_ONCE], known), common)
        yield batch.pairs().numbered_from(begin), batch.pieces(pieces).numbered_from(begin)


class _Batch:
    """Texts divided into what is common and what is left."""

    def __init__(self, tokens: Tokens, common: Common) -> None:
        windows, _ = tokens.windows()
        template = tokens.covered(windows, common.template)
        shared = template | tokens.covered(windows, common.passages)
        self.tokens = tokens
        self.left = tokens.is_word & ~shared
        self.count = self._per_text(self.left.astype(np.uint64)).astype(np.int64)
        # Sums of mixed pairs name a shared part of any length.
        mixed = mix64(tokens.hashes + np.roll(mix64(tokens.hashes), 1))
        self.shared = self._per_text(np.where(tokens.is_word & shared, mixed, np.uint64(0)))
        self.passage = self._per_text(np.where(tokens.is_word & shared & ~template, mixed, np.uint64(0)))

    def _per_text(self, values: Hashes) -> Hashes:
        total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
        return total[self.tokens.last + 1] - total[self.tokens.first]

    def pairs(self) -> Shingles:
        """Two words in a row that are not common, and half as many hashes of the passage between them."""
        owner = np.flatnonzero(self.count >= PAIRS_FROM)
        text = np.repeat(np.arange(len(self.count)), self.tokens.last - self.tokens.first + 1)
        kept = self.left & (self.count[text] >= PAIRS_FROM)
        words, of = self.tokens.hashes[kept], text[kept]
        same = of[1:] == of[:-1]
        hashes, of = mix64(words[:-1] + mix64(words[1:]))[same], of[1:][same]
        extra = [_repeated(self.passage[n], -(-int(self.count[n]) // PASSAGE_PART)) for n in owner if self.passage[n]]
        if extra:
            with_passage = [n for n in owner if self.passage[n]]
            of = np.concatenate([of, np.repeat(with_passage, [len(more) for more in extra])])
            hashes = np.concatenate([hashes, *extra])
            order = np.argsort(of, kind="stable")
            hashes, of = hashes[order], of[order]
        return Shingles(_folded(hashes), np.searchsorted(of, owner), owner)

    def pieces(self, known: _Hashed) -> Shingles:
        """Three characters in a row of each word that is not common, for short texts."""
        owner = np.flatnonzero(self.count <= PIECES_TO)
        sets = [self._pieces(int(n), known) for n in owner]
        start = np.concatenate([[0], np.cumsum([len(one) for one in sets], dtype=np.int64)])[:-1]
        hashes = np.concatenate(sets) if sets else np.empty(0, np.uint64)
        return Shingles(_folded(hashes), start, owner)

    def _pieces(self, number: int, known: _Hashed) -> Hashes:
        begin = self.tokens.first[number] + 1
        left = self.left[begin : self.tokens.last[number]]
        words = [word for word, kept in zip(self.tokens.words[number], left, strict=True) if kept]
        if not words:
            named = self.shared[number] or np.uint64(known[normalized(self.tokens.texts[number])])
            return np.array([named], np.uint64)
        found = np.array([known[piece] for piece in sorted({p for word in words for p in _pieces_of(word)})], np.uint64)
        if len(words) < FEW_WORDS and self.shared[number]:
            return np.concatenate([found, _repeated(self.shared[number], len(found))])
        if self.passage[number]:
            return np.concatenate([found, _repeated(self.passage[number], -(-len(found) // PASSAGE_PART))])
        return found


def _pieces_of(word: str) -> list[str]:
    padded = f" {word} "
    pieces = [padded[at : at + PIECE] for at in range(len(padded) - PIECE + 1)]
    return pieces + [f"{word} {n}" for n in range(NUMBER_WEIGHT)] if word.isnumeric() else pieces


def _repeated(value: np.uint64 | Hashes, times: int) -> Hashes:
    """Different hashes made of one."""
    return mix64(value + np.arange(times, dtype=np.uint64))


def _folded(hashes: Hashes) -> npt.NDArray[np.uint32]:
    return (hashes ^ (hashes >> np.uint64(32))).astype(np.uint32)
