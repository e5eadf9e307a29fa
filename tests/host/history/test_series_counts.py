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
from dicomnode.host.history import series_counts
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


def peer_at(address: tuple[str, int]) -> Peer:
    """Return the peer at an address."""
    table = PeerTable(ae_title="PACS", address=Address(host=address[0], port=address[1]), timeout=10)
    return Peer("archive", table, "NODE")


def asked(address: tuple[str, int], name: str = "PACS") -> Answer:
    """Ask once, and return the answer."""
    counts, answered = SeriesCounts({"archive": peer_at(address)}), queue.SimpleQueue[Answer]()
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


def test_an_answer_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no answer, by the kind of the error alone; the next question is asked all the same."""
    answers = iter([ValueError("Doe^John"), series("1.2.3", 48)])

    def found(*_: object) -> Dataset:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(series_counts, "find_series", found)
    counts, answered = SeriesCounts({"archive": peer_at(("127.0.0.1", 1))}), queue.SimpleQueue[Answer]()
    counts.start()
    try:
        for _ in range(2):
            counts.ask("archive", "1.2", "1.2.3", lambda count, reason: answered.put((count, reason)))
        assert [answered.get(timeout=30) for _ in range(2)] == [
            (None, "the answer cannot be read: ValueError"),
            (48, ""),
        ]
    finally:
        counts.stop()


def test_other_peers_after_the_configuration_was_read_again() -> None:
    """The address that a peer has now is asked."""
    with pacs(lambda identifier: [series("1.2.3", 48)]) as address:
        counts, answered = SeriesCounts({}), queue.SimpleQueue[Answer]()
        counts.start()
        try:
            for peers in ({}, {"archive": peer_at(address)}):
                counts.reconfigure(peers)
                counts.ask("PACS", "1.2", "1.2.3", lambda count, reason: answered.put((count, reason)))
                count, _ = answered.get(timeout=30)
                assert count == (48 if peers else None)
        finally:
            counts.stop()
