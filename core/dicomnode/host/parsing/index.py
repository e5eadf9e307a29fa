"""The index of a data set: values of some top-level elements by tag, as plain JSON data."""

from __future__ import annotations

from typing import Final

ALWAYS_WANTED: Final[frozenset[int]] = frozenset(
    {
        0x00080005,  # SpecificCharacterSet: without it no text of the index could be decoded
        0x00080016,  # SOPClassUID
        0x00080018,  # SOPInstanceUID
        0x00100020,  # PatientID
        0x0020000D,  # StudyInstanceUID
        0x0020000E,  # SeriesInstanceUID
    }
)
"""The tags that every index holds, if the data set does, whatever else is asked for."""
