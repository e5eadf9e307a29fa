"""Times as text, for reports that people and programs read."""

from __future__ import annotations

from datetime import datetime


def iso_timestamp(seconds: float) -> str | None:
    """Return a time in ISO 8601 with its time zone, or ``None`` for no time.

    Parameters
    ----------
    seconds : float
        Seconds since the epoch; 0 stands for no time.
    """
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds") if seconds else None
