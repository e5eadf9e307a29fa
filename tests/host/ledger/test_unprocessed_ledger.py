"""Images that no job gets, in the ledger: counted by series and reason, held or not, kept and forgotten."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_schema import MIGRATIONS
from dicomnode.host.ledger.ledger_writes import add_instance
from dicomnode.host.ledger.unprocessed_ledger import (
    HeldContainer,
    NoteUnprocessed,
    Outcome,
    discard_images,
    forget_unprocessed_before,
    hold_container,
    no_longer_held,
    unprocessed_counts,
    unprocessed_series,
)

REFUSED, DISCARDED, HELD = Outcome
_BEFORE = 8
"""The schema that did not count them."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Yield an empty ledger."""
    with Ledger(tmp_path / "ledger.sqlite", durable=False) as made:
        yield made


def note(ledger: Ledger, series: str, outcome: Outcome, reason: str, images: int = 1) -> None:
    """Count images, as they come."""
    for _ in range(images):
        ledger.post(NoteUnprocessed("ct", series, outcome, reason))
    ledger.flush()


def rows(ledger: Ledger) -> set[tuple[str, str, str, int]]:
    """Return series, outcome, reason and number of images of what is shown."""
    with ledger.snapshot() as connection:
        return {
            (each.SeriesInstanceUID, each.outcome.value, each.reason, each.images)
            for each in unprocessed_series(connection)
        }


def counts(ledger: Ledger) -> dict[Outcome, int]:
    """Return the pipeline's counts."""
    with ledger.snapshot() as connection:
        return unprocessed_counts(connection).get("ct", {})


def test_images_are_counted_by_series_and_reason(ledger: Ledger) -> None:
    """Whether many come together or one after the other; each pipeline has counts of its own."""
    note(ledger, "1.1", DISCARDED, "not CT", 40)
    note(ledger, "1.1", DISCARDED, "not CT", 2)
    note(ledger, "1.1", DISCARDED, "a localizer", 1)
    note(ledger, "1.2", REFUSED, "not CT", 3)
    ledger.post(NoteUnprocessed("pet", "1.1", REFUSED, "not PT"))
    ledger.flush()
    assert counts(ledger) == {REFUSED: 3, DISCARDED: 43, HELD: 0}
    assert rows(ledger) == {
        ("1.1", "discarded", "not CT", 42),
        ("1.1", "discarded", "a localizer", 1),
        ("1.2", "refused", "not CT", 3),
        ("1.1", "refused", "not PT", 1),
    }


def test_reasons_that_quote_each_image_do_not_fill_the_ledger(ledger: Ledger) -> None:
    """Of a series sixteen are kept, and the others are counted together; a text has an end."""
    for number in range(40):
        note(ledger, "1.1", REFUSED, f"slice {number} {'x' * 1000}")
    note(ledger, "1.1", REFUSED, f"slice 0 {'x' * 1000}")
    found = rows(ledger)
    assert len(found) == 17
    assert counts(ledger)[REFUSED] == 41
    assert ("1.1", "refused", "other reasons", 24) in found
    assert {images for _, _, reason, images in found if reason.startswith("slice 0")} == {2}
    assert max(len(reason) for _, _, reason, _ in found) == 300


def test_what_waited_and_is_dropped_counts_as_discarded(ledger: Ledger) -> None:
    """All series of it at once, beside what was discarded before, each with the reason."""
    note(ledger, "1.1", DISCARDED, "given up by alice: a phantom", 1)
    ledger.write(discard_images("ct", {"1.1": 4, "1.2": 2}, "given up by alice: a phantom"))
    ledger.write(discard_images("ct", {"1.2": 3}, "y" * 1000))
    assert counts(ledger) == {REFUSED: 0, DISCARDED: 10, HELD: 0}
    assert rows(ledger) == {
        ("1.1", "discarded", "given up by alice: a phantom", 5),
        ("1.2", "discarded", "given up by alice: a phantom", 2),
        ("1.2", "discarded", "y" * 300, 3),
    }


def hold(ledger: Ledger, key: str, reason: str, **series: int) -> None:
    """Hold a container."""
    named = {name.replace("_", "."): images for name, images in series.items()}
    ledger.write(hold_container(HeldContainer("ct", key, named, reason)))


def test_what_is_held_counts_as_it_is_now(ledger: Ledger) -> None:
    """Not how often it was looked at: another reason or number takes the place of the one before."""
    hold(ledger, "P1", "it is a part of job 3: 1 of its 8 images", s1_1=1)
    hold(ledger, "P1", "it is a part of job 3: 4 of its 8 images", s1_1=4, s1_2=2)
    hold(ledger, "P2", "an association was aborted", s1_1=7)
    assert counts(ledger) == {REFUSED: 0, DISCARDED: 0, HELD: 13}
    ledger.write(no_longer_held("ct", "P1"))
    assert rows(ledger) == {("s1.1", "held", "an association was aborted", 7)}
    ledger.write(no_longer_held("pet", "P2"))
    assert counts(ledger)[HELD] == 7


def test_what_is_counted_survives_the_ledger_being_closed(tmp_path: Path) -> None:
    """As at a restart of the host."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, durable=False) as ledger:
        note(ledger, "1.1", DISCARDED, "not CT", 5)
        hold(ledger, "P1", "why", s1_2=2)
    with Ledger(path, durable=False) as ledger:
        note(ledger, "1.1", DISCARDED, "not CT", 5)
        assert counts(ledger) == {REFUSED: 0, DISCARDED: 10, HELD: 2}


def test_old_series_are_forgotten_and_their_number_is_not(ledger: Ledger) -> None:
    """A count does not shrink by itself; what is held stays for as long as it waits."""
    note(ledger, "1.1", DISCARDED, "not CT", 5)
    note(ledger, "1.2", DISCARDED, "not CT", 2)
    note(ledger, "1.3", REFUSED, "not CT", 1)
    hold(ledger, "waits", "why", s1_1=1)
    hold(ledger, "gone", "why", s1_1=2)
    ledger.write(add_instance(waiting("waits")))
    before = counts(ledger)
    ledger.write(forget_unprocessed_before(0.0))
    assert counts(ledger) == before
    for _ in range(2):
        ledger.write(forget_unprocessed_before(1e12))
        assert counts(ledger) == {REFUSED: 1, DISCARDED: 7, HELD: 1}
        assert rows(ledger) == {("s1.1", "held", "why", 1)}
    note(ledger, "1.1", DISCARDED, "not CT", 1)
    assert (counts(ledger)[DISCARDED], len(rows(ledger))) == (8, 2)


def waiting(key: str) -> InstanceRecord:
    """Return an instance that waits in a container."""
    return InstanceRecord("kept/1.dcm", "ct", key, ("images",), "1.1.1", {}, 1000.0, "a")


def test_a_ledger_of_before(tmp_path: Path) -> None:
    """It is brought up to date: nothing was counted in it, and what comes is."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number in range(_BEFORE):
            connection.executescript(MIGRATIONS[number])
        connection.execute(f"PRAGMA user_version = {_BEFORE}")
    with Ledger(path, durable=False) as ledger:
        assert counts(ledger) == {}
        note(ledger, "1.1", REFUSED, "not CT")
        assert counts(ledger)[REFUSED] == 1
