"""How many images a series has, asked of a peer by C-FIND."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicomnode.host.configuration.config import PeerTable
from dicomnode.host.configuration.config_values import Address
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.history.series_counts import SeriesCounts

Answer = tuple["int | None", str]


@contextmanager
def pacs(answers: Callable[[Dataset], list[Dataset]]) -> Iterator[tuple[str, int]]:
    """Run a PACS that answers queries, and yield its address."""

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for answer in answers(event.identifier):
            yield 0xFF00, answer
        yield 0x0000, None

    entity = AE(ae_title="PACS")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    try:
        yield server.server_address
    finally:
        server.shutdown()


def asked(address: tuple[str, int], name: str = "PACS") -> Answer:
    """Ask once, and return the answer."""
    table = PeerTable(ae_title="PACS", address=Address(host=address[0], port=address[1]), timeout=10)
    counts, answered = SeriesCounts({"archive": Peer("archive", table, "NODE")}), queue.SimpleQueue[Answer]()
    counts.start()
    try:
        counts.ask(name, "1.2", "1.2.3", lambda count, reason: answered.put((count, reason)))
        return answered.get(timeout=30)
    finally:
        counts.stop()


def series(uid: str, count: int | None) -> Dataset:
    """Return what a PACS says of a series."""
    answer = Dataset()
    answer.QueryRetrieveLevel, answer.StudyInstanceUID, answer.SeriesInstanceUID = "SERIES", "1.2", uid
    if count is not None:
        answer.NumberOfSeriesRelatedInstances = count
    return answer


@pytest.mark.parametrize("name", ["archive", "PACS"])
def test_the_number_of_a_series(name: str) -> None:
    """The peer, by its name or its AE title, is asked for that one series and says how many images it has."""
    identifiers: list[Dataset] = []

    def answers(identifier: Dataset) -> list[Dataset]:
        identifiers.append(identifier)
        return [series("1.2.4", 9), series("1.2.3", 48)]

    with pacs(answers) as address:
        assert asked(address, name) == (48, "")
    (identifier,) = identifiers
    assert (identifier.QueryRetrieveLevel, identifier.StudyInstanceUID) == ("SERIES", "1.2")
    assert (identifier.SeriesInstanceUID, "NumberOfSeriesRelatedInstances" in identifier) == ("1.2.3", True)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "archive does not know the series"),
        ([series("1.2.4", 9)], "archive does not know the series"),
        ([series("1.2.3", None)], "archive does not say how many images a series has"),
    ],
)
def test_a_peer_that_does_not_say(answer: list[Dataset], reason: str) -> None:
    """An answer for another series, or without the number, is none."""
    with pacs(lambda identifier: answer) as address:
        assert asked(address) == (None, reason)


def test_a_peer_that_nobody_configured() -> None:
    """A sender that is not configured with an address cannot be asked, and that is said."""
    said = "no peer with an address is called 'SCANNER' in the configuration"
    assert asked(("127.0.0.1", 1), "SCANNER") == (None, said)


def test_a_peer_that_is_down() -> None:
    """A peer that cannot be reached is no answer; the next question is asked."""
    with pacs(lambda identifier: []) as address:
        pass
    count, reason = asked(address)
    assert count is None
    assert "PACS" in reason or "archive" in reason
