"""The fetching of earlier images in the ledger: begun, moved on, over; each change with its note."""

from __future__ import annotations

import pytest

from dicomnode.host.ledger.history_ledger import (
    HistoryRecord,
    begin_history,
    end_histories,
    open_histories,
    transition_history,
)
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus

FETCHING = HistoryStatus(HistoryState.FETCHING, "PACS", "asked", "P1", frozenset())
FETCHED = HistoryStatus(HistoryState.FETCHED, "PACS", "2 images", "P1", frozenset({"1.2", "1.1"}))


def records(ledger: Ledger) -> list[HistoryRecord]:
    with ledger.snapshot() as connection:
        return open_histories(connection)


def changes(ledger: Ledger, number: int) -> list[tuple[str, str, str]]:
    return [(old, new, reason) for old, new, reason, _at in ledger.transitions("history", number)]


def test_a_fetching_is_entered(ledger: Ledger) -> None:
    """For whom, from whom and where it is; nothing was tried yet."""
    number = ledger.write(begin_history("smooth", "P1", "earlier", FETCHING))
    assert records(ledger) == [HistoryRecord(number, "smooth", "P1", "earlier", FETCHING, 0, 0.0)]
    assert changes(ledger, number) == [("", "fetching", "asked")]


def test_how_far_it_is(ledger: Ledger) -> None:
    """State, reason, what was asked for, attempts and when the next one is; a note only of a new state."""
    number = ledger.write(begin_history("smooth", "P1", "earlier", FETCHING))
    again = HistoryStatus(HistoryState.FETCHING, "PACS", "the peer is down", "P1", frozenset({"1.2"}))
    ledger.write(transition_history(number, again, attempts=1, not_before=50.0))
    assert records(ledger) == [HistoryRecord(number, "smooth", "P1", "earlier", again, 1, 50.0)]
    ledger.write(transition_history(number, FETCHED, attempts=2))
    assert records(ledger) == [HistoryRecord(number, "smooth", "P1", "earlier", FETCHED, 2, 0.0)]
    assert changes(ledger, number) == [("", "fetching", "asked"), ("fetching", "fetched", "2 images")]


def test_what_the_table_does_not_have_is_refused(ledger: Ledger) -> None:
    """What was fetched is not fetched again, and a number that is unknown is said."""
    number = ledger.write(begin_history("smooth", "P1", "earlier", FETCHED))
    with pytest.raises(ValueError, match="may not go from fetched to fetching"):
        ledger.write(transition_history(number, FETCHING, attempts=1))
    with pytest.raises(ValueError, match="the ledger has no history 77"):
        ledger.write(transition_history(77, FETCHED, attempts=1))


def test_a_new_fetching_ends_the_one_before(ledger: Ledger) -> None:
    """For the same input of the same patient; those of others go on, the oldest first."""
    first = ledger.write(begin_history("smooth", "P1", "earlier", FETCHING))
    others = [
        ledger.write(begin_history(*names, FETCHING))
        for names in (("smooth", "P1", "other"), ("smooth", "P2", "earlier"), ("else", "P1", "earlier"))
    ]
    second = ledger.write(begin_history("smooth", "P1", "earlier", FETCHING))
    assert [record.id for record in records(ledger)] == [*others, second]
    assert changes(ledger, first)[-1] == ("fetching", "over", "")


def test_a_patients_fetchings_end_together(ledger: Ledger) -> None:
    """All inputs, or one; what is over is not ended again."""
    numbers = [ledger.write(begin_history("smooth", "P1", name, FETCHING)) for name in ("a", "b", "c")]
    other = ledger.write(begin_history("smooth", "P2", "a", FETCHING))
    ledger.write(end_histories("smooth", "P1", "b"))
    assert [record.id for record in records(ledger)] == [numbers[0], numbers[2], other]
    ledger.write(end_histories("smooth", "P1"))
    ledger.write(end_histories("smooth", "P1"))
    assert [record.id for record in records(ledger)] == [other]
    assert [len(changes(ledger, number)) for number in numbers] == [2, 2, 2]
