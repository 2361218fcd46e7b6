"""Facts about the check of words: what it finds, what it leaves alone, and that the repository passes."""

import json
from pathlib import Path

import pytest

from tools import words

BANS = words.load_bans()


def found(content: str, path: str = "docs/page.md") -> list[tuple[str, str]]:
    return [(one.rule, one.found.lower()) for one in words.check(path, content, BANS)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("The house has a floor and a roof.", "house"),
        ("Control is told of the vote.", "told"),
        ("The engine is asked again.", "is asked"),
        ("It goes by the ledger's order.", "goes by"),
        ("The key stands in the file.", "stands"),
        ("The trigger wants 500 rows.", "wants"),
        ("Control takes in what was spooled.", "takes in"),
        ("The file is read anew.", "anew"),
        ("Meanwhile the canary goes on.", "meanwhile"),
        ("RAG is measured beside it.", "beside"),
        ("These votes are left out for good.", "for good"),
        ("It restarts by itself.", "by itself"),
        ("Two models, one of which has a canary.", "of which"),
        ("Such a run is skipped.", "such a"),
        ("At most one promotion in so many hours.", "so many"),
        ("The doctor found none that failed.", "none that"),
        ("One line a check, each with its fix.", "one line a check"),
        ("The first look came at 30 users an arm.", "30 users an arm"),
        ("It needs 30 labels of 20 users.", "30 labels of 20 users"),
        ("Whoever lost the key makes a new one.", "whoever"),
        ("A cycle starts at night.", "cycle"),
        ("Who hangs up before the end pays for the request and has to wait.", "hangs up"),
    ],
)
def test_a_banned_word_is_found_with_what_to_write_instead(text: str, word: str):
    hits = words.check("docs/page.md", text, BANS)
    assert word in [hit.found.lower() for hit in hits]
    assert all(hit.use for hit in hits)


@pytest.mark.parametrize(
    "text",
    [
        "The gateway checks the key against the hashes in its routing table.",
        "The first check needs 30 users per arm.",
        "It asks the engine three times per second.",
        "Take the numbers in a table. The value lies between 0 and 1.",
        "A third of a percent. Once a day. Twice a week.",
        "`house` and `loraloop play` are code.",
        "See [the page](house/door.md).",
        "Headroom, classroom and footage are other words.",
    ],
)
def test_plain_words_pass(text: str):
    assert found(text) == []


def test_a_clause_as_subject_is_found_and_a_question_is_not():
    assert found("Who lost the last key starts control once and has another.") != []
    assert found("Who can read the texts of my users?") == []


def test_words_that_the_glossary_replaces_are_found_where_they_are_not_ambiguous():
    glossary = (words.ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for word in ("stranger", "cycle", "floor"):
        assert f" {word}" in glossary, word
        assert found(f"There is a {word} in it.") != []


def test_code_blocks_are_not_prose():
    assert found("Text.\n\n```sh\nloraloop up  # the house\n```\n\n~~~\nanew\n~~~\n") == []


def test_a_finding_names_its_line():
    (hit,) = words.check("docs/page.md", "# Title\n\nFine.\n\n| a | b |\n|---|---|\n| c | read anew |\n", BANS)
    assert (hit.line, hit.rule, hit.use) == (7, "word", "again")
    assert str(hit) == "docs/page.md:7: word: 'anew': use again"


def test_a_long_sentence_is_found_and_a_list_is_many_sentences():
    long = " ".join(["word"] * 26) + "."
    assert [rule for rule, _ in found(long)] == ["long sentence"]
    assert found("".join(f"- {' '.join(['word'] * 20)}\n" for _ in range(3))) == []
    assert found(" ".join(["word"] * 20) + ". " + "Then " + " ".join(["word"] * 20)) == []


def test_a_list_of_values_in_a_cell_is_one_word():
    values = ", ".join(["`one`"] * 30)
    assert found(f"| key | type |\n|---|---|\n| `k` | list of {values} |\n") == []
    assert [rule for rule, _ in found(f"There are {values}.")] == ["long sentence"]


def test_code_and_abbreviations_do_not_end_a_sentence():
    assert words.sentences("Use e.g. Paris, i.e. a name. Then stop.") == ["Use eg Paris, ie a name.", "Then stop."]
    assert words.count_words("a – b, (c) `d`") == 4


def test_a_chain_of_semicolons_is_found():
    assert found("One; two; three.") == [("semicolons", "one; two; three.")]
    assert found("One; two.") == []


def test_docstrings_comments_messages_and_names_of_code_are_read():
    code = '''
"""The house."""

class GuestHouse:
    def stay(self, x):
        # Comes back
        # anew.
        raise ValueError(f"The key {x} stands in no file.")

option(help="told")
pattern = re.compile("(?:such a|none that) thing here")
short = "told"
'''
    assert sorted(found(code, "core/x.py")) == sorted([
        ("word", "house"), ("name", "house"), ("word", "comes back"), ("word", "anew"), ("word", "stands"),
        ("word", "told"),
    ])  # fmt: skip


def test_questions_of_suites_are_data():
    code = '"""Anew."""\nASKED = ("How many rooms does the house have?",)\n'
    assert found(code, "eval/suites/hallucination.py") == [("word", "anew")]
    assert len(found(code, "eval/suites/files.py")) == 3


def test_a_template_is_read_as_text():
    html = '{# anew #}<p title="told">{{ house.door }} by itself</p>\n<script>let house</script>{{ "it is read anew" }}'
    assert sorted(word for _, word in found(html, "ops/x.html")) == ["anew", "anew", "by itself", "told"]


def test_comments_of_sql_yaml_and_descriptions_of_json_are_read():
    assert found("-- name: x\n-- Read anew.\nSELECT 'meanwhile'", "core/x.sql") == [("word", "anew")]
    yaml = "# Read\n# anew.\nkey: meanwhile  # told\n"
    assert found(yaml, "charts/values.yaml") == [("word", "anew"), ("word", "told")]
    assert found('{"description": "Read anew.", "enum": ["house"]}', "x.schema.json") == [("word", "anew")]


def test_a_report_counts_by_path_and_rule():
    twice = [words.Finding("a.md", line, "name", "x", "y") for line in (1, 2)]
    hits = [words.Finding("b.md", 1, "word", "anew", "again"), *twice]
    assert words.report(hits) == {"a.md": {"name": 2}, "b.md": {"word": 1}}


def test_findings_are_printed_as_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "page.md").write_text("Read anew.")
    monkeypatch.setattr(words, "ROOT", tmp_path)
    monkeypatch.setattr(words, "tracked", lambda paths: ["page.md"])
    assert words.main(["--json", "page.md"]) == 1
    assert json.loads(capsys.readouterr().out)["use"] == "again"


def test_the_repository_passes(capsys: pytest.CaptureFixture[str]):
    assert words.main([]) == 0, capsys.readouterr().out
