"""Hooks of the documentation site: pages that live outside docs/, and links to files that are not pages.

MkDocs loads this file from mkdocs.yml. The same Markdown files also read well on a Git host.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Files outside docs/ that are pages of the site.
PAGES = {
    "charts/loraloop/README.md": "kubernetes.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that live outside docs/."""
    for source, page in PAGES.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at pages of the site; a link to another file of the repository becomes its text."""
    here = page.file.src_uri
    source = posixpath.dirname(SOURCES[here] if here in SOURCES and here != "index.md" else f"docs/{here}")
    code: list[str] = []

    def keep(match: re.Match[str]) -> str:
        code.append(match.group(0))
        return f"\0{len(code) - 1}\0"

    text = LINK.sub(lambda match: rewrite(match, source, here), CODE.sub(keep, markdown))
    while "\0" in text:
        text = re.sub(r"\0(\d+)\0", lambda match: code[int(match.group(1))], text)
    return text


def rewrite(match: re.Match[str], source: str, here: str) -> str:
    """Return one link as the site needs it. `source` is the folder of the Markdown file in the repository."""
    image, text, link = match.groups()
    path, hash_, anchor = link.partition("#")
    if not path or "://" in link or link.startswith("mailto:"):
        return match.group(0)
    target = posixpath.normpath(posixpath.join(source, path))
    if target in PAGES:
        target = f"docs/{PAGES[target]}"
    elif not target.startswith("docs/") or not (ROOT / target).is_file():
        return match.group(0) if not (ROOT / target).exists() else text
    elif target.endswith(".json"):
        return text
    relative = posixpath.relpath(target, posixpath.join("docs", posixpath.dirname(here)))
    return f"{image}[{text}]({relative}{hash_}{anchor})"
