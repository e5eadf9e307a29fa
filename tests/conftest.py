"""The order of tests that several processes share: what takes long first, so that they end together."""

from __future__ import annotations

import pytest

_LONGEST = ("faults", "peers", "cli", "host", "testing", "docs")
"""Folders by the time that one of their files takes; a process takes a file at a time."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order of the files: pytest-xdist would begin with those that have the most tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders that take long first; within a folder nothing changes."""
    rank = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.parent.name, len(rank)))
