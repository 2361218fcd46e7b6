"""Find words and sentences that the writing rules of CONTRIBUTING.md do not allow.

It reads pages, docstrings, comments, messages in code, HTML templates, SQL, YAML, shell and JSON descriptions.
`tools/words.toml` holds the words.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tools.prose import READERS, Text, texts

ROOT = Path(__file__).resolve().parents[1]
RULES = Path(__file__).with_name("words.toml")
LONGEST_SENTENCE = 25  # words
MOST_SEMICOLONS = 1  # in one sentence
# Data, vendored files and what other projects wrote.
SKIPPED = (
    "tools/words.toml",
    "tests/unit/*/test_words.py",
    "*.min.js",
    "*/VENDORED.md",
    "LICENSE",
    "requirements.lock",
    "bench/peers/*",
)


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule, with what to write instead."""

    path: str
    line: int
    rule: str  # "word", "name", "long sentence", "semicolons"
    found: str
    use: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.found!r}: use {self.use}"


@dataclass(frozen=True)
class Ban:
    """One entry of words.toml."""

    find: re.Pattern[str]
    use: str
    unless: tuple[re.Pattern[str], ...] = ()
    names: bool = False
    only: tuple[str, ...] = ()
    exempt: tuple[str, ...] = field(default=())

    def applies(self, path: str) -> bool:
        """Whether this entry holds for the file."""
        return (not self.only or matches(path, self.only)) and not matches(path, self.exempt)


def matches(path: str, globs: Iterable[str]) -> bool:
    """Whether the path matches one of the globs; `**` and `*` both match any characters."""
    return any(fnmatchcase(path, glob) or path == glob or path.startswith(glob.rstrip("/") + "/") for glob in globs)


def load_bans(path: Path = RULES) -> list[Ban]:
    """Read words.toml."""
    bans = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["ban"]:
        bans.append(
            Ban(
                find=re.compile(rf"(?<![\w-])(?:{entry['find']})(?![\w-])", re.IGNORECASE),
                use=entry["use"],
                unless=tuple(re.compile(one, re.IGNORECASE) for one in entry.get("unless", [])),
                names=entry.get("names", False),
                only=tuple(entry.get("only", [])),
                exempt=tuple(entry.get("except", [])),
            )
        )
    return bans


# --- the rules ---------------------------------------------------------------------------------------------------


def banned(text: Text, bans: list[Ban]) -> Iterator[Finding]:
    """Yield the banned words of a text; `bans` are those of its file."""
    for ban in bans:
        if text.kind == "name" and not ban.names:
            continue
        for hit in ban.find.finditer(text.text):
            spans = (one.span() for allowed in ban.unless for one in allowed.finditer(text.text))
            if any(start <= hit.start() and hit.end() <= end for start, end in spans):
                continue
            line = text.line + text.text.count("\n", 0, hit.start())
            found = " ".join(hit.group(0).split())
            yield Finding(text.path, line, "name" if text.kind == "name" else "word", found, ban.use)


SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[A-Z0-9\"'(\[`–—-])|:\s*$")
# In a cell, for example all values of an option.
LIST_OF_CODE = re.compile(r"CODE(, CODE)+")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|vs|cf|etc)\.")


def sentences(text: str) -> list[str]:
    """Split a paragraph into its sentences."""
    text = ABBREVIATION.sub(lambda match: match.group(1).replace(".", ""), " ".join(text.split()))
    return [one for one in SENTENCE_END.split(text) if one and one.strip()]


def count_words(sentence: str) -> int:
    """Return the number of words; code and numbers are one word each, signs are none."""
    return sum(1 for word in sentence.split() if re.search(r"\w", word))


def unreadable(text: Text) -> Iterator[Finding]:
    """Yield sentences of a page that are too long or chained with semicolons; a table cell may be a list."""
    if text.kind not in ("page", "cell"):
        return
    for sentence in sentences(text.text):
        start = sentence if len(sentence) < 60 else sentence[:57] + "..."
        counted = LIST_OF_CODE.sub("CODE", sentence) if text.kind == "cell" else sentence
        if (words := count_words(counted)) > LONGEST_SENTENCE:
            use = f"two sentences ({words} words, limit {LONGEST_SENTENCE})"
            yield Finding(text.path, text.line, "long sentence", start, use)
        if text.kind == "page" and (marks := sentence.count(";")) > MOST_SEMICOLONS:
            yield Finding(text.path, text.line, "semicolons", start, f"a list or sentences ({marks} semicolons)")


def check(path: str, content: str, bans: list[Ban]) -> list[Finding]:
    """Return everything in one file that breaks a rule."""
    found: list[Finding] = []
    applying = [ban for ban in bans if ban.applies(path)]
    for text in texts(path, content):
        found += [*banned(text, applying), *unreadable(text)]
    return sorted(set(found), key=lambda one: (one.line, one.rule, one.found))


# --- the command -------------------------------------------------------------------------------------------------


def tracked(paths: Iterable[str]) -> list[str]:
    """Return the files under the paths (all without any) that git tracks or would add, relative to the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return [path for path in listed if path and not matches(path, SKIPPED) and (ROOT / path).is_file()]


def check_files(paths: Iterable[str], bans: list[Ban]) -> list[Finding]:
    """Return the findings of all files with a reader."""
    found: list[Finding] = []
    for path in paths:
        if Path(path).suffix in READERS or Path(path).name in READERS:
            found += check(path, (ROOT / path).read_text(encoding="utf-8"), bans)
    return found


def report(found: Iterable[Finding]) -> dict[str, dict[str, int]]:
    """Return the number of findings by file and rule, the files with most findings first."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in found:
        counts[one.path][one.rule] += 1
    return {path: dict(counts[path]) for path in sorted(counts, key=lambda path: (-counts[path].total(), path))}


def main(arguments: list[str] | None = None) -> int:
    """Run the check and return 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="python -m tools.words", description="Check the words of code and pages.")
    parser.add_argument("paths", nargs="*", help="files or folders; without any: all")
    parser.add_argument("--json", action="store_true", help="print findings as JSON, one object per line")
    parser.add_argument("--report", action="store_true", help="print the number of findings by path and rule as JSON")
    options = parser.parse_args(arguments)
    found = check_files(tracked(options.paths), load_bans())
    if options.report:
        print(json.dumps(report(found), indent=2))
        return 0
    for one in found:
        print(json.dumps(asdict(one)) if options.json else one)
    if found and not options.json:
        print(f"{len(found)} findings. CONTRIBUTING.md has the rules, tools/words.toml the words.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
