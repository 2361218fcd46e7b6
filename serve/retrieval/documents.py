"""Read a folder of plain text and Markdown as passages of bounded length."""

from collections.abc import Iterator
from pathlib import Path

from core.errors import InputError

ENDINGS = (".txt", ".md")
# Some 250 tokens: a few of them fit into a prompt, and one still says something whole.
LONGEST = 1000
SETTING = "baselines.documents"


def passages(folder: Path) -> list[str]:
    """The passages of every text file below a folder, by path. Raises InputError that names the file and the fix."""
    if not folder.is_dir():
        raise InputError(f"{SETTING}: there is no folder {folder}.", hint="Make it, or name another.")
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in ENDINGS and file.is_file()]
    found = [passage for file in files for passage in cut(_text(file))]
    if not found:
        raise InputError(
            f"{SETTING}: {folder} holds no text in files that end in {' or '.join(ENDINGS)}.",
            hint="Put some there, or remove the setting.",
        )
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{SETTING}: {file} is not UTF-8 at byte {error.start}.",
            hint="Convert it, for example with iconv -t UTF-8.",
        ) from error
    except OSError as error:
        raise InputError(f"{SETTING}: {file} cannot be read: {error.strerror}.") from error


def cut(text: str) -> list[str]:
    """Paragraphs, joined while they fit into a passage; one that is longer is cut between words."""
    found: list[str] = []
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        for piece in _pieces(paragraph.strip()):
            if found and len(found[-1]) + len(piece) + 1 <= LONGEST:
                found[-1] += f"\n{piece}"
            else:
                found.append(piece)
    return found


def _pieces(paragraph: str) -> Iterator[str]:
    while len(paragraph) > LONGEST:
        place = paragraph.rfind(" ", 1, LONGEST + 1)
        place = LONGEST if place < 0 else place
        yield paragraph[:place].rstrip()
        paragraph = paragraph[place:].lstrip()
    if paragraph:
        yield paragraph
