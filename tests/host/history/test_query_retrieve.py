"""C-FIND and C-MOVE in the Study Root model: what is asked, what is taken from the answers."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from acceptor import Acceptor, acceptor, in_turn
from asked_peer import asking, soon, study
from dicomnode.errors import DeliveryError
from dicomnode.host.history.query_retrieve import PatientSearch, c_move
from dimse_responses import answered, response
from raw_peer import element

PENDING, SUCCESS = 0xFF00, 0


def identifier(data: bytes) -> Dataset:
    return read_dataset(BytesIO(data), False, True)


def finds(*matches: Dataset, asked: list[Dataset] | None = None, status: int = SUCCESS):  # type: ignore[no-untyped-def]  # a script
    """Return a script that answers a C-FIND with matches, and writes down what was asked."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        _command, data = pacs.message()
        if asked is not None:
            asked.append(identifier(data))
        for match in matches:
            pacs.socket.sendall(answered(PENDING, match))
        pacs.socket.sendall(response(0x8020, status))
        pacs.release()

    return script


def test_a_search_returns_the_patients_studies() -> None:
    """Pending answers are returned, but for those about another patient or without a Study Instance UID."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        _command, asked = pacs.message()
        assert b"P1" in asked
        for each in (
            study(),
            study(PatientID="P2"),
            study(StudyInstanceUID=""),
            study(StudyInstanceUID="1.3"),
        ):
            pacs.socket.sendall(answered(0xFF00, each))
        pacs.socket.sendall(response(0x8020, 0))
        pacs.release()

    with acceptor(script) as port:
        found = PatientSearch(asking(port), "P1", {}).studies(soon())
    assert [each.StudyInstanceUID for each in found] == ["1.2", "1.3"]


def test_a_move_counts_what_was_sent() -> None:
    """Completed, warned and failed sub-operations of the last response are told, whatever its status."""
    counts = b"".join(
        element(number, struct.pack("<H", count)) for number, count in ((0x1021, 5), (0x1022, 2), (0x1023, 1))
    )

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        command, asked = pacs.message()
        assert b"NODE" in command
        assert b"1.2" in asked
        pacs.socket.sendall(response(0x8021, 0xFF00))
        pacs.socket.sendall(response(0x8021, 0xB000, extra=counts))
        pacs.release()

    with acceptor(script) as port:
        moved = c_move(asking(port), study(), "NODE", soon())
    assert (moved.completed, moved.failed) == (6, 2)


def test_a_move_to_nowhere() -> None:
    """A destination that the PACS does not know: the message says what to enter there."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(response(0x8021, 0xA801))
        pacs.release()

    with acceptor(script) as port, pytest.raises(DeliveryError, match="enter the AE title 'COMPARE' there"):
        c_move(asking(port), study(), "COMPARE", soon())


def test_what_is_asked_of_studies() -> None:
    """The patient, the keys that narrow down studies, and what is wanted of each; nothing of series."""
    asked: list[Dataset] = []
    keys = {"StudyDate": "20200101-", "Modality": "CT", "PatientName": "Jöns*"}
    with acceptor(finds(asked=asked)) as port:
        assert PatientSearch(asking(port), "P1", keys).studies(soon()) == []
    (found,) = asked
    assert (found.QueryRetrieveLevel, found.PatientID, found.StudyDate) == ("STUDY", "P1", "20200101-")
    assert str(found.PatientName) == "Jöns*"
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert "Modality" not in found
    assert {"StudyInstanceUID", "SOPClassesInStudy", "NumberOfStudyRelatedInstances"} <= set(found.dir())


def test_series_are_asked_of_each_study() -> None:
    """Each has the attributes of its study; those without a UID, or of another study, are passed over."""
    asked: list[Dataset] = []
    first, second = study(StudyDate="20200101"), study(StudyInstanceUID="1.3", StudyDate="20200202")
    series = [Dataset() for _ in range(4)]
    for each, (uid, of) in zip(
        series, (("1.2.1", "1.2"), ("", "1.2"), ("1.2.2", "9.9"), ("1.2.3", "")), strict=True
    ):
        each.SeriesInstanceUID, each.StudyInstanceUID, each.Modality = uid, of, "CT"
    scripts = [finds(first, second, asked=asked), finds(*series, asked=asked), finds(asked=asked)]
    with acceptor(in_turn(*scripts), connections=3) as port:
        found = PatientSearch(asking(port), "P1", {"Modality": "CT"}).series(soon())
    assert [(each.SeriesInstanceUID, each.StudyInstanceUID, each.StudyDate) for each in found] == [
        ("1.2.1", "1.2", "20200101"),
        ("1.2.3", "1.2", "20200101"),
    ]
    assert [(each.QueryRetrieveLevel, each.StudyInstanceUID) for each in asked] == [
        ("STUDY", ""), ("SERIES", "1.2"), ("SERIES", "1.3"),
    ]  # fmt: skip
    assert asked[1].Modality == "CT"
    assert "SpecificCharacterSet" not in asked[1]


def test_a_query_that_fails() -> None:
    """The status is in the message, matches that came before do not count."""
    with (
        acceptor(finds(study(), status=0xA700)) as port,
        pytest.raises(DeliveryError, match=r"the query failed.*0xa700"),
    ):
        PatientSearch(asking(port), "P1", {}).studies(soon())


def test_a_query_with_too_many_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended: a PACS that does not look at the patient would send all that it has."""
    monkeypatch.setattr("dicomnode.host.history.query_retrieve._MOST_MATCHES", 3)

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        for _ in range(5):
            pacs.socket.sendall(answered(PENDING, study()))
        assert pacs.pdu()[0] == 7

    with acceptor(script) as port, pytest.raises(DeliveryError, match="too many matches"):
        PatientSearch(asking(port), "P1", {}).studies(soon())


@pytest.mark.parametrize(("series", "level"), [(None, "STUDY"), ("1.2.1", "SERIES")])
def test_a_study_or_a_series_is_moved(series: str | None, level: str) -> None:
    """As the match says; to the AE title that is named."""
    asked: list[tuple[bytes, Dataset]] = []

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        command, data = pacs.message()
        asked.append((command, identifier(data)))
        pacs.socket.sendall(response(0x8021, SUCCESS, extra=element(0x1021, struct.pack("<H", 3))))
        pacs.release()

    match = study()
    if series is not None:
        match.SeriesInstanceUID = series
    with acceptor(script) as port:
        moved = c_move(asking(port), match, "COMPARE", soon())
    assert (moved.completed, moved.failed) == (3, 0)
    ((command, found),) = asked
    assert element(0x0600, b"COMPARE ") in command or element(0x0600, b"COMPARE") in command
    assert (found.QueryRetrieveLevel, found.StudyInstanceUID) == (level, "1.2")
    assert found.get("SeriesInstanceUID") == series


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xA702])
def test_a_move_that_fails(status: int) -> None:
    """The status is in the message, and the peer's words are not in what is logged."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        pacs.message()
        pacs.socket.sendall(response(0x8021, status, extra=element(0x0902, b"no Smith")))
        pacs.release()

    with acceptor(script) as port, pytest.raises(DeliveryError, match="the peer does not send") as caught:
        c_move(asking(port), study(), "NODE", soon())
    assert f"{status:#06x}" in caught.value.message
    assert "Smith" in str(caught.value)
    assert "Smith" not in caught.value.message
