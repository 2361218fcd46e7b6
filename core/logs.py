"""The log: one line per event on stderr, as text or as JSON.

Text from outside cannot forge a line, and keys are masked. Pass fields next to the message with
`extra=fields(request_id=…)`.
"""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

from core.settings import LogSettings

# A key, whose id stays visible, and any other bearer token.
SECRETS = re.compile(r"(llk_[0-9a-zA-Z]{1,32}_)[\w.~+/=-]+|([Bb]earer\s+)(?!llk_)[\w.~+/=-]{8,}")
# Characters that end a line or control a terminal.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LONGEST_MESSAGE = 8192
# Loggers of libraries that write too much at the configured level.
QUIETER = {
    "httpx": logging.WARNING,
    # It warns of each job that was skipped because the one before still runs, which is intended.
    "apscheduler": logging.ERROR,
}


def fields(**values: Any) -> dict[str, Any]:
    """Return fields of a line in addition to its message, for `extra`."""
    return {"fields": values}


def redacted(text: str) -> str:
    """A text with every key in it made useless."""
    return SECRETS.sub(r"\1\2…", text)


class Lines(logging.Formatter):
    """Text: time, level, logger, message, then fields; a traceback's lines are indented and so never look like one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        said = getattr(record, "fields", {})
        message = " ".join([_message(record), *(f"{name}={value}" for name, value in said.items())])
        line = f"{_time(record)} {record.levelname} {record.name} {_safe(message)}"
        return "\n    ".join([line, *(_safe(each) for each in _trace(self, record).splitlines())])


class JsonLines(logging.Formatter):
    """Format records as JSON, one object per line, for any text in a message."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(_message(record)),
            **_redacted_fields(record),
        }
        if trace := _trace(self, record):
            line["exception"] = redacted(trace)
        # Within strings alone, where JSON leaves some of them as they are.
        return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(line, default=str).decode())


class Handler(logging.StreamHandler):
    """Where our lines go."""


def install(settings: LogSettings, stream: Any = None) -> None:
    """Make the process log to stderr as the settings say. Earlier handlers are replaced."""
    logging.getLogger().handlers[:] = [Handler(stream or sys.stderr)]
    change(settings)


def add_fields(**values: Any) -> None:
    """Adds fields to every line of this process."""

    def add(record: logging.LogRecord) -> bool:
        record.fields = values | getattr(record, "fields", {})
        return True

    for handler in logging.getLogger().handlers:
        if isinstance(handler, Handler):
            handler.addFilter(add)


def change(settings: LogSettings) -> None:
    """Goes on by other settings."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, Handler):
            handler.setFormatter(JsonLines() if settings.format == "json" else Lines())
    root.setLevel(settings.level.upper())
    for name, level in QUIETER.items():
        logging.getLogger(name).setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    return _writable(record.getMessage()[:LONGEST_MESSAGE])


def _writable(text: str) -> str:
    """A text without halves of characters, which no line of bytes can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if not record.exc_info or not record.exc_info[0]:
        return ""
    return _writable(formatter.formatException(record.exc_info))


def _safe(text: str) -> str:
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], redacted(_writable(text)))


def _redacted_fields(record: logging.LogRecord) -> dict[str, Any]:
    said: dict[str, Any] = getattr(record, "fields", {})
    return {name: redacted(_writable(value)) if isinstance(value, str) else value for name, value in said.items()}
