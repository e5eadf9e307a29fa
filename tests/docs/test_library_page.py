"""The page that lists the library."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dicomnode

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "library.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]


def _public() -> set[str]:
    """Return what the public face takes from floor 1."""
    found = set()
    for name in dicomnode.__all__:
        held = getattr(dicomnode, name)
        module = held.__name__ if name == "blueprints" else getattr(held, "__module__", "")
        if module.startswith("dicomnode.dicom"):
            found.add(name)
    return found


def test_the_page_lists_every_public_name_of_the_library_and_no_other() -> None:
    """A new class needs a row, and a row a class."""
    listed = {name for row in ROWS for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == _public()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("`")[1])
def test_a_row_leads_to_a_page_that_names_its_classes(row: str) -> None:
    """The page mentions each name of the row, and has the heading that the link asks for."""
    page, _, heading = re.findall(r"\]\(([^)]+)\)", row)[-1].partition("#")
    text = (PAGE.parent / page).read_text() if page else PAGE.read_text()
    for name in re.findall(r"`(\w+)`", row.split("|")[1]):
        assert re.search(rf"\b{name}\b", text), name
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    assert not heading or heading in headings
