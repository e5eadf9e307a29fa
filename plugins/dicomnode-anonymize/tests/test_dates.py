"""Dates move by whole days."""

from __future__ import annotations

import datetime as dt

import pytest
from dicomnode_anonymize.dates import shifted
from hypothesis import given
from hypothesis import strategies as st

DAYS = st.integers(-3650, -1)
DATES = st.dates(dt.date(1850, 1, 1), dt.date(2100, 1, 1))


@given(DATES, DATES, DAYS)
def test_intervals_stay(one: dt.date, other: dt.date, days: int) -> None:
    """The time between two dates of a patient is the same before and after, across leap years too."""
    moved = [shifted(date.strftime("%Y%m%d"), days) for date in (one, other)]
    first, second = (dt.datetime.strptime(str(text), "%Y%m%d").date() for text in moved)
    assert first - second == one - other
    assert first == one + dt.timedelta(days=days)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20240301", "20240229"),
        ("20240301 ", "20240229"),
        ("1993.08.22", "19930821"),
        ("20240301123456.789+0100", "20240229123456.789+0100"),
        ("2024030112", "2024022912"),
        ("202403", "202402"),
        ("2024", "2023"),
        ("2024+0100", "2023+0100"),
    ],
)
def test_every_form_of_date_and_date_time(value: str, expected: str) -> None:
    """Time of day, fraction, zone and precision stay as they are."""
    assert shifted(value, -1) == expected


@pytest.mark.parametrize(
    "value", ["", "yesterday", "20241301", "20240230", "2024030", "0999", "99", "10000101"]
)
def test_what_is_no_date(value: str) -> None:
    """Text that is no date, or would lie before the year 1000, has no shifted form."""
    assert shifted(value, -1) is None
