"""Points in time, as the broker writes them (RFC 3339). Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from ._errors import ConfigurationError

Until = datetime | timedelta | str
"""When something ends: an aware `datetime`, a `timedelta` from now, or RFC 3339 such as `2027-01-31T12:00:00Z`."""

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)")


def parse(text: str) -> datetime:
    """Python 3.10's `fromisoformat` takes neither `Z` nor nanoseconds; what is finer than microseconds is cut off."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"{text!r} is not a time with an offset, such as 2027-01-31T12:00:00Z")
    day, clock, fraction, offset = match.groups()
    micros = (fraction or "")[:6].ljust(6, "0")
    zone = "+00:00" if offset in "Zz" else offset
    try:
        return datetime.fromisoformat(f"{day}T{clock}.{micros}{zone}")
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no point in time: {error}") from None


def until(end: Until, now: datetime | None = None) -> str:
    """RFC 3339 in UTC, in whole seconds or finer. Refuses a naive `datetime`: it could be anybody's noon."""
    if isinstance(end, timedelta):
        if end <= timedelta(0):
            raise ConfigurationError("`until` is a time from now on: the timedelta is not positive")
        end = (now or datetime.now(timezone.utc)) + end
    elif isinstance(end, str):
        end = parse(end)
    if end.tzinfo is None or end.utcoffset() is None:
        raise ConfigurationError("`until` needs a time zone: use datetime(…, tzinfo=timezone.utc), or a timedelta")
    return end.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
