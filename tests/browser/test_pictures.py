"""Screenshots of every page of the console for the documentation, of made-up data that is the same in every run."""

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from serve.engines.fake import running
from tests.browser.conftest import PHONE
from tests.support.pictured_console import IMAGES, PicturedConsole, page_routes, picture_of, pictured_console

pytestmark = pytest.mark.browser

SCREEN = {"width": 1280, "height": 800}
# Headings of cards whose chart leaves more than a third of their width empty.
NARROW = """[...document.querySelectorAll('figure')].filter(card => {
    const pictures = [...card.querySelectorAll('svg')].map(one => one.getBoundingClientRect().width)
    return pictures.length && Math.max(...pictures) < card.clientWidth * 2 / 3
}).map(card => card.innerText.slice(0, 40))"""
# Few colours make a small file, and the console has few.
COLOURS = 48


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PicturedConsole]:
    """The console with its made-up history, on a port."""
    # Without its lifespan nothing runs in the background, so that no picture depends on time.
    with (
        pictured_console(tmp_path_factory.mktemp("pictures")) as made,
        running(made.app, lifespan="off") as made.url,
    ):
        yield made


def logged_in(chromium: Any, console: PicturedConsole, **how: Any) -> Any:
    """A page whose visitor is logged in."""
    how = {"viewport": SCREEN, "locale": "en-GB", "timezone_id": "Europe/Paris"} | how
    page = chromium.new_context(base_url=console.url, **how).new_page()
    page.clock.set_fixed_time(console.now)  # or else the ages in the pictures would grow
    page.goto("/login")
    page.get_by_label("Ops key").fill(console.made["ada"].key)
    page.keyboard.press("Enter")
    page.wait_for_url("**/overview")
    return page


def keep(page: Any, name: str) -> None:
    """Keeps what is seen for the documentation."""
    seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    seen.quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / f"console-{name}.png", optimize=True)


def test_every_page_has_its_picture(chromium: Any, console: PicturedConsole) -> None:
    page, addresses = logged_in(chromium, console), console.addresses()
    for path in page_routes(console.app):
        assert page.goto(addresses[path]).status == 200, path
        assert page.evaluate(NARROW) == [], path
        keep(page, picture_of(path))
    page.context.close()


def test_four_models_with_alarms_and_a_canary_fit_one_screen(chromium: Any, console: PicturedConsole) -> None:
    page = logged_in(chromium, console)
    assert page.get_by_role("rowheader").count() == 4 and page.get_by_role("link", name="Stop").count() == 1
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height <= SCREEN["height"], height
    assert page.evaluate("(table => table.scrollWidth <= table.clientWidth)(document.querySelector('.scroll'))")
    page.context.close()


def test_the_overview_in_the_dark_and_a_model_on_a_phone(chromium: Any, console: PicturedConsole) -> None:
    page = logged_in(chromium, console, color_scheme="dark")
    keep(page, "overview-dark")
    page.context.close()
    page = logged_in(chromium, console, viewport=PHONE, has_touch=True, is_mobile=True)
    page.goto("/models/reviews")
    keep(page, "phone")
    page.context.close()


def test_times_have_their_age_and_local_time_and_commands_a_button_to_copy(
    chromium: Any, console: PicturedConsole
) -> None:
    page = logged_in(chromium, console, permissions=["clipboard-read", "clipboard-write"])
    page.goto("/models/reviews")
    assert "2026-02-25 03:00:00 UTC (4 days ago)" in page.inner_text("#since")
    assert "25/02/2026, 04:00:00 in your time zone" in page.locator("#since time").get_attribute("title")
    button = page.locator("#undo").get_by_role("button")
    assert button.get_attribute("aria-label") == "Copy loraloop models rollback reviews --to 5"
    button.click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "loraloop models rollback reviews --to 5"
    page.context.close()


def test_a_label_is_undone_by_a_key(chromium: Any, console: PicturedConsole) -> None:
    page = logged_in(chromium, console)
    page.goto("/feedback/queue?model=reviews")
    shown = page.locator('input[name="interaction_id"]')
    first = shown.get_attribute("value")
    page.keyboard.press("2")
    page.get_by_text("You gave neutral for the answer before.").wait_for()
    assert shown.get_attribute("value") != first
    page.keyboard.press("u")
    page.wait_for_url(re.compile(r"queue\?((?!last=).)*$"), wait_until="load")
    assert shown.get_attribute("value") == first and page.get_by_text("You gave").count() == 0
    page.context.close()
