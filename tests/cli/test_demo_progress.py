"""What the demonstration shows while images pass, and when its wait ends."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from dicomnode.cli.demo_progress import DemoProgress
from dicomnode.errors import DicomnodeError
from dicomnode.host.foundation.events import Event, Station

IMAGES = 2
END = Event(Station.DELIVERED, "every destination confirmed; 2 inputs released")


class Shown:
    """A progress on a console that keeps what is printed."""

    def __init__(self) -> None:
        self.text = io.StringIO()
        self.progress = DemoProgress(Console(file=self.text, width=200, highlight=False), IMAGES)

    def listen(self) -> None:
        """Say where everything listens."""
        self.progress.listening(("127.0.0.1", 11112), "SMOOTH", "127.0.0.1:104")

    def counts(self) -> list[str]:
        """End the progress, and return what was reached of each station, in their order."""
        self.progress.__exit__(None, None, None)
        lines = self.text.getvalue().splitlines()
        return [
            next(word for word in line.split() if "/" in word and word[0].isdigit())
            for line in lines
            if any(f" {name}: " in f" {line}" for name in ("receive", "job", "build", "deliver"))
        ][-4:]


@pytest.fixture
def shown() -> Iterator[Shown]:
    """Give a progress that has begun."""
    made = Shown()
    with made.progress:
        yield made


def test_where_everything_listens_is_said_first(shown: Shown) -> None:
    """The host's title and address, and the peer's."""
    shown.listen()
    assert "host SMOOTH listens on 127.0.0.1:11112, PACS on 127.0.0.1:104" in shown.text.getvalue()
    assert shown.counts() == ["0/2", "0/1", "0/1", "0/1"]


def test_a_title_with_brackets_is_shown_as_it_is(shown: Shown) -> None:
    """An AE title is no markup."""
    shown.progress.listening(("127.0.0.1", 11112), "A[/b]", "127.0.0.1:104")
    assert "host A[/b] listens on" in shown.text.getvalue()


def test_each_station_is_counted_as_it_is_reached(shown: Shown) -> None:
    """Images by their answers, the others by the host's events; the delivery ends the wait."""
    shown.listen()
    for _ in range(IMAGES):
        shown.progress.sent(0)
    shown.progress.event(Event(Station.JOB, "runs (attempt 1)"))
    shown.progress.event(Event(Station.BUILT, "2 results"))
    shown.progress.event(END)
    shown.progress.wait_for_the_end(0)
    assert shown.counts() == ["2/2", "1/1", "1/1", "1/1"]


def test_what_the_host_receives_is_not_counted_twice(shown: Shown) -> None:
    """An image is counted by its answer, not by the host's event."""
    shown.listen()
    shown.progress.event(Event(Station.RECEIVED, "an image is in the spool"))
    shown.progress.sent(0)
    assert shown.counts() == ["1/2", "0/1", "0/1", "0/1"]


@pytest.mark.parametrize(
    "event",
    [
        Event(Station.JOB, "queued: every input is complete"),
        Event(Station.DELIVERED, "confirmed by PACS"),
        Event(Station.WAITING, "a patient waits"),
        Event(Station.HOST, "every destination is known"),
        Event(Station.HOST, "a warning", level=logging.WARNING),
    ],
    ids=lambda event: event.message,
)
def test_what_is_not_the_end_of_a_station_changes_nothing(shown: Shown, event: Event) -> None:
    """No station is reached by it, and the wait goes on."""
    shown.listen()
    shown.progress.event(event)
    with pytest.raises(DicomnodeError, match="was not delivered within 0 s"):
        shown.progress.wait_for_the_end(0)
    assert shown.counts() == ["0/2", "0/1", "0/1", "0/1"]


def test_a_wait_without_a_result_is_told(shown: Shown) -> None:
    """With how long it was."""
    with pytest.raises(DicomnodeError) as ended:
        shown.progress.wait_for_the_end(0.001)
    assert str(ended.value) == "the result was not delivered within 0.001 s"


def test_an_answer_that_is_no_success_ends_the_wait(shown: Shown) -> None:
    """With the status as DICOM writes it; the image is not counted."""
    shown.listen()
    shown.progress.sent(0xA700)
    with pytest.raises(DicomnodeError) as ended:
        shown.progress.wait_for_the_end(0)
    assert str(ended.value) == "the host answered 0xa700"
    assert shown.counts()[0] == "0/2"


@pytest.mark.parametrize(
    ("detail", "told"),
    [("raised: no model", "failed after 1 attempt raised: no model"), ("", "failed after 1 attempt")],
)
def test_an_error_of_the_host_ends_the_wait(shown: Shown, detail: str, told: str) -> None:
    """With its message, and the detail where there is one."""
    shown.listen()
    shown.progress.event(Event(Station.JOB, "failed after 1 attempt", detail=detail, level=logging.ERROR))
    with pytest.raises(DicomnodeError) as ended:
        shown.progress.wait_for_the_end(0)
    assert str(ended.value) == told


def test_all_that_goes_wrong_is_told_even_after_the_delivery(shown: Shown) -> None:
    """Several troubles are one message; a delivery does not hide them."""
    shown.listen()
    shown.progress.sent(0x0110)
    shown.progress.event(Event(Station.HOST, "the disk is full", level=logging.ERROR))
    shown.progress.event(END)
    with pytest.raises(DicomnodeError) as ended:
        shown.progress.wait_for_the_end(0)
    assert str(ended.value) == "the host answered 0x0110; the disk is full"


def test_events_before_the_host_listens_are_no_error(shown: Shown) -> None:
    """A host tells of its start; no station is shown yet. An error counts all the same."""
    shown.progress.event(Event(Station.JOB, "runs (attempt 1)"))
    shown.progress.event(Event(Station.HOST, "no room", level=logging.ERROR))
    with pytest.raises(DicomnodeError, match=r"^no room$"):
        shown.progress.wait_for_the_end(0)
