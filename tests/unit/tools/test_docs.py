"""Facts about the docs: every command they show is one, every setting loads, every link leads somewhere."""

import ast
import json
import re
import shutil
import subprocess
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import build, load
from eval.gates.offline import LEAST_ITEMS, LEAST_USERS
from feedback.split import HOLDOUTS, bucket_of, split_key
from tests.support.cli_examples import assert_understood
from tools import docs_api

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), ROOT / "charts" / "loraloop" / "README.md"])
GENERATED = ("cli.md", "configuration.md", "api.md")
# A block of code; within a tab or a note it is indented.
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# A command within a line: after a prompt, a pipe or an assignment, in a substitution, or in `backticks`.
COMMAND = re.compile(r"(?:^|[;&|(`$]\s*|\bexec )(loraloop(?: [^;&|)`\n]*)?)", re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for _, language, content in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield textwrap.dedent(content)


def commands() -> Iterator[tuple[str, str, bool]]:
    """(page, command, whether it is whole): prose names commands without their arguments."""
    for page in PAGES:
        if page.name in GENERATED:
            continue
        for block in blocks(page, "sh", "bash", "console"):
            for line in COMMAND.findall(block.replace("\\\n", " ")):
                yield name(page), line.strip(), True
        prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for quoted in re.findall(r"`(loraloop(?: [^`]+)?)`", prose):
            yield name(page), " ".join(quoted.split()), False


SHOWN = list(dict.fromkeys(commands()))


def test_commands_are_found():
    found = {(page, line.split("#")[0].strip()) for page, line, whole in SHOWN if whole}
    assert len(found) > 40 and {("docs/quickstart.md", "loraloop init"), ("README.md", "loraloop up")} <= found


@pytest.mark.parametrize(("page", "line", "whole"), SHOWN)
def test_a_command_that_is_shown_is_one(page: str, line: str, whole: bool):
    assert_understood(line.replace("…", "X"), whole=whole)


SETTINGS = [(name(page), block) for page in PAGES if page.name not in GENERATED for block in blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "text"), SETTINGS, ids=[page for page, _ in SETTINGS])
def test_settings_that_are_shown_load(page: str, text: str):
    content: Any = yaml.safe_load(text)
    if isinstance(content, dict) and "models" in content and not page.startswith("charts/"):
        assert build(content).models


def test_the_settings_of_the_examples_load():
    files = sorted(ROOT.glob("examples/**/*.yaml"))
    assert files
    for file in files:
        assert load(file).models


def test_python_that_is_shown_is_python():
    found = [(page, block) for page in PAGES for block in blocks(page, "python")]
    assert len(found) > 5
    for _, block in found:
        ast.parse(block)


def test_javascript_that_is_shown_is_javascript(tmp_path: Path):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    found = [block for page in PAGES for block in blocks(page, "js")]
    assert len(found) > 3
    # Each in a function of its own, so that one call of node checks all. Imports stand before.
    imports = {line for block in found for line in block.splitlines() if line.startswith("import ")}
    bodies = ["\n".join(line for line in block.splitlines() if not line.startswith("import ")) for block in found]
    file = tmp_path / "shown.mjs"
    file.write_text("\n".join([*imports, *(f"async () => {{\n{body}\n}};" for body in bodies)]), encoding="utf-8")
    checked = subprocess.run([node, "--check", str(file)], capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stderr


def test_the_quickstart_sends_enough_labels_for_a_holdout():
    options = (ROOT / "examples" / "quickstart" / "app.py").read_text(encoding="utf-8")
    users, requests = (int(n) for n in re.findall(r'"--(?:users|requests)", type=int, default=(\d+)', options))
    model = load(ROOT / "examples" / "quickstart" / "loraloop.yaml").models["reviews"]
    keys = [split_key(f"user-{number}") for number in range(users)]
    groups = Counter(bucket_of(key, train=model.split.train, dev=model.split.dev) for key in keys)
    assert groups["train"] * requests >= model.retrain.min_labels
    assert all(groups[h] >= LEAST_USERS and groups[h] * requests >= LEAST_ITEMS for h in HOLDOUTS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path):
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        if anchor:
            text = target.read_text(encoding="utf-8")
            known = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}
            assert anchor in known, f"{name(page)} links to {link}"


def test_every_route_says_what_it_does():
    for route in docs_api.control_routes():
        assert docs_api.sentence(route), f"{route.path}: write a docstring for {route.endpoint.__name__}"


def test_requests_that_are_shown_are_json():
    for page in PAGES:
        for block in blocks(page, "sh"):
            for body in re.findall(r"-d '([^']*)'", block):
                json.loads(body)
