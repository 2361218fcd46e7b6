"""The words of a text in scripts with spaces between words: for names of topics, and for words of lost items."""

import re
import unicodedata
from functools import cache

# Marks are searched up to here: all codes would take 0.1 s, and the scripts beyond it are rare.
LAST_MARK = 0xFFFF


def words_in(text: str) -> list[str]:
    """Words of three or more characters in lower case, in their order. Numbers, addresses and ids are no words.

    An accent or a vowel sign belongs to the letter before it. Equal words have one form (NFC).
    """
    return _pattern().findall(unicodedata.normalize("NFC", text.lower()))


@cache
def _pattern() -> re.Pattern[str]:
    # Python's \w has no combining marks, so it would cut each word of Hindi.
    marks = "".join(chr(code) for code in range(LAST_MARK) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(rf"[^\W\d_](?:[^\W\d_]|[{marks}]){{2,}}")
