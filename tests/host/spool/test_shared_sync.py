"""Leader and followers: nobody returns before an action that began after his call has ended."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomnode.host.spool.shared_sync import SharedSync


def test_waiting_threads_share_one_run() -> None:
    """Those who call while a run is under way share the next: two runs for many calls."""
    runs: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    def action() -> None:
        runs.append(1)
        entered.set()
        assert go_on.wait(10)

    sync = SharedSync(action)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(sync)
        assert entered.wait(10)
        others = [pool.submit(sync) for _ in range(8)]
        while sync._waiting < 8:
            pass
        go_on.set()
        for future in (first, *others):
            future.result(10)
    assert len(runs) == 2


def test_what_was_done_before_a_call_is_covered() -> None:
    """Under load, every caller's own change is seen by a run that ends before he returns."""
    changes: set[int] = set()
    covered: set[int] = set()

    def action() -> None:
        covered.update(tuple(changes))

    sync = SharedSync(action)

    def work(base: int) -> None:
        for number in range(base, base + 300):
            changes.add(number)
            sync()
            assert number in covered

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, 1000 * n) for n in range(8)]:
            future.result(30)


def test_a_failure_reaches_all_it_served_and_nobody_else() -> None:
    """Leader and followers of a failed run get its error; the next run is a new chance."""
    entered, go_on = threading.Event(), threading.Event()
    outcomes = [None, OSError(errno.EIO, "broken"), None]

    def action() -> None:
        outcome = outcomes.pop(0)
        entered.set()
        assert go_on.wait(10)
        if outcome is not None:
            raise outcome

    sync = SharedSync(action)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(sync)
        assert entered.wait(10)
        others = [pool.submit(sync) for _ in range(4)]
        while sync._waiting < 4:
            pass
        go_on.set()
        first.result(10)
        for future in others:
            with pytest.raises(OSError, match="broken"):
                future.result(10)
    sync()
    assert not outcomes
