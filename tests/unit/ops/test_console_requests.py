"""Facts about the page of requests: filters, pages without gap or overlap, and how far back it looks."""

import re
from datetime import timedelta
from html import unescape

import pytest

from tests.support.console import EVIL, NOW, Console

FILL = """INSERT INTO interactions BY NAME SELECT 'c-' || printf('%03d', n) AS id,
    $now::TIMESTAMP - to_minutes((n // 3) * 7) AS time, CASE WHEN n % 2 = 0 THEN 'reviews' ELSE 'movies' END AS model,
    (n % 5)::INTEGER AS version, 'champion' AS arm, 0.0 AS share, 'user-' || (n % 4) AS user_id, 'chat' AS endpoint,
    CASE WHEN n % 10 = 9 THEN 502 WHEN n % 10 = 8 THEN 429 ELSE 200 END AS status, n::DOUBLE AS latency_ms,
    7 AS prompt_tokens, n % 3 AS completion_tokens, FALSE AS streamed, 'key-' || (n % 2) AS key_id, 'a secret' AS answer
    FROM range($count) numbers(n)"""


@pytest.fixture
def console() -> Console:
    made = Console()
    made.store._connection.execute(FILL, {"now": NOW.replace(tzinfo=None), "count": 80})
    return made


def listed(console: Console, query: str) -> list[str]:
    """The ids of all pages that the filter has, as links in their order, until no page of requests is left."""
    found, path = list[str](), f"/requests?{query}"
    while path:
        html = console.page(path)
        found += re.findall(r'href="/feedback/(c-\d+)"', html)
        link = re.search(r'rel="next" href="([^"]+)">Older', html)
        path = unescape(link[1]) if link else ""
    return found


def test_pages_follow_each_other_without_gap_or_overlap_and_show_no_text(console: Console) -> None:
    newest_first = sorted(range(80), key=lambda n: (n // 3, -n))  # three have the same time
    assert listed(console, "") == [f"c-{n:03}" for n in newest_first]
    html = console.page("/requests")
    assert "a secret" not in html and "a secret" not in console.client.get("/requests.json").text
    assert "Tokens out" in html and '<td class="n">7</td>' in html


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("model=movies&outcome=failed", range(9, 80, 10)),
        ("outcome=refused", range(8, 80, 10)),
        ("outcome=answered&least_ms=70", [n for n in range(70, 80) if n % 10 < 8]),
        ("version=3&user=user-0", [n for n in range(80) if n % 5 == 3 and n % 4 == 0]),
        ("key=key-1&model=reviews", []),
        ("user=nobody", []),
    ],
)
def test_filters_add_up(console: Console, query: str, wanted: list[int]) -> None:
    assert sorted(listed(console, query)) == [f"c-{n:03}" for n in wanted]


def test_a_page_looks_thirty_days_back_and_leads_further(console: Console) -> None:
    old = (NOW - timedelta(days=45)).replace(tzinfo=None)
    console.store._connection.execute("UPDATE interactions SET time = $old WHERE id = 'c-000'", {"old": old})
    html = console.page("/requests?user=user-0&model=reviews&least_ms=0&version=0&outcome=answered&key=key-0")
    assert "c-000" not in html and "c-020" in html
    link = re.search(r'href="([^"]+)">Look further back', html)
    assert link and "user=user-0" in link[1] and "c-000" in console.page(unescape(link[1]))


@pytest.mark.parametrize(
    "query", ["version=x", "version=-1", "least_ms=nan", "outcome=odd", "before=x", "version=1e99"]
)
def test_a_filter_that_cannot_be_is_named(console: Console, query: str) -> None:
    answer = console.client.get(f"/requests?{query}")
    assert answer.status_code == 422 and query.partition("=")[0] in answer.text


def test_what_is_asked_for_is_escaped(console: Console) -> None:
    for field in ("model", "user", "key", "outcome", "version"):
        assert EVIL not in console.client.get(f"/requests?{field}={EVIL}").text


def test_the_overview_leads_to_the_failed_and_to_the_slow_requests(console: Console) -> None:
    html = console.page("/overview")
    assert 'href="/requests?model=movies&amp;outcome=failed"' in html
    slow = re.search(r'href="(/requests\?model=movies&amp;least_ms=\d+)"', html)
    assert slow and listed(console, unescape(slow[1]).partition("?")[2])
