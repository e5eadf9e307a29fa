"""The Python on the pages runs: the blocks of a page one after the other, as one module."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
ELSEWHERE = {"how-to", "hooks"}
"""Folders whose pages have tests of their own, since they need a plugin or a host around them."""
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if "```python\n" in page.read_text() and not ELSEWHERE & set(page.relative_to(DOCS).parts)
)


def test_there_are_pages() -> None:
    """The pages are found."""
    assert {"from-array-to-series", "factories", "elements"} <= {page.stem for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_python_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each block runs after those before it, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page.name}, block {number}", "exec"), vars(module))
