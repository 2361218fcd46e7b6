"""Facts about the documentation site: it builds without warnings, needs no other host, and leads to every page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import diagrams, sizing

pytest.importorskip("mkdocs", reason="the docs extra is not installed")
ROOT = Path(__file__).parents[3]
# The generated files of mkdocs-material name hosts in texts and attributes that load nothing.
LOADED = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//([^/\"'> ]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    for page in ROOT.glob("docs/**/*.md"):
        path = page.relative_to(ROOT / "docs").as_posix()
        assert re.search(rf" {re.escape(path)}$", navigation, re.MULTILINE) or path.startswith("decisions/0"), path


def test_every_decision_is_in_the_index():
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf-8")
    for page in ROOT.glob("docs/decisions/0*.md"):
        assert f"({page.name})" in index


def test_the_pages_load_nothing_from_other_hosts(site: Path):
    for page in site.rglob("*.html"):
        assert not LOADED.findall(page.read_text(encoding="utf-8")), page.name


def test_pages_outside_docs_are_part_of_the_site(site: Path):
    assert {"kubernetes.html", "changelog.html", "contributing.html"} <= {page.name for page in site.glob("*.html")}
    assert 'href="finding-your-way.html"' in (site / "contributing.html").read_text(encoding="utf-8")


def test_the_pictures_are_in_step_with_their_sources(capsys: pytest.CaptureFixture[str]):
    assert diagrams.main(["--check"]) == 0, capsys.readouterr().err


def test_a_diagram_with_an_unknown_participant_is_refused_with_its_line():
    with pytest.raises(ValueError, match="line 4"):
        diagrams.parse("title: T\nabout: A\npart: app App\napp -> nobody: hello\n")


def test_a_diagram_draws_messages_notes_and_replies():
    text = "title: T\nabout: A\npart: a App\npart: b Box\na -> b: <ask>\nb: think\nb --> a: answer\n"
    drawn = diagrams.draw(diagrams.parse(text))
    assert "&lt;ask&gt;" in drawn
    assert drawn.count('class="l r"') == 1
    assert drawn.count('class="n"') == 1


def test_the_files_that_finding_your_way_names_exist():
    page = (ROOT / "docs" / "finding-your-way.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", page)
    assert len(named) > 20
    for path in named:
        assert (ROOT / path).is_file(), path


def test_the_sizing_table_is_what_the_forecast_says():
    page = (ROOT / "docs" / "sizing.md").read_text(encoding="utf-8")
    for row in sizing.rows():
        assert row in page


def test_the_messages_that_troubleshooting_quotes_are_in_the_code():
    folders = ("core", "serve", "feedback", "eval", "rollout", "retrain", "ops", "scripts")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".sh")]
    code = " ".join(path.read_text(encoding="utf-8") for path in files)
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a message may be written in several pieces
    quoted = re.findall(r'^\| [^|]*"([^"|]+)"', (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 5
    for message in quoted:
        assert all(part.strip() in code for part in message.split("…")), message
