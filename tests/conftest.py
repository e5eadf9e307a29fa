"""What holds for all tests: their order, and how much time hypothesis may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_LONGEST = ("faults", "peers", "cli", "host", "testing", "docs")
"""Folders by the time that one of their files takes; a process takes a file at a time."""


# A test must not fail because the machine does something else: by default hypothesis fails an example of more
# than 200 ms, and a test whose examples are made slowly.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


# A host waits for senders that open several associations; a test that is not about that does not. Also hosts
# in processes of their own take it from the environment.
os.environ.setdefault("DICOMNODE_HOST__SETTLE", "0")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order of the files: pytest-xdist would begin with those that have the most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders that take long first; within a folder nothing changes."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        inside = item.path.is_relative_to(here)
        return rank.get(item.path.relative_to(here).parts[0] if inside else "", len(rank))

    items.sort(key=place)
