"""Notifiers: what stands between parts that need each other."""

from __future__ import annotations

import pytest

from dicomnode.host.foundation.notifier import Notifier


def test_every_subscriber_is_called_in_order() -> None:
    """With what was notified; who subscribes later learns of what comes later."""
    notifier, heard = Notifier[int](), list[str]()
    notifier.notify(0)
    notifier.subscribe(lambda number: heard.append(f"first {number}"))
    notifier.notify(1)
    notifier.subscribe(lambda number: heard.append(f"second {number}"))
    notifier.notify(2)
    assert heard == ["first 1", "first 2", "second 2"]


def test_what_a_subscriber_raises_reaches_the_one_that_notifies() -> None:
    """It is not swallowed."""
    notifier = Notifier[()]()
    notifier.subscribe(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        notifier.notify()


def test_a_subscriber_may_subscribe_another() -> None:
    """That one is called from the next time on."""
    notifier, heard = Notifier[()](), list[str]()
    notifier.subscribe(lambda: notifier.subscribe(lambda: heard.append("new")))
    notifier.notify()
    assert not heard
    notifier.notify()
    assert heard == ["new"]
