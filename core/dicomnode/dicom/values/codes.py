"""Coded entries (PS3.3 section 8)."""

from __future__ import annotations

from pydicom.dataset import Dataset

Code = tuple[str, str, str]
"""Code value, coding scheme designator, code meaning: ``("113085", "DCM", "Spatial resampling")``."""


def code_item(code: Code) -> Dataset:
    """Return a code as a sequence item (PS3.3 table 8.8-1).

    Parameters
    ----------
    code : (str, str, str)
        Value, scheme designator, meaning.
    """
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item
