"""Events: one for the log and every listener."""

from __future__ import annotations

import logging

import pytest

from dicomnode.host.foundation.events import Event, Events, Station

EVENT = Event(Station.JOB, "queued", pipeline="smooth", job="7", association="a,b", detail="of Mr Smith")


def test_an_event_is_logged_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    """The message at its own level, the detail at DEBUG only; both with all fields of the event."""
    with caplog.at_level(logging.DEBUG, "dicomnode.host"):
        Events().tell(EVENT)
        Events().tell(Event(Station.HOST, "full", level=logging.ERROR))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.INFO, "job: queued"),
        (logging.DEBUG, "job: of Mr Smith"),
        (logging.ERROR, "host: full"),
    ]
    for record in caplog.records[:2]:
        fields = record.__dict__
        assert (fields["station"], fields["pipeline"], fields["job"]) == ("job", "smooth", "7")
        assert fields["association"] == "a,b"


def test_details_are_not_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    """What may hold patient data stays out."""
    with caplog.at_level(logging.INFO, "dicomnode.host"):
        Events().tell(EVENT)
    assert caplog.messages == ["job: queued"]


def test_every_listener_gets_every_event() -> None:
    """In the order in which they came, from the moment on at which they did."""
    events, heard = Events(), []
    events.tell(EVENT)
    events.listen(lambda event: heard.append(("first", event)))
    events.tell(EVENT)
    events.listen(lambda event: heard.append(("second", event)))
    events.tell(EVENT)
    assert heard == [("first", EVENT), ("first", EVENT), ("second", EVENT)]


def test_a_listener_may_add_another() -> None:
    """While it is called nothing is held: the new one hears the next event."""
    events, heard = Events(), []
    events.listen(lambda event: events.listen(heard.append))
    events.tell(EVENT)
    assert heard == []
    events.tell(EVENT)
    assert heard == [EVENT]


def test_whether_anybody_would_learn_of_an_event() -> None:
    """A listener wants everything; without one the log's level decides."""
    events, log = Events(), logging.getLogger("dicomnode.host")
    before = log.level
    try:
        log.setLevel(logging.WARNING)
        assert not events.wanted(logging.INFO)
        assert events.wanted(logging.WARNING)
        events.listen(lambda event: None)
        assert events.wanted(logging.DEBUG)
    finally:
        log.setLevel(before)
