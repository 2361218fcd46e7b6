"""Draw the sequence diagrams of the documentation: docs/diagrams/NAME.txt becomes docs/img/NAME.svg.

The pictures are plain SVG files, so they show on every Git host, offline and in dark mode. A diagram library such as
Mermaid would add 3 MB of script to the site, and most viewers of a repository would not run it.
"""

import argparse
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap

SOURCES = Path(__file__).resolve().parents[1] / "docs" / "diagrams"
PICTURES = SOURCES.parent / "img"
COLUMN = 200  # px between two participants
STEP = 24  # px per line of text
STYLE = """
.b{fill:#f4f6f8;stroke:#5b6b7b;stroke-width:1.2}.n{fill:#e6f2ea;stroke:#2f6b45;stroke-width:1}
.t{fill:#1d2731}.s{fill:#33404d;font-size:13px}.v{stroke:#b6c1cc;stroke-dasharray:3 4}.p{fill:#ffffff}
.l{stroke:#5b6b7b;stroke-width:1.5;fill:none;marker-end:url(#a)}.r{stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){.p{fill:#12181f}.b{fill:#1e2730;stroke:#8fa1b3}.n{fill:#1c3326;stroke:#6fbf8d}
.t{fill:#e8edf2}.s{fill:#cdd6de}.v{stroke:#4a5866}.l{stroke:#8fa1b3}}
"""


@dataclass(frozen=True)
class Event:
    """One step: a message when the participants differ, a note when they are the same."""

    source: str
    target: str
    text: str
    reply: bool = False


@dataclass(frozen=True)
class Diagram:
    """A title, a description for screen readers, the participants from left to right, and the steps."""

    title: str
    about: str
    parts: dict[str, str]
    events: tuple[Event, ...]


def parse(text: str) -> Diagram:
    """Read a diagram. Raises ValueError with the line that is wrong."""
    fields: dict[str, str] = {}
    parts: dict[str, str] = {}
    events: list[Event] = []
    for number, line in enumerate(text.splitlines(), 1):
        head, _, rest = (piece.strip() for piece in line.partition(":"))
        if not line.strip() or line.startswith("#"):
            continue
        if head in ("title", "about"):
            fields[head] = rest
        elif head == "part":
            name, _, label = rest.partition(" ")
            parts[name] = label or name
        else:
            words = head.split()
            if len(words) == 1:
                words = [words[0], "->", words[0]]
            if len(words) != 3 or words[1] not in ("->", "-->") or not {words[0], words[2]} <= parts.keys():
                raise ValueError(f"line {number}: expected 'name -> name: text' or 'name: text', found {line!r}")
            events.append(Event(words[0], words[2], rest, reply=words[1] == "-->"))
    return Diagram(fields["title"], fields["about"], parts, tuple(events))


def draw(diagram: Diagram) -> str:
    """Return the diagram as SVG."""
    columns = {name: 90 + index * COLUMN for index, name in enumerate(diagram.parts)}
    width = 180 + (len(columns) - 1) * COLUMN
    y = 76
    body: list[str] = []
    for event in diagram.events:
        x, to = columns[event.source], columns[event.target]
        if x == to:
            lines = wrap(event.text, 24)
            height = 17 * len(lines) + 12
            left = min(max(x - 88, 2), width - 178)
            body.append(f'<rect class="n" x="{left}" y="{y}" width="176" height="{height}" rx="5"/>')
            body += _lines(lines, left + 88, y + 20)
            y += height + 14
        else:
            lines = wrap(event.text, max(24, int(abs(to - x) / 7.4)))
            y += 17 * len(lines)
            body += _lines(lines, (x + to) / 2, y - 17 * len(lines) + 12)
            gap = 4 if to > x else -4
            dashed = " r" if event.reply else ""
            body.append(f'<path class="l{dashed}" d="M{x + gap} {y + 4}H{to - gap}"/>')
            y += STEP - 4
    boxes = []
    for name, x in columns.items():
        boxes.append(f'<path class="v" d="M{x} 54V{y + 6}"/>')
        boxes.append(f'<rect class="b" x="{x - 80}" y="16" width="160" height="38" rx="7"/>')
        boxes.append(f'<text class="t" x="{x}" y="40">{escape(diagram.parts[name])}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 16}" role="img" aria-labelledby="t d" '
        f'font-family="system-ui, sans-serif" font-size="14">\n<title id="t">{escape(diagram.title)}</title>\n'
        f'<desc id="d">{escape(diagram.about)}</desc>\n<style>{STYLE}</style>\n'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="#7a8b9b"/></marker></defs>\n'
        f'<rect class="p" width="{width}" height="{y + 16}"/>\n'
        '<g text-anchor="middle">\n' + "\n".join([*boxes, *body]) + "\n</g>\n</svg>\n"
    )


def _lines(lines: list[str], x: float, y: float) -> list[str]:
    return [f'<text class="s" x="{x:g}" y="{y + 17 * row:g}">{escape(line)}</text>' for row, line in enumerate(lines)]


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures, or with --check return 1 when one is not in step with its source."""
    parser = argparse.ArgumentParser(prog="python -m tools.diagrams", description="Draw docs/diagrams as SVG.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a picture is not in step")
    check = parser.parse_args(arguments).check
    stale = []
    for source in sorted(SOURCES.glob("*.txt")):
        picture = PICTURES / f"{source.stem}.svg"
        drawn = draw(parse(source.read_text(encoding="utf-8")))
        if not check:
            picture.write_text(drawn, encoding="utf-8")
        elif not picture.exists() or picture.read_text(encoding="utf-8") != drawn:
            stale.append(picture.name)
    for name in stale:
        print(f"docs/img/{name} is not in step with its source. Run: make docs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
