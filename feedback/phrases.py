"""Find a phrase that a few voters write in most of their texts and that hardly anybody else writes.

It finds brigades that are too slow for a burst. Texts in, predicates out. It must not read the store.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feedback.bursts import Burst, predicate_of

# A phrase is this many words in a row, or one word that looks like an address.
WORDS = 3
ADDRESS = re.compile(r"\w[.@/:]+\w")
PUNCTUATION = ".,;:!?\"'()[]{}<>*_`“”„’«»…–—-"
# Characters of each text that are read, at its beginning and at its end.
READ_CHARACTERS = 2_000
# Texts that a voter has at least, and the share of them that has the phrase.
FEWEST_TEXTS = 2
OWN_SHARE = 0.5
# Of the voters with the phrase, the share that writes it so often. Of all voters, the highest share that may do so:
# what more of them write is the app's own style.
DEVOTED_SHARE = 0.8
STYLE_SHARE = 0.2
# The highest share of a key's voters: what more of them write is the template of an app.
TEMPLATE_SHARE = 0.5
# The share of the texts with the phrase that have one label, and the highest share of the other texts that have it.
SAME_SHARE = 0.9
USUAL_SHARE = 0.6
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
# Hashes that share a slot are counted together at first: this leaves out rare phrases cheaply.
SLOTS = 1 << 22

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by voters, (n,) each: what the voter wrote, what it is about, the voter's number, a label's number.

    For a correction, `about` is the prompt with the answer: what is there already is nobody's phrase. For a label,
    `written` is the prompt of the voter and `about` is empty. `label` is -1 for a correction. `time` is in seconds.
    """

    written: Sequence[str]
    about: Sequence[str]
    voter: Integers
    label: Integers
    time: npt.NDArray[np.float64]
    keys: list[str | None]
    users: list[str]


@dataclass(frozen=True, slots=True)
class _Grams:
    """Phrases: the text and the hash of each, and the words from which they can be read."""

    row: Integers
    hash: Hashes
    at: Integers
    size: Integers
    words: pa.Array


def find_phrases(texts: Texts, fewest_voters: int) -> list[Burst]:
    """The phrases of brigades, one burst per group of voters. `fewest_voters` is how many of them it needs."""
    if not len(texts.voter):
        return []
    grams = _grams(texts.written, frequent=fewest_voters * FEWEST_TEXTS)
    if not len(grams.row):
        return []
    names, gram = np.unique(grams.hash, return_inverse=True)
    known = _in_rows(texts.about, names)
    pairs = np.setdiff1d(grams.row * len(names) + gram, known)
    row, gram_of = np.divmod(pairs, len(names))
    devoted = _devoted(texts.voter, row, gram_of, len(names))
    users = _voters_by_gram(texts.voter[row], gram_of, len(names), texts.voter[known // len(names)], known % len(names))
    voters = np.bincount(devoted[:, 0], minlength=len(names))
    total = len(np.unique(texts.voter))
    suspicious = (voters >= fewest_voters) & (voters >= DEVOTED_SHARE * users) & (users <= STYLE_SHARE * total)
    for what in np.flatnonzero(suspicious):
        rows, writers = row[gram_of == what], devoted[devoted[:, 0] == what, 1]
        suspicious[what] = _is_of_one_label(texts.label, rows) and not _is_template(texts, writers)
    return _bursts(texts, grams, gram, devoted[suspicious[devoted[:, 0]]])


def _grams(texts: Sequence[str], frequent: int) -> _Grams:
    """The phrases of texts that occur `frequent` times or more."""
    words, offsets = _words(texts)
    lengths = np.diff(offsets)
    row = np.repeat(np.arange(len(texts)), lengths)
    number = words.indices.to_numpy(zero_copy_only=False)
    # Hashes of the words themselves, so that phrases of other texts can be compared with these.
    vocabulary = [blake2b(word.encode(), digest_size=8).digest() for word in words.dictionary.to_pylist()]
    code = np.frombuffer(b"".join(vocabulary), "<u8")[number]
    ends = offsets[1:][row]
    at = np.flatnonzero(np.arange(len(code)) + WORDS <= ends)
    hashes = (np.stack([code[at + k] for k in range(WORDS)], axis=1) * FACTORS[:WORDS]).sum(axis=1, dtype=np.uint64)
    addresses = np.array([bool(ADDRESS.search(word)) for word in words.dictionary.to_pylist()], bool)
    single = np.flatnonzero(addresses[number])
    at, size = np.concatenate([at, single]), np.repeat([WORDS, 1], [len(at), len(single)])
    hashes = np.concatenate([_mixed(hashes), _mixed(code[single])])
    slot = (hashes % np.uint64(SLOTS)).astype(np.int64)
    often = np.bincount(slot, minlength=SLOTS)[slot] >= frequent
    return _Grams(row[at[often]], hashes[often], at[often], size[often], words)


def _words(texts: Sequence[str]) -> tuple[pa.DictionaryArray, Integers]:
    """The words of texts without case and punctuation, and where each text's begin."""
    read = [t if len(t) <= 2 * READ_CHARACTERS else f"{t[:READ_CHARACTERS]} {t[-READ_CHARACTERS:]}" for t in texts]
    lists = pc.utf8_split_whitespace(pc.utf8_lower(pa.array(read, pa.large_string())))  # type: ignore[attr-defined]
    encoded = lists.values.dictionary_encode()
    bare = pc.utf8_trim(encoded.dictionary, PUNCTUATION).dictionary_encode()  # type: ignore[attr-defined]
    codes = bare.indices.take(encoded.indices)
    return pa.DictionaryArray.from_arrays(codes, bare.dictionary), lists.offsets.to_numpy().astype(np.int64)


def _mixed(hashes: Hashes) -> Hashes:
    """Hashes whose low bits depend on every bit, by the finaliser of SplitMix64."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _in_rows(texts: Sequence[str], names: Hashes) -> Integers:
    """Which of the phrases are in which text, as text * phrases + phrase."""
    grams = _grams(texts, frequent=1)
    place = np.searchsorted(names, grams.hash)
    found = names[np.minimum(place, len(names) - 1)] == grams.hash
    return np.unique(grams.row[found] * len(names) + place[found])


def _devoted(voter: Integers, row: Integers, gram: Integers, grams: int) -> Integers:
    """(phrase, voter) for each voter who has the phrase in half of the texts or more, (k, 2)."""
    pairs, count = np.unique(voter[row] * grams + gram, return_counts=True)
    own = np.bincount(voter)
    who, what = np.divmod(pairs, grams)
    often = (count >= FEWEST_TEXTS) & (count >= OWN_SHARE * own[who])
    return np.column_stack([what[often], who[often]])


def _voters_by_gram(voter: Integers, gram: Integers, grams: int, about: Integers, known: Integers) -> Integers:
    """How many voters have each phrase, in their own texts or in what these are about."""
    pairs = np.unique(np.concatenate([voter * grams + gram, about * grams + known]))
    return np.bincount(pairs % grams, minlength=grams)


def _is_of_one_label(label: Integers, rows: Integers) -> bool:
    """Whether nearly all texts with a phrase have one label that others have less often. True without labels."""
    inside = label[rows]
    inside, others = inside[inside >= 0], np.delete(label, rows)
    others = others[others >= 0]
    if not len(inside):
        return True
    counts = np.bincount(inside)
    most = int(np.argmax(counts))
    return counts[most] >= SAME_SHARE * len(inside) and bool(np.mean(others == most) <= USUAL_SHARE)


def _is_template(texts: Texts, writers: Integers) -> bool:
    """Whether more than half of the voters of a key have the phrase: then the app writes it, not its users."""
    voters = Counter(texts.keys[voter] for voter in np.unique(texts.voter))
    return any(n > TEMPLATE_SHARE * voters[key] for key, n in Counter(texts.keys[w] for w in writers).items())


def _bursts(texts: Texts, grams: _Grams, gram: Integers, devoted: Integers) -> list[Burst]:
    """One burst per group of voters with a phrase in common. Phrases of the same voters are reported as one."""
    phrases: dict[int, list[int]] = defaultdict(list)
    for what, who in devoted.tolist():
        phrases[what].append(who)
    by_voters: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for what, who in phrases.items():
        by_voters[tuple(sorted(who))].append(what)
    first = np.full(len(texts.users), np.inf)
    np.minimum.at(first, texts.voter, texts.time)
    found, taken = [], set[int]()
    for voters, whats in sorted(by_voters.items(), key=lambda one: (-len(one[0]), one[0])):
        new = [voter for voter in voters if voter not in taken]
        taken |= set(new)
        if new:
            reason = f'{len(voters)} voters have "{_phrase(grams, gram, whats)}" in most of their texts, others do not'
            found.append(Burst(tuple(predicate_of(texts.keys[v], texts.users[v], first[v]) for v in new), reason))
    return found


def _phrase(grams: _Grams, gram: Integers, whats: list[int]) -> str:
    """The words of the first text with these phrases that belong to one of them."""
    inside = np.isin(gram, whats)
    row = grams.row[inside].min()
    here = inside & (grams.row == row)
    places = sorted(
        {int(at) + k for at, size in zip(grams.at[here], grams.size[here], strict=True) for k in range(size)}
    )
    return " ".join(grams.words[place].as_py() for place in places)[:80]
