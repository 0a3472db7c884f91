from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from lakepass import ConfigurationError
from lakepass._time import parse, until

NOON = datetime(2027, 1, 31, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2027-01-31T12:00:00Z", NOON),
        ("2027-01-31t12:00:00z", NOON),
        ("2027-01-31T14:00:00+02:00", NOON),
        ("2027-01-31T12:00:00.123456789Z", NOON.replace(microsecond=123456)),
        ("2027-01-31T12:00:00.5Z", NOON.replace(microsecond=500000)),
    ],
)
def test_times_that_the_broker_writes(text: str, expected: datetime) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "2027-01-31", "2027-01-31T12:00:00", "2027-02-31T12:00:00Z", "tomorrow", "NaT"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse(text)


def test_until_takes_three_kinds() -> None:
    assert until(NOON) == "2027-01-31T12:00:00Z"
    assert until(NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2027-01-31T12:00:00Z"
    assert until("2027-01-31T14:00:00+02:00") == "2027-01-31T12:00:00Z"
    assert until(timedelta(days=1), now=NOON) == "2027-02-01T12:00:00Z"


def test_until_refuses_what_could_mean_anything() -> None:
    for end in (datetime(2027, 1, 31), timedelta(0), timedelta(days=-1), "soon"):  # noqa: DTZ001
        with pytest.raises(ConfigurationError):
            until(end)
