"""Explanations of the console's technical terms: each word is a button that opens its meaning in a popover.

The meanings are those of docs/glossary.md: `make docs` writes them to glossary.json. Popovers need no script. They open
by pointer, touch and keyboard. A browser without popovers shows the meanings at the end of the page.
"""

import json
import re
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

# The name under which a page keeps the words that it has used, for their meanings at its end.
USED = "terms_used"


@cache
def meanings() -> dict[str, str]:
    """The meaning of each word of the glossary."""
    return dict(json.loads(resources.files("ops.console").joinpath("glossary.json").read_text(encoding="utf-8")))


@pass_context
def term(context: Context, word: str, shown: str = "") -> Markup:
    """A word of the glossary as a button with the text `shown` that opens its meaning.

    Raises KeyError for another word. On a page that is not of the console, such as the demo's report, it is text only.
    """
    words = escape(shown or word)
    if word not in meanings():
        raise KeyError(word)
    if USED not in context:
        return words
    context[USED][word] = None
    return Markup('<button type="button" class="term" popovertarget="{}">{}</button>').format(_anchor(word), words)


@pass_context
def term_or_text(context: Context, words: str) -> Markup:
    """The words as a term where the glossary has them, otherwise as they are, such as the KPI of a package."""
    return term(context, words) if words in meanings() else escape(words)


@pass_context
def explanations(context: Context) -> Markup:
    """The meanings of all terms that the page has used so far, each as a popover."""
    used: dict[str, Any] = context.get(USED, {})
    found = (
        Markup('<div class="meaning" id="{}" popover><p><dfn>{}</dfn>: {}</p></div>\n').format(
            _anchor(word), word, _with_code(meanings()[word])
        )
        for word in used
    )
    return Markup("").join(found)


def _anchor(word: str) -> str:
    return "term-" + re.sub(r"\W+", "-", word.lower())


def _with_code(text: str) -> Markup:
    """The text with what is between backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )
