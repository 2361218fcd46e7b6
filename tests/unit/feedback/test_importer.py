"""Facts about rows of feedback from files: labels that are numbers, and times from the first year to the last."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.records import Feedback
from feedback.imported_rows import parse_record

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


def row(**fields: Any) -> dict[str, Any]:
    return {"id": "f", "interaction_id": "i", "type": "label", "value": "a"} | fields


def record(**fields: Any) -> Feedback:
    found = parse_record(row(**fields), lambda: NOW)[0]
    assert isinstance(found, Feedback)
    return found


def _found(**fields: Any) -> Feedback | InputError:
    try:
        return record(**fields)
    except InputError as error:
        return error


def test_a_label_that_is_a_whole_number_becomes_text() -> None:
    assert record(value=1).value == "1"


@pytest.mark.parametrize("value", [True, 1.5])
def test_a_label_that_may_be_written_in_two_ways_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="write the label in quotes"):
        record(value=value)


def test_feedback_of_reviewers_is_taken_back_in() -> None:
    assert record(user="reviewer:k1", metadata={"source": "console"}).user == "reviewer:k1"


@settings(deadline=None, max_examples=200)
@given(st.datetimes(), st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda minutes: timezone(timedelta(minutes=minutes))))
def test_any_time_is_kept_in_utc_or_refused_with_its_field(moment: datetime, zone: timezone) -> None:
    given_time = moment.replace(tzinfo=zone)
    found = _found(time=given_time.isoformat())
    if isinstance(found, Feedback):
        assert found.time == given_time and found.time.tzinfo is UTC
    else:
        assert found.field == "time" and found.message.startswith("time: is ")
