"""Facts about links of the console: each link on a page that opens leads to a page that opens."""

import html
import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from core.api_key_store import NewKey
from core.api_keys import GRANTABLE, Scope
from ops.console.links import PageScopes
from tests.support.pictured_console import PicturedConsole, pictured_console

LINK = re.compile(r'<a\b[^>]*\shref="(/[^"]*)"')
ROLES = {"numbers": (Scope.OPS_NUMBERS,), "read": (Scope.OPS_READ,), "admin": GRANTABLE}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PicturedConsole]:
    with pictured_console(tmp_path_factory.mktemp("links")) as made:
        yield made


@pytest.mark.parametrize("role", ROLES)
def test_every_link_of_every_page_opens(console: PicturedConsole, role: str) -> None:
    key = console.control.keyring.make(NewKey(role, ROLES[role]), "test").key
    client = TestClient(console.app, headers={"Authorization": f"Bearer {key}"})
    opened = {address: client.get(address) for address in console.addresses().values()}
    pages = {address: answer.text for address, answer in opened.items() if answer.status_code == 200}
    links = {html.unescape(link) for text in pages.values() for link in LINK.findall(text)}
    refused = {link for link in links - pages.keys() if client.get(link).status_code == 403}
    assert refused == set()
    texts = {link for link in links if re.match(r"/(requests|feedback|quarantine|promotions/.)", link)}
    assert bool(texts) == (role != "numbers") and ("/audit" in links) == (role == "admin")
    assert "/overview" in pages and len(links) > 20


def test_a_link_that_is_closed_keeps_its_text_and_all_else() -> None:
    scopes = PageScopes()

    class Route:
        methods = frozenset({"GET"})
        path_regex = re.compile("^/promotions/(?P<identity>[^/]+)$")

    scopes.add([Route()], Scope.OPS_READ)
    page = '<a class="x" href="/promotions/1?tab=live&amp;a=b" title="t">One</a> <a href="/promotions">All</a>'
    assert scopes.with_open_links(page, lambda _: True) == page
    closed = '<a class="x" title="t">One</a> <a href="/promotions">All</a>'
    assert scopes.with_open_links(page, lambda _: False) == closed
    assert scopes.needed("/promotions/1#end") is Scope.OPS_READ and scopes.needed("/promotions") is None
