"""CONTRIBUTING sets up what CI uses, and sends nobody to a file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_set_up_is_that_of_ci() -> None:
    """What a contributor installs is what the steps of ``.ci/run`` install."""
    installed = re.findall(r"pip install -q (.*?) &&", PAGE)
    assert installed == re.findall(r"^  \.venv/bin/pip install -q (.*)$", CI, re.MULTILINE)


def test_what_the_page_names_is_there() -> None:
    """Every file and folder of the repository that the page names exists; of a ``NAME`` its folder does."""
    named = re.findall(r"`((?:core|docs|news|tests|tools)/[\w./-]*)`", PAGE)
    assert len(named) > 20
    paths = [ROOT / name if "NAME" not in name else (ROOT / name).parent for name in named]
    assert not [path for path in paths if not path.exists()]


def test_the_steps_that_the_page_names_are_there() -> None:
    """Every step of ``.ci/run`` that the page calls by name is one."""
    called = re.findall(r"^bash \.ci/run ([a-z -]+?) *(?:#.*)?$", PAGE, re.MULTILINE)
    names = {name for call in called for name in call.split() if not name.startswith("--")}
    assert {"linters", "news"} <= names
    assert names <= set(re.findall(r"^step_([a-z-]+)\(\)", CI, re.MULTILINE))
