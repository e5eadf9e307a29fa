"""Connections that are busy at once take turns, and none is kept by another."""

from __future__ import annotations

import threading

from bounded_steps import bounded_steps
from dicomnode.host.dimse.fairness import FairnessSlot


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
    """A connection that does not give its turn keeps it, and another one goes on without."""
    turns = threading.Lock()
    stuck, other = FairnessSlot(turns), FairnessSlot(turns)
    stuck.take()
    going_on = threading.Thread(target=other.take, daemon=True)
    going_on.start()
    going_on.join(30)
    assert not going_on.is_alive()
    other.release()  # it has none
    assert turns.locked()
    stuck.release()
    assert not turns.locked()


def test_without_turns() -> None:
    """Where nothing is shared, taking and releasing are a few steps each, whatever others have taken."""
    slots = [FairnessSlot() for _ in range(3)]
    with bounded_steps(30):
        for slot in slots:
            slot.take()
        for slot in slots:
            slot.release()
