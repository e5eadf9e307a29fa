"""Leader and followers: no call returns before an action that began after it has ended."""

from __future__ import annotations

import errno
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from dicomnode.host.spool.shared_sync import SharedSync


class BrokenError(Exception):
    """A failure of a run."""


def until_waiting(sync: SharedSync, count: int) -> None:
    """Wait until so many threads wait for a run: nothing tells of it."""
    for _ in range(10_000):
        if sync._waiting >= count:
            return
        threading.Event().wait(0.001)
    pytest.fail(f"{count} threads do not wait")


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
        until_waiting(sync, 8)
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


def test_a_failure_reaches_all_it_served_and_no_other() -> None:
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
        until_waiting(sync, 4)
        go_on.set()
        first.result(10)
        for future in others:
            with pytest.raises(OSError, match="broken"):
                future.result(10)
    sync()
    assert not outcomes


def test_only_those_that_a_failed_run_served_get_its_error() -> None:
    """Three runs of which the second fails: its leader and followers learn of it, no other does."""
    outcomes: dict[str, str] = {}
    gates = [(threading.Event(), threading.Event()) for _ in range(3)]
    runs = iter(enumerate(gates))

    def action() -> None:
        number, (entered, go_on) = next(runs)
        entered.set()
        assert go_on.wait(10)
        if number == 1:
            raise OSError(errno.EIO, "broken", "the folder")

    sync = SharedSync(action)

    def call(name: str) -> None:
        try:
            sync()
        except OSError as error:
            outcomes[name] = f"{error.errno} {error.strerror} {error.filename}"
        else:
            outcomes[name] = "fine"

    with ThreadPoolExecutor(5) as pool:
        calls = []
        for number, names in enumerate((["a"], ["b", "c"], ["d", "e"])):
            waiting = sync._waiting
            calls += [pool.submit(call, name) for name in names]
            if number:
                until_waiting(sync, waiting + len(names))
                gates[number - 1][1].set()
            assert gates[number][0].wait(10)
        for each in calls[:3]:  # while the third run is under way, which is not theirs
            each.result(10)
        gates[2][1].set()
        for each in calls:
            each.result(10)
    broken = f"{errno.EIO} broken the folder"
    assert outcomes == {"a": "fine", "b": broken, "c": broken, "d": "fine", "e": "fine"}


def test_another_failure_is_raised_as_what_it_is() -> None:
    """The leader gets the error itself, its followers one that says what it was."""
    entered, go_on = threading.Event(), threading.Event()
    outcomes = [None, LookupError("lost")]

    def action() -> None:
        outcome = outcomes.pop(0)
        entered.set()
        assert go_on.wait(10)
        if outcome is not None:
            raise outcome

    sync = SharedSync(action)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(sync)
        assert entered.wait(10)
        others = [pool.submit(sync) for _ in range(3)]
        until_waiting(sync, 3)
        go_on.set()
        first.result(10)
        errors = [type(other.exception(10)) for other in others]
        texts = [str(other.exception()) for other in others]
    assert sorted(error.__name__ for error in errors) == ["LookupError", "RuntimeError", "RuntimeError"]
    assert sum("the shared sync failed: LookupError('lost')" in text for text in texts) == 2


def test_a_failure_is_forgotten_once_all_have_it() -> None:
    """Nothing of a failed run is kept for calls that come later, nor are its errors and what they hold."""
    errors: list[weakref.ref[BrokenError]] = []
    fails = False

    def action() -> None:
        if fails:
            error = BrokenError("broken")
            errors.append(weakref.ref(error))
            raise error

    sync = SharedSync(action)
    sync()
    fails = True
    for _ in range(2):
        with suppress(BrokenError):
            sync()
    fails = False
    sync()
    gc.collect()
    assert [error() for error in errors] == [None, None]
