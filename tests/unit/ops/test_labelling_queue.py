"""Facts about the random part of the labelling queue: what it draws, and how labels and pages show it."""

import re
from datetime import timedelta
from typing import Any

import pytest

from core.api_key_store import NewKey
from core.api_keys import Scope
from core.records import Feedback, Interaction
from feedback.ingest import add
from ops.console import labelling
from tests.support import ingest
from tests.support.console_security import KeyedConsole


def asked(
    console: KeyedConsole, identity: str, content: str = "a question", answer: str | None = "good", **more: Any
) -> Interaction:
    request = {"messages": [{"role": "user", "content": content}]}
    given = {
        "time": console.clock(),
        "model": "reviews",
        "user": f"user-{identity}",
        "request": request,
        "answer": answer,
    }
    return ingest.asked(identity, **given | more)


def vote(console: KeyedConsole, number: int, about: str, kind: str, value: Any) -> Feedback:
    return Feedback(f"f{number}", console.clock(), about, None, kind, value, None, f"voter-{number}")


def in_doubt(console: KeyedConsole) -> str:
    return labelling.queue(console.control, "reviews", 0)["doubt"]["interaction_id"]


def drawn(console: KeyedConsole) -> list[str]:
    found = []
    while True:
        view = labelling.queue(console.control, "reviews", len(found), "random", labelling.MOST_SKIPPED)
        if view["doubt"] is None:
            return found
        found.append(view["doubt"]["interaction_id"])


def test_the_random_part_draws_from_all_answers_that_are_a_label(console: KeyedConsole) -> None:
    usual = [asked(console, f"i{n}", f"text {n}", "Good" if n % 2 else " bad\n") for n in range(40)]
    others = [
        asked(console, "strange", "another", "dunno"),
        asked(console, "failed", answer="good", status=502),
        asked(console, "pinned", answer="good", arm="pinned"),
        asked(console, "not-kept", answer=None),
    ]
    # What users said of an answer neither brings it here nor keeps it away.
    add(
        console.control.store,
        [*usual, *others, vote(console, 1, "i3", "thumbs", False), vote(console, 2, "i4", "label", "bad")],
    )
    order = drawn(console)
    assert sorted(order) == sorted(one.id for one in usual) and order != sorted(order)
    assert drawn(console) == order


@pytest.mark.parametrize("status", [200, 400])
def test_as_many_of_the_newest_answers_are_drawn_from_however_many_requests_of_the_last_days_were_refused(
    console: KeyedConsole, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(labelling, "WINDOW", 3)
    now = console.clock()

    def at(identity: str, hours: int, status: int = 200) -> Interaction:
        return asked(console, identity, identity, time=now - timedelta(hours=hours), status=status)

    older = [at(f"old{n}", 90 + n) for n in range(3)]
    refused = [at(f"refused{n}", 50 + n, 400) for n in range(9)]
    add(console.control.store, [*older, *refused, at("new0", 48), at("new1", 47), at("new2", 46, status)])
    assert set(drawn(console)) == ({"new0", "new1", "new2"} if status == 200 else {"old0", "new0", "new1"})


def test_the_parts_of_the_queue_take_turns_and_drawn_labels_say_so(console: KeyedConsole) -> None:
    add(console.control.store, [asked(console, f"i{n}", f"text {n}") for n in range(5)])
    add(console.control.store, [vote(console, n, f"i{n}", "thumbs", False) for n in range(2)])
    console.log_in("actor")
    (first, *_), doubtful = drawn(console), in_doubt(console)
    answer = console.form("/feedback/queue?model=reviews&skip=0", label="bad")
    assert answer.headers["location"].startswith("/feedback/queue?model=reviews&skip=0&part=random&other=0&last=fb-")
    page = console.browser.get(answer.headers["location"]).text
    assert "drawn at random" in page and f'value="{first}"' in page
    answer = console.form(answer.headers["location"], label="good")
    assert answer.headers["location"].startswith("/feedback/queue?model=reviews&skip=0&part=doubt&other=0&last=fb-")
    given = console.browser.get(f"/feedback/{first}.json").json()["votes"][-1]
    assert given["metadata"]["drawn"] == "random" and given["origin"] == "drawn"
    assert first not in drawn(console) and len(drawn(console)) == 4
    # What a reviewer chose from the doubtful ones stays in the draw, or wrong answers would be too few in it.
    assert doubtful == first or doubtful in drawn(console)
    reviewed = console.browser.get(f"/feedback/{doubtful}").text
    assert "chosen by a reviewer" in reviewed


def test_what_is_skipped_in_one_part_is_not_skipped_in_the_other(console: KeyedConsole) -> None:
    add(console.control.store, [asked(console, f"i{n}", f"text {n}") for n in range(5)])
    add(console.control.store, [vote(console, n, f"i{n}", "thumbs", False) for n in range(2)])
    console.log_in("actor")
    page = console.browser.get("/feedback/queue?model=reviews&skip=1&part=random&other=0").text
    assert "skip=0&amp;part=doubt&amp;other=2" in page
    # Two are in doubt: with both skipped, the random part goes on.
    view = labelling.queue(console.control, "reviews", 2, "doubt", 3)
    assert (view["part"], view["skip"], view["other"]) == ("random", 3, 2)


def test_an_answer_that_was_drawn_says_so_on_its_page(console: KeyedConsole) -> None:
    add(
        console.control.store,
        [asked(console, "i1", asked=True), asked(console, "i2"), vote(console, 1, "i1", "label", "bad")],
    )
    console.log_in("reader")
    page = console.browser.get("/feedback/i1").text
    assert "the app asks its user" in page and "asked at random" in page
    assert "the app asks its user" not in console.browser.get("/feedback/i2").text


def test_a_label_can_be_undone_by_its_reviewer_once_and_the_answer_comes_back(console: KeyedConsole) -> None:
    records = [asked(console, f"i{n}", f"text {n}", "dunno") for n in range(3)]
    add(console.control.store, records)
    console.log_in("actor")
    first = in_doubt(console)
    given = console.form("/feedback/queue?model=reviews", label="bad")
    page = console.browser.get(given.headers["location"])
    assert "You gave <strong>bad</strong>" in page.text and in_doubt(console) != first
    query = page.url.query.decode()
    last = re.search(r'name="last" value="([^"]+)"', page.text)
    assert last
    undo = f"/feedback/queue/undo?{query.partition('&last=')[0]}"
    token = re.search(r'name="token" value="(\w+)"', page.text)
    fields = {"token": token and token[1], "last": last[1]}
    other = console.browser.post(undo, data=fields | {"last": "fb-of-somebody-else"})
    assert other.status_code == 404
    done = console.browser.post(undo, data=fields)
    assert done.status_code == 303
    again = console.browser.get(done.headers["location"]).text
    assert in_doubt(console) == first and f'name="interaction_id" value="{first}"' in again
    votes = console.browser.get(f"/feedback/{first}.json").json()["votes"]
    assert [vote["revoked_at"] is not None for vote in votes] == [True]
    assert console.browser.post(undo, data=fields).status_code == 404  # there is nothing left to undo
    assert "You gave" not in console.browser.get(page.url.path + "?" + query).text


def test_nobody_undoes_the_label_of_another_reviewer_or_the_vote_of_a_user(console: KeyedConsole) -> None:
    add(console.control.store, [asked(console, "i1"), vote(console, 1, "i1", "thumbs", False)])
    console.log_in("actor")
    given = console.form("/feedback/queue?model=reviews", label="bad").headers["location"]
    last = given.partition("last=")[2]
    console.made["second"] = console.control.keyring.make(NewKey("second", (Scope.OPS_READ, Scope.OPS_WRITE)), "test")
    console.log_in("second")
    assert "You gave" not in console.browser.get(given).text
    for identity in (last, "f1"):
        page = console.browser.get("/feedback/queue?model=reviews").text
        token = re.search(r'name="token" value="(\w+)"', page)
        fields = {"token": token and token[1], "last": identity}
        assert console.browser.post("/feedback/queue/undo?model=reviews", data=fields).status_code == 404
    assert all(row["revoked_at"] is None for row in console.browser.get("/feedback/i1.json").json()["votes"])
