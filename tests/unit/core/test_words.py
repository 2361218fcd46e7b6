"""Facts about the words of a text: marks belong to their letters, and numbers are no words."""

import unicodedata

import pytest

from core.words import words_in


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Wo ist mein Paket 4711, a1b2?", ["ist", "mein", "paket"]),
        ("मेरा पार्सल कहाँ है कृपया बताइए", ["मेरा", "पार्सल", "कहाँ", "कृपया", "बताइए"]),
        ("எனது தொகுப்பு எங்கே", ["எனது", "தொகுப்பு", "எங்கே"]),
        ("مُدَرِّسٌ جديد", ["مُدَرِّسٌ", "جديد"]),
        ("\u0301abc", ["abc"]),
        ("", []),
    ],
)
def test_words_have_their_marks(text: str, words: list[str]):
    assert words_in(text) == [unicodedata.normalize("NFC", word) for word in words]


def test_equal_words_have_one_form():
    assert words_in(unicodedata.normalize("NFD", "Größe Ångström café")) == ["größe", "ångström", "café"]
