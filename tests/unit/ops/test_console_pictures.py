"""Facts about the screenshots of the console: every page has one, which is small and in the documentation."""

import re
from collections.abc import Iterator

import pytest

from tests.support.pictured_console import IMAGES, PicturedConsole, page_routes, picture_of, pictured_console

GALLERY = IMAGES.parent / "console-pages.md"
# Bytes of one picture. With 48 colours a full screen has about 40 KB.
LARGEST = 60_000


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PicturedConsole]:
    with pictured_console(tmp_path_factory.mktemp("pictures")) as made:
        yield made


def test_every_page_has_a_picture_in_the_documentation(console: PicturedConsole) -> None:
    text = GALLERY.read_text(encoding="utf-8")
    shown = re.findall(r"\(img/console-([\w-]+)\.png\)", text)
    pages = {picture_of(path) for path in page_routes(console.app)}
    assert pages <= set(shown) and len(pages) > 25
    assert set(shown) - pages == {"overview-dark", "phone"} and len(shown) == len(set(shown))
    assert {path.name for path in IMAGES.glob("console-*.png")} == {f"console-{name}.png" for name in shown}


def test_a_page_without_an_address_to_show_is_noticed(console: PicturedConsole) -> None:
    addresses = console.addresses()
    assert addresses.keys() == set(page_routes(console.app))
    for path, address in addresses.items():
        answer = console.browser.get(address)
        assert answer.status_code == 200 and len(answer.content) <= 100_000, (path, len(answer.content))


def test_the_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in IMAGES.glob("console-*.png")}
    assert max(sizes.values()) <= LARGEST, sizes


def test_two_pages_never_share_a_picture(console: PicturedConsole) -> None:
    routes = page_routes(console.app)
    assert len({picture_of(path) for path in routes}) == len(routes)
    assert picture_of("/models/{model}/freeze") == "models-model-freeze"
