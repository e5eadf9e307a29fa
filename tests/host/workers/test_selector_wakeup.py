"""Waking a thread that waits in a selector."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Iterator

import pytest

from dicomnode.host.workers.selector_wakeup import SelectorWakeup


@pytest.fixture
def wakeup() -> Iterator[SelectorWakeup]:
    """Make one, and close it."""
    wakeup = SelectorWakeup()
    yield wakeup
    wakeup.close()


def ready(wakeup: SelectorWakeup, within: float = 0.0) -> bool:
    """Say whether a selector that waits for it wakes."""
    with selectors.DefaultSelector() as selector:
        selector.register(wakeup, selectors.EVENT_READ)
        return bool(selector.select(within))


def test_a_selector_wakes_until_it_is_cleared(wakeup: SelectorWakeup) -> None:
    """One notification wakes the selector, from another thread too; after clearing it waits again."""
    assert not ready(wakeup)
    threading.Thread(target=wakeup.notify).start()
    assert ready(wakeup, 60.0)
    wakeup.clear()
    assert not ready(wakeup)
    wakeup.clear()


def test_a_pipe_that_is_full(wakeup: SelectorWakeup) -> None:
    """As many notifications as the pipe holds and more neither block nor raise, and wake the selector."""
    for _ in range(70_000):  # a pipe holds 65,536 bytes
        wakeup.notify()
    assert ready(wakeup)


def test_after_it_was_closed(wakeup: SelectorWakeup) -> None:
    """A notification after the end is written nowhere, also where another file has its descriptors."""
    wakeup.close()
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        wakeup.notify()
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_finalizer_waits_for_nobody(wakeup: SelectorWakeup) -> None:
    """Where another thread notifies at the moment, ``wait=False`` leaves it to that thread."""
    with wakeup._lock:
        wakeup.notify(wait=False)
    assert not ready(wakeup)
    wakeup.notify(wait=False)
    assert ready(wakeup)
