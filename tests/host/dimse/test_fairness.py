"""Connections that are busy at once take turns, and none is kept by another."""

from __future__ import annotations

import threading
import time

from dicomnode.host.dimse.fairness import PATIENCE, FairnessSlot


def test_one_at_a_time() -> None:
    """Who has the turn keeps it until it is given, taking it twice takes it once."""
    turns = threading.Lock()
    first, second = FairnessSlot(turns), FairnessSlot(turns)
    first.take()
    first.take()
    assert turns.locked()
    second.release()  # not its own
    assert turns.locked()
    first.release()
    first.release()
    assert not turns.locked()
    second.take()
    assert turns.locked()


def test_nobody_is_kept() -> None:
    """A connection that does not give its turn costs another one a moment, and keeps it nevertheless."""
    turns = threading.Lock()
    stuck, other = FairnessSlot(turns), FairnessSlot(turns)
    stuck.take()
    begin = time.monotonic()
    other.take()
    assert PATIENCE * 0.5 < time.monotonic() - begin < PATIENCE + 1
    other.release()
    assert turns.locked()


def test_without_turns() -> None:
    """Where nothing is shared, everybody goes on at once."""
    fairness = FairnessSlot()
    fairness.take()
    fairness.release()
