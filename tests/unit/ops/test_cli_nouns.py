"""Facts about nouns and verbs: what is meant without a verb, and what older names became."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.cli.app import INSTALLATION, NOUNS
from ops.cli.nouns import OLD_NAMES, Noun, new_words, with_verb
from ops.local.config_template import STARTER
from tests.support.cli_examples import assert_understood
from tests.support.command_line import loraloop

VERBS = ["list", "show", "start", "cancel"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], ["list"]),
        (["--limit", "5"], ["list", "--limit", "5"]),
        (["reviews"], ["list", "reviews"]),
        (["show", "run-1"], ["show", "run-1"]),
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        (["cancle", "run-1"], ["cancle", "run-1"]),
    ],
)
def test_without_a_verb_the_default_one_is_meant(words: Sequence[str], meant: list[str]) -> None:
    assert with_verb(words, VERBS, "list") == meant


def test_a_noun_without_a_default_verb_takes_the_words_as_they_are() -> None:
    assert with_verb(["reviews"], VERBS, None) == ["reviews"]


def test_a_misspelt_verb_is_named_with_the_right_one(tmp_path: Path) -> None:
    done = loraloop("runs", "cancle", "run-1", cwd=tmp_path)
    assert done.returncode == 2 and "cancel" in done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("retrain reviews --wait", "runs start reviews --wait"),
        ("promote reviews 3 --yes", "models promote reviews 3 --yes"),
        ("rollback reviews --to 2", "models rollback reviews --to 2"),
        ("approve 12", "promotions approve 12"),
        ("reject 12 -m no", "promotions reject 12 -m no"),
        ("evaluate reviews -s refusal", "versions evaluate reviews -s refusal"),
        ("import-adapter reviews a", "versions import reviews a"),
        ("import a.jsonl", "data import a.jsonl"),
        ("export decisions a.jsonl", "data export decisions a.jsonl"),
        ("erase --user u", "data erase --user u"),
        ("run show run-1", "runs show run-1"),
        ("snapshot show run-1", "snapshots show run-1"),
        ("ledger verify", "promotions verify"),
        ("notify test", "notifications test"),
        ("restore a.tar", "backup restore a.tar"),
        ("versions reviews 3", "versions show reviews 3"),
        ("versions show show 3", "versions show show 3"),
        ("versions reviews", "versions reviews"),
        ("runs reviews", "runs reviews"),
    ],
)
def test_an_older_name_is_replaced(old: str, new: str) -> None:
    assert new_words(old.split()) == new.split()
    assert_understood(f"loraloop {old}", whole=False)


def test_every_older_name_became_a_command_and_is_none_itself() -> None:
    verbs = {noun.name: noun.verbs for nouns in NOUNS.values() for noun in nouns}
    for old, (noun, *verb) in OLD_NAMES.items():
        assert noun in verbs and set(verb) <= set(verbs[noun])
        assert old[0] not in {*verbs, *INSTALLATION}


def test_an_older_name_still_works_and_says_what_it_became(tmp_path: Path) -> None:
    (tmp_path / "loraloop.yaml").write_text(STARTER)
    done = loraloop("evaluate", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "Run suites on a version" in done.stdout
    assert "this is now loraloop versions evaluate" in done.stderr
    new = loraloop("versions", "evaluate", "--help", cwd=tmp_path)
    assert "older name" not in new.stderr


def test_a_file_after_backup_is_the_backup_that_is_made() -> None:
    assert_understood("loraloop backup monday.tar --yes")
    assert_understood("loraloop backup create monday.tar --yes")


def test_the_help_of_a_noun_lists_its_verbs() -> None:
    noun = Noun("things", "Things.", {"list": lambda: None, "drop": lambda: None}, default="list")
    said = CliRunner().invoke(noun.group(), ["--help"]).output
    assert "list" in said and "drop" in said
