"""Leave out of prompts what most of a model's prompts share. What is left says what a prompt is about.

An instruction, a question after each document and a template line are shared. See also feedback/shingles.py.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from core.prompts import Chat, Prompt, Text, subject, whole_text
from feedback.shingles import LINE_END, NOTHING, TOKEN, Hashes, Mask, Tokens, common_at, count_shared, normalized

# The share of prompts of one form, chat or text, that have what is left out.
SHARED = 0.6
# A shared part between two others is left out if it has this many words. Shorter ones are part of the sentence.
LONG_PART = 8
WORD = re.compile(r"\b\w\w+\b")
# What a shared part leaves behind at the end of the text before it, and at the beginning of the text after it.
BEFORE, AFTER = " \t\r\n#*-<[({|", " \t\r\n.,:;!?>])}|"


class Templates:
    """What the prompts of a model share, by their form. It depends on the set of prompts alone."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._shared: dict[type, Hashes] = {}
        self._words: set[str] = set()
        for form in (Chat, Text):
            texts = sorted({whole_text(prompt) for prompt in prompts if isinstance(prompt, form)})
            self._shared[form] = (common_at(count_shared(texts), template=SHARED) if texts else NOTHING).template
            if len(self._shared[form]):
                counts = Counter(word for text in texts for word in set(WORD.findall(text.lower())))
                self._words |= {word for word, n in counts.items() if n >= SHARED * len(texts)}

    @property
    def words(self) -> tuple[str, ...]:
        """The words that most prompts have, if these share more than single words."""
        return tuple(sorted(self._words))

    def without(self, prompts: Sequence[Prompt]) -> list[str]:
        """The whole text of each prompt without what is shared. A prompt with nothing else keeps its text."""
        return self._left(prompts, [whole_text(prompt) for prompt in prompts])

    def subjects(self, prompts: Sequence[Prompt]) -> list[str]:
        """What each prompt asks about: the last question without what is shared.

        If other prompts have the same last question, such as "yes", it is the whole text without what is shared.
        """
        wholes, asked = [whole_text(prompt) for prompt in prompts], [subject(prompt) for prompt in prompts]
        distinct = {(normalized(question), whole) for question, whole in zip(asked, wholes, strict=True)}
        times = Counter(question for question, _ in distinct)
        texts = [
            whole if times[normalized(question)] > 1 else question
            for question, whole in zip(asked, wholes, strict=True)
        ]
        return self._left(prompts, texts)

    def _left(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[str]:
        found = list(texts)
        for form, shared in self._shared.items():
            places = [place for place, prompt in enumerate(prompts) if isinstance(prompt, form)]
            if len(shared) and places:
                left = _without([texts[place] for place in places], shared)
                for place, text in zip(places, left, strict=True):
                    found[place] = text
        return found


def _without(texts: Sequence[str], shared: Hashes) -> list[str]:
    """The texts without the parts that the shared windows cover."""
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    tokens = Tokens(composed, words=[[normalized(word) for word in TOKEN.findall(text)] for text in composed])
    covered = tokens.covered(tokens.windows()[0], shared)
    found = []
    for text, first, last in zip(composed, tokens.first + 1, tokens.last, strict=True):
        inside = covered[first:last]
        left = _keep(text, inside, tokens.hashes[first:last] == LINE_END) if inside.any() else text
        found.append(left or text)
    return found


def _keep(text: str, covered: Mask, line_ends: Mask) -> str:
    """The text without covered parts that are at its beginning or end, or long."""
    spans = [(token.start(), token.end()) for token in TOKEN.finditer(text)]
    words = np.cumsum(~line_ends)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], covered, [False]]).astype(np.int8))).reshape(-1, 2)
    parts: list[str] = []
    begin = 0
    for first, end in edges.tolist():
        count = words[end - 1] - (words[first - 1] if first else 0)
        before, after = words[first - 1] if first else 0, words[-1] - words[end - 1]
        if before and after and count < LONG_PART:
            continue
        parts.append(text[begin : spans[first][0]].lstrip(AFTER if begin else None))
        begin = spans[end - 1][1]
    parts.append(text[begin:].lstrip(AFTER if begin else None))
    return "\n".join(part for part in (part.rstrip(BEFORE) for part in parts) if part)
