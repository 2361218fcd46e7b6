"""Facts about the log: one line per event, no forged line, no key."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import logs
from core.logs import JsonLines, Lines, fields
from core.settings import LogSettings

KEY = "llk_760251df4e_Zm9vYmFyLXNlY3JldA"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, uvicorn = logging.getLogger(), logging.getLogger("httpx").level
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(uvicorn)


def record(message: str, *args: Any, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("a.b", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(more)
    return made


def test_a_line_of_json_has_time_level_logger_message_and_fields(stream: io.StringIO) -> None:
    logs.install(LogSettings(format="json"), stream)
    logging.getLogger("serve.x").info("took %d", 3, extra=fields(request_id="chatcmpl-1", ms=1.5, model="reviews"))
    logging.getLogger("serve.x").debug("not at this level")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "logger": "serve.x",
        "message": "took 3",
        "request_id": "chatcmpl-1",
        "ms": 1.5,
        "model": "reviews",
    }


def test_fields_of_a_process_are_in_each_line(stream: io.StringIO) -> None:
    logs.install(LogSettings(), stream)
    logs.add_fields(worker="g_2")
    logging.getLogger("serve.x").info("one")
    logging.getLogger("serve.x").info("two", extra=fields(ms=1.5))
    assert [line.partition(" serve.x ")[2] for line in stream.getvalue().splitlines()] == [
        "one worker=g_2",
        "two worker=g_2 ms=1.5",
    ]


def test_format_and_level_change_while_the_process_runs(stream: io.StringIO) -> None:
    logs.install(LogSettings(), stream)
    logging.getLogger("serve.x").info("text")
    logs.change(LogSettings(format="json", level="warning"))
    logging.getLogger("serve.x").info("nothing")
    logging.getLogger("serve.x").warning("more")
    text, more = stream.getvalue().splitlines()
    assert text.endswith("serve.x text") and json.loads(more)["message"] == "more"


def test_the_level_is_the_settings(stream: io.StringIO) -> None:
    logs.install(LogSettings(level="error"), stream)
    logging.getLogger("serve.x").warning("no")
    logging.getLogger("serve.x").error("yes")
    assert stream.getvalue().count("\n") == 1


FORGED = "x\n2026-01-01T00:00:00Z INFO ops.api.models promoted\r\x1b[2J\u2028\x85\x00"


@given(st.text() | st.just(FORGED) | st.just("\ud800"))
def test_no_text_ends_a_line_or_reaches_a_terminal(text: str) -> None:
    for formatter in (Lines(), JsonLines()):
        for made in (record("%s", text), record("m", fields={"path": text})):
            line = formatter.format(made)
            assert len(line.splitlines()) == 1 and "\x1b" not in line
            line.encode()
    found = json.loads(JsonLines().format(record("%s", FORGED)))
    assert found["message"] == FORGED and found["logger"] == "a.b"


def test_a_tracebacks_lines_look_like_no_record() -> None:
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        made = record("oh", exc_info=(type(error), error, error.__traceback__))
    first, *others = Lines().format(made).splitlines()
    assert first.endswith("a.b oh") and others and all(line.startswith("    ") for line in others)
    assert "ValueError" in json.loads(JsonLines().format(made))["exception"]


@pytest.mark.parametrize("text", [KEY, f"Bearer {KEY}", "bearer s3cret-of-mine", f"a={KEY};b", f"/x?key={KEY}"])
def test_no_key_is_written(text: str) -> None:
    for formatter in (Lines(), JsonLines()):
        for made in (record("%s", text), record("m", fields={"header": text})):
            line = formatter.format(made)
            assert "Zm9v" not in line and "s3cret" not in line
    assert "llk_760251df4e_" in Lines().format(record(KEY))


def test_the_access_log_has_one_line_per_request_and_no_text_of_it(gateway: Any, stream: io.StringIO) -> None:
    logs.install(LogSettings(format="json"), stream)
    gateway.open(logs={"access": True})
    answer = gateway.post(messages=[{"role": "user", "content": "s3cret"}])
    gateway.events(messages=[{"role": "user", "content": "s3cret"}])
    gateway.post(model="x\ny")
    gateway.http.get("/v1/models?key=s3cret")

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in found if line["logger"] == "serve.gateway.access_log"]

    gateway.until(lambda: len(lines()) == 4)
    whole, streamed, refused, models = lines()
    assert (whole["method"], whole["path"], whole["status"]) == ("POST", "/v1/chat/completions", 200)
    assert (whole["request_id"], whole["model"], whole["version"]) == (answer.json()["id"], "reviews", 7)
    assert whole["ms"] > 0 and streamed["model"] == "reviews" and models["path"] == "/v1/models"
    assert refused["status"] == 404 and refused["request_id"].startswith("req-") and "model" not in refused
    assert "s3cret" not in stream.getvalue() and "heard" not in stream.getvalue()


def test_the_log_of_a_client_that_left_says_so(gateway: Any, stream: io.StringIO) -> None:
    logs.install(LogSettings(format="json"), stream)
    gateway.open(logs={"access": True}).engine.fault = "hang"
    with pytest.raises(Exception, match="timed out"):
        gateway.http.post("/v1/chat/completions", json={"model": "reviews", "messages": []}, timeout=0.3)
    gateway.until(lambda: '"status":499' in stream.getvalue())
