"""Images that are refused or discarded: counted in the ledger at once, told once an association."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.gathering.unprocessed_images import UnprocessedImages
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.unprocessed_ledger import Outcome, unprocessed_counts

REFUSED, DISCARDED = Outcome.REFUSED, Outcome.DISCARDED


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Yield an empty ledger."""
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as made:
        yield made


def image(series: str) -> LazyDataset:
    """Return an image of a series."""
    return LazyDataset("/nowhere.dcm", {0x0020000E: series})


def test_an_association_is_told_of_once(ledger: Ledger) -> None:
    """When it has ended: images and series of each kind, with no word of the reasons."""
    told: list[Event] = []
    events = Events()
    events.listen(told.append)
    unprocessed = UnprocessedImages(ledger, events)
    for number in range(5):
        unprocessed.note("ct", "a", image(f"1.{number % 2}"), DISCARDED, "Doe^John is not wanted")
    unprocessed.note("ct", "a", image("1.9"), REFUSED, "Doe^John is not wanted")
    unprocessed.note("ct", "b", image("1.9"), REFUSED, "Doe^John is not wanted")
    unprocessed.note("pet", "a", image("1.9"), REFUSED, "Doe^John is not wanted")
    assert told == []
    for _ in range(2):  # the second time there is nothing to tell
        unprocessed.association_ended("a", "ct")
    assert told == [
        Event(
            Station.REFUSED,
            "of this association: 1 image of 1 series refused, 5 images of 2 series discarded",
            pipeline="ct",
            association="a",
            level=logging.INFO,
        )
    ]
    unprocessed.association_ended("b", "ct")
    assert told[1].message == "of this association: 1 image of 1 series refused"


def test_what_is_counted_does_not_wait_for_the_end(ledger: Ledger) -> None:
    """A kill of the host loses no count that was committed: the association need not have ended."""
    unprocessed = UnprocessedImages(ledger, Events())
    for _ in range(3):
        unprocessed.note("ct", "a", image("1.1"), DISCARDED, "why")
    ledger.flush()
    with ledger.snapshot() as connection:
        assert unprocessed_counts(connection)["ct"][DISCARDED] == 3
