"""The host's store handler as a receiver process sees it: what is asked, and what comes of the answers."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydicom.dataset import Dataset

from dicomnode.host.dimse.bounded_reader import ConnectionEndedError
from dicomnode.host.dimse.store_handler import (
    AssociationEnd,
    AssociationInfo,
    Prevalidation,
    StoreHandlerFailedError,
    StoreRequest,
)
from dicomnode.host.dimse.tls import PeerCertificate
from dicomnode.host.parsing.statuses import StoreResponse
from dicomnode.host.receiver import store_handler_proxy
from dicomnode.host.receiver.process_channel import ChannelClosedError, ProcessChannel
from dicomnode.host.receiver.store_handler_proxy import CallResult, HostMethod, StoreHandlerProxy
from dicomnode.host.spool.spool import Spool
from dicomnode.host.spool.spool_writer import FinishedFile

NEGOTIATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ASSOCIATION = AssociationInfo("a1", "FROM", "TO", "10.1.2.3", NEGOTIATED, "scanner")
FIELDS = ("a1", "FROM", "TO", "10.1.2.3", "2026-01-02T03:04:05+00:00", "scanner")
REQUEST = StoreRequest(ASSOCIATION, 7, "1.2.1", "1.2.3", "1.2.840.10008.1.2.1")
ASKED = (7, "1.2.1", "1.2.3", "1.2.840.10008.1.2.1")


@dataclass
class Host:
    """A channel whose other end gives the answers of the test, and records what was asked."""

    answers: list[Any]
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def call(self, message: tuple[Any, ...]) -> Any:
        self.asked.append(message)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def proxy(*answers: Any, prevalidate: Any = None) -> tuple[StoreHandlerProxy, Host]:
    host = Host([*answers])
    return StoreHandlerProxy(cast("ProcessChannel", host), frozenset({1}), prevalidate), host


def returned(value: Any = None) -> tuple[int, Any]:
    return int(CallResult.RETURNED), value


@pytest.fixture
def spooled(tmp_path: Path) -> FinishedFile:
    """Return a whole file in the spool."""
    spool = Spool(tmp_path / "spool", "process")
    file = tmp_path / "spool" / "incoming" / "file"
    file.write_bytes(b"0123456789")
    return FinishedFile(str(file), 10, 4, spool)


@pytest.mark.parametrize("may", [True, False])
def test_who_may_associate_is_asked_with_the_certificate(*, may: bool) -> None:
    """Title, address and certificate go to the host as plain data; its answer is the answer."""
    store_handler, host = proxy(returned(may), returned(may))
    assert store_handler.may_associate("ONE", "10.1.2.3", PeerCertificate("ab", "scanner")) is may
    assert store_handler.may_associate("ONE", "10.1.2.3", None) is may
    method = int(HostMethod.MAY_ASSOCIATE)
    assert host.asked == [(method, "ONE", "10.1.2.3", ("ab", "scanner")), (method, "ONE", "10.1.2.3", None)]


@pytest.mark.parametrize("wanted", [True, False])
def test_called_titles_are_asked(*, wanted: bool) -> None:
    """Whether an association is wanted is the host's answer."""
    store_handler, host = proxy(returned(wanted))
    assert store_handler.accepts_called_ae("TO", "FROM", "10.1.2.3") is wanted
    assert host.asked == [(int(HostMethod.ACCEPTS_CALLED_AE), "TO", "FROM", "10.1.2.3")]


def test_a_refusal_comes_whole_and_is_asked_again() -> None:
    """Status, comment and reason of a refusal arrive, and the next request of the kind is asked anew."""
    store_handler, host = proxy(returned((0x0124, "no", "why")), returned((0x0124, "no", "why")))
    for _ in range(2):
        assert store_handler.admit(REQUEST) == StoreResponse(0x0124, "no", "why")
    assert host.asked == [
        (int(HostMethod.ADMIT), FIELDS, *ASKED),
        (int(HostMethod.ADMIT), None, *ASKED),  # the host remembers the association
    ]


def test_an_admission_counts_for_a_quarter_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is not asked again for the same kind, but for another, and after the time is over."""
    now = [100.0]
    monkeypatch.setattr(store_handler_proxy, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store_handler, host = proxy(*[returned()] * 4)
    for request, asked in (
        (REQUEST, 1),
        (replace(REQUEST, message_id=8, AffectedSOPInstanceUID="1.2.4"), 1),
        (replace(REQUEST, AffectedSOPClassUID="1.2.2"), 2),
        (replace(REQUEST, transfer_syntax_uid="1.2.840.10008.1.2"), 3),
    ):
        assert store_handler.admit(request) is None
        assert len(host.asked) == asked
    now[0] += 0.25
    assert store_handler.admit(REQUEST) is None
    assert len(host.asked) == 4


def test_a_peer_cannot_fill_the_memory_with_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 128 kinds the admissions are dropped, so that the host is asked for the first again."""
    monkeypatch.setattr(store_handler_proxy, "time", SimpleNamespace(monotonic=lambda: 100.0))
    store_handler, host = proxy(*[returned()] * 130)
    for number in range(129):
        store_handler.admit(replace(REQUEST, AffectedSOPClassUID=f"1.2.{number}"))
    store_handler.admit(replace(REQUEST, AffectedSOPClassUID="1.2.128"))
    assert len(host.asked) == 129
    store_handler.admit(replace(REQUEST, AffectedSOPClassUID="1.2.0"))
    assert len(host.asked) == 130


def test_a_received_file_is_left_to_the_host(spooled: FinishedFile) -> None:
    """The host gets name, size and offset; after its answer the file is no more to be discarded here."""
    store_handler, host = proxy(returned((0, None, "")))
    assert store_handler.received(REQUEST, {0x00100020: "P1"}, spooled) == StoreResponse(0)
    assert host.asked == [
        (int(HostMethod.RECEIVED), FIELDS, *ASKED, {0x00100020: "P1"}, spooled.file, 10, 4, None)
    ]
    spooled.discard()
    assert spooled.path.exists()


def test_the_pipelines_rules_are_asked_first(spooled: FinishedFile) -> None:
    """What the prevalidator finds goes to the host; what the caller has found already is not looked for."""
    judged: list[tuple[Any, ...]] = []

    def prevalidate(called: str, file: str, index: Mapping[int, Any]) -> Prevalidation:
        judged.append((called, file, index))
        return Prevalidation("P1", {"ct": "no CT"})

    store_handler, host = proxy(*[returned((0, None, ""))] * 2, prevalidate=prevalidate)
    store_handler.received(REQUEST, {}, spooled)
    store_handler.received(REQUEST, {}, spooled, Prevalidation("P2", {"mr": None}))
    assert judged == [("TO", spooled.file, {})]
    assert [asked[-1] for asked in host.asked] == [("P1", {"ct": "no CT"}), ("P2", {"mr": None})]


@pytest.mark.parametrize(
    ("answer", "raised", "told"),
    [
        ((int(CallResult.FAILED), None), StoreHandlerFailedError, "the host could not decide"),
        ((int(CallResult.OS_ERROR), errno.ENOSPC), OSError, os.strerror(errno.ENOSPC)),
        (ChannelClosedError("closed"), ConnectionEndedError, "the host does not answer any more"),
    ],
)
def test_a_host_that_did_not_decide(
    spooled: FinishedFile, answer: Any, raised: type[Exception], told: str
) -> None:
    """A failure in the host is an exception here, with the error number if there is one; the file is ours."""
    store_handler, _host = proxy(answer)
    with pytest.raises(raised, match=told) as caught:
        store_handler.received(REQUEST, {}, spooled)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.ENOSPC
    if isinstance(caught.value, ConnectionEndedError):
        assert caught.value.abort_reason == 0
    spooled.discard()
    assert not spooled.path.exists()


def test_the_end_of_an_association_is_reported() -> None:
    """How an association ended is sent to the host; a closed channel is no error then."""
    store_handler, host = proxy(returned(), ChannelClosedError("closed"))
    store_handler.association_ended(ASSOCIATION, AssociationEnd.RELEASED)
    store_handler.association_ended(ASSOCIATION, AssociationEnd.CUT_OFF)
    method = int(HostMethod.ASSOCIATION_ENDED)
    assert host.asked == [(method, FIELDS, "released"), (method, FIELDS, "cut off")]


def test_a_report_on_storage_commitment_is_handed_on() -> None:
    """The data set goes to the host as JSON, and the host's status is the answer."""
    information = Dataset()
    information.TransactionUID = "1.2.9"
    store_handler, host = proxy(returned(0x0110))
    assert store_handler.take_commitment_report("PACS", information) == 0x0110
    ((method, calling, text),) = host.asked
    assert (method, calling) == (int(HostMethod.TAKE_COMMITMENT_REPORT), "PACS")
    assert Dataset.from_json(text) == information


def test_what_is_asked_and_answered_are_plain_numbers() -> None:
    """The names of the methods are in the order in which the host has them, without a gap."""
    assert [method.value for method in HostMethod] == list(range(len(HostMethod)))
