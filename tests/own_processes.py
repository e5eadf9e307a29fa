"""The processes that the tests' own process has started."""

from __future__ import annotations

import os
from multiprocessing import resource_tracker

from dicomnode.host.workers.process_tree import children, descendants


def started() -> set[int]:
    """Return all processes below this one, but that of multiprocessing, which stays once it is there."""
    return descendants(os.getpid()) - _tracker()


def started_here() -> set[int]:
    """Return those that this process has started itself."""
    return children(os.getpid()) - _tracker()


def _tracker() -> set[int | None]:
    return {getattr(resource_tracker._resource_tracker, "_pid", None)}
