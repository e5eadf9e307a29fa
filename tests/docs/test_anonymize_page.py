"""The Python of the page on anonymisation, which needs a table to read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dicomnode import IdentityMapping

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "anonymize.md"
KEY = b"0123456789abcdef0123456789abcdef"


def test_the_table_is_read_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's pseudonyms are those of a table; looking them up gives who it is."""
    table = IdentityMapping(KEY, remember=True)
    table.patient_id("4711")
    table.uid("1.2.3")
    table.save(tmp_path / "table.json")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    space: dict[str, object] = {}
    *before, patient, uid = block.strip().splitlines()
    exec("\n".join(before), space)
    assert eval(patient, space) == "4711"
    assert eval(uid, space) == "1.2.3"
