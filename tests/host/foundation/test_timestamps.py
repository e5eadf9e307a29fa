"""Times as text."""

from __future__ import annotations

from datetime import datetime

from dicomnode.host.foundation.timestamps import iso_timestamp


def test_a_time_is_iso_8601_with_its_zone() -> None:
    """To the second, and the same moment when it is read again."""
    text = iso_timestamp(1_700_000_000.9)
    assert text is not None
    read = datetime.fromisoformat(text)
    assert read.tzinfo is not None
    assert read.timestamp() == 1_700_000_000
    assert "." not in text


def test_no_time_is_none() -> None:
    """Zero is what the ledger has where nothing happened."""
    assert iso_timestamp(0) is None
