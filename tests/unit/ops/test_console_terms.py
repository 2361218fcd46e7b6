"""Facts about the explanations of terms: from one source, next to the word, and without a script."""

import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path

import jinja2
import pytest

from ops.console import terms
from ops.console.rendering import environment
from ops.console.svg.primitives import ARMS, KPIS
from tests.support.console import Console
from tests.support.large_decision import add_large_decision

ROOT = Path(__file__).parents[3]
TEMPLATES = sorted((ROOT / "ops/console/templates").glob("*.html"))
# A call with a word in quotes. Any other call has no name that a test could read.
CALL = re.compile(r'\bterm\("([^"]+)"')


@pytest.fixture(scope="module")
def console() -> Console:
    return Console()


def named(names: Iterable[str] = ()) -> dict[str, list[str]]:
    """The terms that each template names."""
    found = {file.stem: CALL.findall(file.read_text(encoding="utf-8")) for file in TEMPLATES}
    return {name: words for name, words in found.items() if not names or name in names}


def test_each_term_that_a_template_names_is_in_the_glossary() -> None:
    missing = {(name, word) for name, words in named().items() for word in words if word not in terms.meanings()}
    assert not missing
    calls = sum(len(re.findall(r"\bterm\(", file.read_text(encoding="utf-8"))) for file in TEMPLATES)
    assert calls == sum(map(len, named().values())) > 40


def test_the_pages_of_decisions_models_and_answers_explain_their_terms() -> None:
    for name in (
        "decision",
        "_arms",
        "_kpis",
        "_gate",
        "_slices",
        "_live",
        "_lineage",
        "overview",
        "model",
        "requests",
        "queue",
        "compare",
        "runs",
        "run",
        "system",
    ):
        assert named([name])[name], name
    words = {word for found in named().values() for word in found}
    for word in ("confidence sequence", "sample ratio", "level spent", "guardrail", "margin", "holdback", "anchor"):
        assert word in words, word


def test_the_kpis_and_arms_of_a_classifier_have_a_meaning() -> None:
    without = [words for words in (*KPIS.values(), *ARMS.values()) if words not in terms.meanings()]
    for words in ("macro F1", "weighted F1", "accuracy", "ROC AUC", "Brier score", "calibration error", "base model"):
        assert words not in without, words


def test_the_glossary_is_the_only_source_and_has_each_word_once() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", (ROOT / "docs/glossary.md").read_text(encoding="utf-8"), re.M)
    words = [row for row in rows if row[0] != "word"]
    assert dict(words) == terms.meanings() and len(dict(words)) == len(words)


def test_each_term_on_a_page_opens_its_own_meaning_and_no_meaning_is_twice(console: Console) -> None:
    path = f"/promotions/{add_large_decision(console)}"
    pages = [f"{path}?tab={tab}" for tab in console.tabs(path)] + ["/overview", "/models/reviews", "/feedback/queue"]
    pages += ["/models/reviews/compare?first=0&second=0", "/runs", "/system"]
    for page in pages:
        html = console.page(page)
        targets = set(re.findall(r'popovertarget="([^"]+)"', html))
        meanings = re.findall(r'<div class="meaning" id="([^"]+)" popover>', html)
        assert set(meanings) == targets and len(meanings) == len(targets), page
        assert targets, page
    live = unescape(re.sub(r"<[^>]+>", "", console.page(f"{path}?tab=live")))
    assert f"confidence sequence: {terms.meanings()['confidence sequence']}" in live


def test_a_word_without_a_meaning_is_refused_and_a_kpi_of_a_package_is_plain_text() -> None:
    def rendered(source: str) -> str:
        return environment().from_string(source).render(**{terms.USED: {}})

    with pytest.raises(KeyError, match="no such word"):
        rendered('{{ term("no such word") }}')
    assert rendered('{{ term_or_text("my <kpi>") }}{{ explanations() }}') == "my &lt;kpi&gt;"
    assert "<code>user</code>" in rendered('{{ term("user") }}{{ explanations() }}')


def test_a_page_that_stands_alone_has_the_words_only() -> None:
    template: jinja2.Template = environment().from_string('{{ term("look", "Looks") }}{{ explanations() }}')
    assert template.render() == "Looks"
