"""Connections that are busy at once run one after the other, and none is stopped by another."""

from __future__ import annotations

import threading

from bounded_steps import bounded_steps
from dicomnode.host.dimse.fairness import FairnessSlot


def test_one_at_a_time() -> None:
    """A slot holds the lock until it releases it; to acquire it twice acquires it once."""
    lock = threading.Lock()
    first, second = FairnessSlot(lock), FairnessSlot(lock)
    first.acquire()
    first.acquire()
    assert lock.locked()
    second.release()  # not its own
    assert lock.locked()
    first.release()
    first.release()
    assert not lock.locked()
    second.acquire()
    assert lock.locked()


def test_no_connection_is_stopped() -> None:
    """A connection that does not release the lock keeps it, and another one goes on without."""
    lock = threading.Lock()
    stuck, other = FairnessSlot(lock), FairnessSlot(lock)
    stuck.acquire()
    going_on = threading.Thread(target=other.acquire, daemon=True)
    going_on.start()
    going_on.join(30)
    assert not going_on.is_alive()
    other.release()  # it has none
    assert lock.locked()
    stuck.release()
    assert not lock.locked()


def test_without_a_lock() -> None:
    """Where no lock is shared, to acquire and to release are a few steps each, whatever others hold."""
    slots = [FairnessSlot() for _ in range(3)]
    with bounded_steps(30):
        for slot in slots:
            slot.acquire()
        for slot in slots:
            slot.release()
