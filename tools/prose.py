"""Find the prose in a file: pages, docstrings, comments, messages, templates, descriptions.

It decides what is prose and where it starts. `tools.words` decides whether the prose follows the rules.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path


@dataclass(frozen=True)
class Text:
    """A piece of prose: where it starts and what kind of text it is."""

    path: str
    line: int
    text: str
    kind: str  # "page", "cell", "heading", "comment", "string", "name"


Reader = Callable[[str, str], Iterator[Text]]

FENCE = re.compile(r"^\s*(```+|~~~+)")
LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
CODE_SPAN = re.compile(r"(`+)(?:(?!\1).)+?\1", re.DOTALL)
LINK = re.compile(r"!?\[((?:[^\[\]]|\[[^\]]*\])*)\]\([^)]*\)(?:\{[^}]*\})?")
TAG = re.compile(r"<!--.*?-->|</?\w[^>]*>", re.DOTALL)


def plain(text: str) -> str:
    """Return the prose of a piece of Markdown: code is one word, links are their text."""
    text = CODE_SPAN.sub("CODE", text)
    text = LINK.sub(r"\1", text)
    return TAG.sub(" ", text).replace("**", "").replace("*", "")


def prose_lines(content: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, line) of a Markdown file without front matter; a code block is one empty line."""
    fence = ""
    front_matter = content.startswith("---\n")
    for number, line in enumerate(content.splitlines(), 1):
        if front_matter:
            front_matter = number == 1 or line.strip() != "---"
            continue
        opened = FENCE.match(line)
        if fence:
            fence = "" if opened and opened.group(1).startswith(fence) else fence
        elif opened:
            fence = opened.group(1)
            yield number, ""
        else:
            yield number, line


def markdown(path: str, content: str) -> Iterator[Text]:
    """Yield headings, paragraphs, list items and table cells, without code blocks."""
    block: list[str] = []
    first = 0
    for number, line in [*prose_lines(content), (0, "")]:
        stripped = line.strip()
        alone = not stripped or stripped.startswith(("#", "!!!", "???", "===", "|"))
        if block and (alone or LIST_ITEM.match(line)):
            yield Text(path, first, plain(" ".join(block)), "page")
            block = []
        if stripped.startswith("#"):
            yield Text(path, number, plain(stripped.lstrip("# ")), "heading")
        elif stripped.startswith("|"):
            for cell in re.split(r"(?<!\\)\|", CODE_SPAN.sub("CODE", stripped).strip("|")):
                if cell.strip(" -:"):
                    yield Text(path, number, plain(cell.strip()), "cell")
        elif alone:
            yield Text(path, number, " ".join(re.findall(r'"([^"]*)"', stripped)), "heading")
        else:
            first = first if block else number
            block.append(LIST_ITEM.sub("", line).strip())


# SQL, regular expressions, HTML, templates and JSON.
CODE_IN_STRING = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE) [A-Za-z*]|\(\?[:P=!<]|\\[bdsw]|<\w+[ >]|[{}]{2}|^\s*[{\[]"
)
# Sentences of these files are questions to a model, which must not change.
DATA = re.compile(r"eval/suites/(?!files|run|shipped|suite\b)")
MESSAGES = {"help", "description", "hint", "summary", "title", "detail", "epilog", "message", "reason", "short_help"}


def python(path: str, content: str) -> Iterator[Text]:
    """Yield docstrings, comments, strings that read as sentences, and the names of definitions."""
    nodes = list(ast.walk(ast.parse(content)))
    prose: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.keyword) and node.arg in MESSAGES:
            prose.update(id(part) for part in ast.walk(node.value))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.body and isinstance(node.body[0], ast.Expr):
                prose.add(id(node.body[0].value))
            if not isinstance(node, ast.Module):
                yield Text(path, node.lineno, spaced(node.name), "name")
    for node in nodes:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) in prose or (not DATA.match(path) and reads_as_sentence(node.value)):
            yield Text(path, node.lineno, CODE_SPAN.sub("CODE", node.value), "string")
    yield from python_comments(path, content)


def python_comments(path: str, content: str) -> Iterator[Text]:
    """Yield comments; comments on lines that follow each other are one text."""
    block: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != last + 1:
            yield Text(path, first, CODE_SPAN.sub("CODE", "\n".join(block)), "comment")
            block = []
        last = token.start[0]
        first = first if block else last
        block.append(token.string.lstrip("#").strip())
    if block:
        yield Text(path, first, CODE_SPAN.sub("CODE", "\n".join(block)), "comment")


def reads_as_sentence(text: str) -> bool:
    """Whether a string in code is prose: three words or more, and neither SQL nor a regular expression nor HTML."""
    words = re.findall(r"[A-Za-z][a-z']+", text)
    if len(words) < 3 or " " not in text.strip():
        return False
    return not CODE_IN_STRING.search(text)


def spaced(name: str) -> str:
    """Return the words of an identifier: `GatewayHouse` and `gateway_house` become `gateway house`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").lower()


class Template(HTMLParser):
    """Collects the text and the spoken attributes of a Jinja template."""

    SPOKEN = ("title", "alt", "placeholder", "aria-label", "data-confirm")

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.found: list[Text] = []
        self._ignored = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what a screen reader says; enter scripts and styles silently."""
        self._ignored += tag in ("script", "style", "code", "pre")
        for name, value in attrs:
            if name in self.SPOKEN and value:
                self.found.append(Text(self.path, self.getpos()[0], value, "string"))

    def handle_endtag(self, tag: str) -> None:
        """Leave scripts and styles."""
        self._ignored -= tag in ("script", "style", "code", "pre") and self._ignored > 0

    def handle_data(self, data: str) -> None:
        """Keep visible text."""
        if not self._ignored and data.strip():
            self.found.append(Text(self.path, self.getpos()[0], data, "string"))


def template(path: str, content: str) -> Iterator[Text]:
    """Yield the text of an HTML template, its quoted sentences in Jinja code, and its comments."""
    for match in re.finditer(r"\{#(.*?)#\}", content, re.DOTALL):
        yield Text(path, content.count("\n", 0, match.start()) + 1, match.group(1), "comment")
    for match in re.finditer(r"\{[{%](.*?)[%}]\}", content, re.DOTALL):
        for quoted in re.findall(r"'([^']*)'|\"([^\"]*)\"", match.group(1)):
            text = "".join(quoted)
            if reads_as_sentence(text):
                yield Text(path, content.count("\n", 0, match.start()) + 1, text, "string")

    def blank(match: re.Match[str]) -> str:
        return "CODE" + "\n" * match.group(0).count("\n")

    parser = Template(path)
    parser.feed(re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", blank, content, flags=re.DOTALL).replace("CODECODE", "CODE"))
    yield from parser.found


def described(path: str, content: str) -> Iterator[Text]:
    """Yield titles and descriptions of a JSON file, such as a schema or a dashboard."""
    for match in re.finditer(r'"(?:title|description|text|content)":\s*("(?:[^"\\]|\\.)*")', content):
        yield Text(path, content.count("\n", 0, match.start()) + 1, plain(json.loads(match.group(1))), "string")


def commented(marks: str) -> Reader:
    """Return a reader of the comments that start with one of the marks (a regular expression)."""
    pattern = re.compile(rf"(?:^|\s)(?:{marks})(.*)$")

    def read(path: str, content: str) -> Iterator[Text]:
        block: list[str] = []
        first = 0
        for number, line in enumerate(content.splitlines(), 1):
            found = None if line.startswith("#!") else pattern.search(line)
            if found:
                first = first or number
                block.append(found.group(1).strip(" #*/"))
            if block and (not found or line[: found.start()].strip()):
                yield Text(path, first, CODE_SPAN.sub("CODE", " ".join(block)), "comment")
                block, first = [], 0
        if block:
            yield Text(path, first, CODE_SPAN.sub("CODE", " ".join(block)), "comment")

    return read


def notes(path: str, content: str) -> Iterator[Text]:
    """Yield the lines of a Helm text template."""
    for number, line in enumerate(re.sub(r"\{\{.*?\}\}", "CODE", content).splitlines(), 1):
        yield Text(path, number, line, "string")


READERS: dict[str, Reader] = {
    ".md": markdown,
    ".py": python,
    ".html": template,
    ".sql": commented("--"),
    ".yaml": commented("#"),
    ".yml": commented("#"),
    ".toml": commented("#"),
    ".sh": commented("#"),
    ".lua": commented("--"),
    ".js": commented("//"),
    ".css": commented(r"/\*"),
    ".tpl": commented(r"#|\{\{-?\s*/\*"),
    ".json": described,
    ".txt": notes,
    "Makefile": commented("#"),
    "Dockerfile": commented("#"),
    "run": commented("#"),
}


def texts(path: str, content: str) -> list[Text]:
    """Return the prose of a file, or nothing for a kind of file that has no reader."""
    reader = READERS.get(Path(path).suffix) or READERS.get(Path(path).name)
    return list(reader(path, content)) if reader else []
