"""Connections that are busy at once take turns, and none is kept by another."""

from __future__ import annotations

import threading
import time

from dicomnode.host.receiver.turns import PATIENCE, Turn


def test_one_at_a_time() -> None:
    """Who has the turn keeps it until it is given, taking it twice takes it once."""
    turns = threading.Lock()
    first, second = Turn(turns), Turn(turns)
    first.take()
    first.take()
    assert turns.locked()
    second.give()  # not its own
    assert turns.locked()
    first.give()
    first.give()
    assert not turns.locked()
    second.take()
    assert turns.locked()


def test_nobody_is_kept() -> None:
    """A connection that does not give its turn costs another one a moment, and keeps it nevertheless."""
    turns = threading.Lock()
    stuck, other = Turn(turns), Turn(turns)
    stuck.take()
    begin = time.monotonic()
    other.take()
    assert PATIENCE * 0.5 < time.monotonic() - begin < PATIENCE + 1
    other.give()
    assert turns.locked()


def test_without_turns() -> None:
    """Where nothing is shared, everybody goes on at once."""
    turn = Turn()
    turn.take()
    turn.give()
