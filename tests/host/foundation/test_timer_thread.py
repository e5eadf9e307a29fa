"""Things that are done at a time: in order, on one thread, and none for another's fault."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomnode.host.foundation.timer_thread import TimerThread


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_due_is_done_in_order() -> None:
    """By time, and what is due at the same time in the order in which it was asked for."""
    clock, done = Clock(), []
    work = TimerThread("test", clock)
    for delay, name in ((2, "c"), (1, "a"), (1, "b"), (9, "d")):
        work.at(delay, lambda name=name: done.append(name))  # type: ignore[misc]  # binds it now
    assert work.run_due() == 1
    assert done == []
    clock.now += 2
    assert work.run_due() == 7
    assert done == ["a", "b", "c"]
    clock.now += 7
    assert work.run_due() is None
    assert done == ["a", "b", "c", "d"]


def test_what_is_done_may_ask_for_more() -> None:
    """Something that is due at once is done in the same run, something later is waited for."""
    clock, done = Clock(), []
    work = TimerThread("test", clock)

    def first() -> None:
        done.append("first")
        work.at(0, lambda: done.append("second"))
        work.at(5, first)

    work.at(0, first)
    assert work.run_due() == 5
    assert done == ["first", "second"]


def test_what_fails_is_logged_and_the_rest_is_done(caplog: pytest.LogCaptureFixture) -> None:
    """One thing's error is nobody else's."""
    done: list[int] = []
    work = TimerThread("test", Clock())
    work.at(0, lambda: 1 // 0)
    work.at(0, lambda: done.append(1))
    assert work.run_due() is None
    assert done == [1]
    assert "something that was due failed" in caplog.text


def test_the_thread_does_what_is_due_and_what_comes_later() -> None:
    """It wakes for what is asked for while it waits, and has its name."""
    work = TimerThread("sorter", lambda: 0.0)
    names: list[str] = []
    done = threading.Event()

    def note() -> None:
        names.append(threading.current_thread().name)
        done.set()

    work.at(1000, lambda: names.append("too early"))
    work.start()
    work.at(0, note)
    assert done.wait(20)
    work.stop()
    assert names == ["sorter"]


class _Watched(threading.Condition):
    """A condition that says when somebody waits for it, and counts how often that one was woken."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for, self.notified = threading.Event(), 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_for.set()
        return super().wait(timeout)

    def notify_all(self) -> None:
        self.notified += 1
        super().notify_all()


def test_what_has_patience_is_done_together() -> None:
    """The thread is woken for the first of many, and for what cannot wait; all are done in order."""
    work, watched = TimerThread("test"), _Watched()
    work._changed = watched  # before anybody waits for it
    done, all_done = list[int](), threading.Event()
    work.start()
    assert watched.waited_for.wait(20)
    for number in range(100):
        work.at(0, lambda number=number: done.append(number), patience=3600)  # type: ignore[misc]  # binds it now
    assert (watched.notified, done) == (1, [])
    work.at(0, all_done.set)
    assert all_done.wait(20)
    assert (watched.notified, done) == (2, list(range(100)))
    work.stop()


def test_patience_ends() -> None:
    """What has patience is done when that is over, though nothing else comes."""
    work, done = TimerThread("test"), threading.Event()
    work.start()
    work.at(0, done.set, patience=0.01)
    assert done.wait(20)
    work.stop()


def test_stopping_does_what_is_due_already() -> None:
    """And leaves what is not; stopping one that was never started is no error."""
    done: list[str] = []
    work = TimerThread("test", lambda: 0.0)
    work.at(0, lambda: done.append("due"))
    work.at(1, lambda: done.append("not due"))
    work.start()
    work.stop()
    assert done == ["due"]
    TimerThread("never").stop()


def test_what_is_called_for_while_the_thread_ends_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by somebody who saw it alive, and asked when it had looked for the last time at what is due."""
    work = TimerThread("test")
    work.start()
    work.stop()
    monkeypatch.setattr(work._thread, "is_alive", lambda: True)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work.call, lambda: "done").result(20) == "done"
