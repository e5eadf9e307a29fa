"""The reference pages that are written by a tool say what the code says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_SPEC = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
make_reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_reference)


@pytest.mark.parametrize("name", make_reference.PAGES)
def test_a_reference_page_is_what_the_tool_writes(name):
    """After a change of keys or commands: python tools/make_reference.py."""
    page = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert page == make_reference.PAGES[name](), "run `python tools/make_reference.py`"
