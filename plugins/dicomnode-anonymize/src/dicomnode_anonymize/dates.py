"""Moving dates by whole days (PS3.15 section E.3.6): intervals and times of day stay as they are."""

from __future__ import annotations

import datetime as dt
import re

_DATE = re.compile(r"(\d{4})(?:(\d{2})(?:(\d{2}))?)?(.*)", re.DOTALL)
_OLD_FORM = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")
_OLDEST = dt.date(1000, 1, 1)


def shifted(value: str, days: int) -> str | None:
    """Return a DA or DT value, moved.

    Parameters
    ----------
    value : str
        The value (PS3.5 section 6.2); a DT may end after the year or the month, and keeps that precision.
        The old form ``1993.08.22`` becomes the present one.
    days : int
        By how many days, negative into the past.

    Returns
    -------
    str or None
        ``None`` when it is no date, or the result would lie before the year 1000.
    """
    text = value.strip(" \0")
    if old := _OLD_FORM.fullmatch(text):
        text = "".join(old.groups())
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, rest = match.groups()
    if day is None and rest and rest[0].isdigit():
        return None
    try:
        moved = dt.date(int(year), int(month or 1), int(day or 1)) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    if moved < _OLDEST:
        return None
    precision = {(True, True): "%Y%m%d", (True, False): "%Y%m", (False, False): "%Y"}[bool(month), bool(day)]
    return moved.strftime(precision) + rest
