"""When a delivery is tried: monotonic time, whatever the wall clock does."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.foundation.retry_schedule import RetrySchedule


@dataclass
class Clocks:
    """A monotonic clock and a wall clock that are set by hand."""

    monotonic: float = 1000.0
    wall: float = 1_700_000_000.0

    def schedule(self, longest: float = 600.0) -> RetrySchedule:
        return RetrySchedule(longest, lambda: self.monotonic, lambda: self.wall)


def test_a_wait_passes_on_the_monotonic_clock() -> None:
    """What was postponed is due after its wait, though the wall clock jumps a year both ways."""
    clocks = Clocks()
    schedule = clocks.schedule()
    schedule.update([(1, 1, 0, 0.0)])
    assert schedule.due(10) == [1]
    not_before = schedule.postpone(1, 30.0)
    assert not_before == clocks.wall + 30.0
    for jump in (3600, 31_536_000, -63_072_000):
        clocks.wall += jump
        schedule.update([(1, 1, 1, not_before)])
        assert schedule.due(10) == []
        assert schedule.wait() == 30.0
    clocks.monotonic += 30.0
    assert schedule.due(10) == [1]


@given(st.floats(-1e9, 1e9))
def test_nothing_waits_longer_than_the_longest(offset: float) -> None:
    """After a restart under a clock that is wrong, a wait from the ledger is at most the longest one."""
    clocks = Clocks()
    schedule = clocks.schedule()
    schedule.update([(1, 1, 3, clocks.wall + offset)])
    wait = schedule.wait()
    assert wait is not None
    assert 0 <= wait <= 600
    clocks.monotonic += 600.001
    assert schedule.due(1) == [1]


def test_what_somebody_else_changed() -> None:
    """A time that an operator's command wrote into the ledger counts, not the remembered one."""
    schedule = Clocks().schedule()
    schedule.update([(1, 1, 1, schedule.postpone(1, 100.0))])
    assert schedule.due(1) == []
    schedule.update([(1, 1, 1, 0.0)])
    assert schedule.due(1) == [1]


def test_fresh_before_failed_and_both_in_each_round() -> None:
    """What was never tried comes first, in order of jobs; a tenth of each round is for what has failed."""
    schedule = Clocks().schedule()
    failed = [(number, 0, 1, 0.0) for number in range(100)]
    fresh = [(number, 1000 - number, 0, 0.0) for number in range(100, 300)]
    schedule.update([*failed, *fresh])
    due = schedule.due(100)
    assert due[:90] == sorted(range(100, 300), reverse=True)[:90]
    assert due[90:] == list(range(10))
    schedule.update(failed)
    assert schedule.due(50) == list(range(50))


def test_what_is_over_is_forgotten() -> None:
    """Nothing is due that was removed, or that the ledger does not have any more."""
    schedule = Clocks().schedule()
    schedule.update([(1, 1, 0, 0.0), (2, 1, 0, 0.0)])
    schedule.remove(1)
    assert schedule.due(10) == [2]
    schedule.update([])
    assert schedule.wait() is None
    assert len(schedule) == 0
