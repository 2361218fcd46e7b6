"""Times that people type: a day, a time, or how long ago."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from core.api_keys import DURATION, read_duration
from core.clock import utc_now

FORMS = "Write a day or time (UTC) such as 2026-03-01 or 2026-03-01T12:00, or how long ago: 10m, 2h, 1d."


def moment(text: str, now: datetime) -> datetime:
    """A time, or a duration before now; UTC where no zone is named. Raises BadParameter."""
    if DURATION.fullmatch(text):
        return now - read_duration(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time. {FORMS}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _as_sent(text: str | None) -> str | None:
    """A time as the API takes it. Raises BadParameter."""
    return moment(text, utc_now()).isoformat() if text else None


Since = Annotated[
    str | None, typer.Option("--since", help="From then on: 2026-03-01 (UTC), or 2d ago.", callback=_as_sent)
]
From = Annotated[
    str | None, typer.Option("--from", help="From then on: 2026-03-01 (UTC), or 2d ago.", callback=_as_sent)
]
Until = Annotated[
    str | None, typer.Option("--until", help="Before then: 2026-03-01 (UTC), or 2d ago.", callback=_as_sent)
]
