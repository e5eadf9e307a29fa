"""Asking a peer to commit to what it stored, and reading what it reports (PS3.4 annex J)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.dataset import Dataset

from delivering import commitment_report
from dicomnode.errors import DeliveryError
from dicomnode.host.delivery.storage_commitment import CommitmentReport, CommitmentRequest
from dicomnode.pipeline.destination import Delivery, OutboxItem

ITEMS = [OutboxItem("dicom", Path(f"{number}"), f"1.{number}", f"1.2.{number}") for number in range(3)]


# -- reports ------------------------------------------------------------------------------------------------


def test_a_report_is_read() -> None:
    """Which request it answers, what is committed to, and of the others why not."""
    report = CommitmentReport.from_dataset(commitment_report(["1.1", "1.2"], {"1.3": 0x0112}, "9.9"))
    assert report == CommitmentReport("9.9", frozenset({"1.1", "1.2"}), {"1.3": 0x0112})


def test_a_report_may_say_nothing() -> None:
    """Sequences that are missing or empty hold nothing."""
    dataset = Dataset()
    dataset.TransactionUID = "9.9"
    assert CommitmentReport.from_dataset(dataset) == CommitmentReport("9.9", frozenset(), {})
    dataset.ReferencedSOPSequence = dataset.FailedSOPSequence = []
    assert CommitmentReport.from_dataset(dataset) == CommitmentReport("9.9", frozenset(), {})


def test_a_failure_without_a_reason_is_a_processing_failure() -> None:
    """The reason is Type 1, and some peers leave it out."""
    dataset = commitment_report([], {"1.1": 0x0112}, "9.9")
    del dataset.FailedSOPSequence[0].FailureReason
    assert CommitmentReport.from_dataset(dataset).failed == {"1.1": 0x0110}


@pytest.mark.parametrize("keyword", ["ReferencedSOPSequence", "FailedSOPSequence"])
def test_a_report_that_cannot_be_read(keyword: str) -> None:
    """An item that does not say which instance it is about is an error of ours, whatever pydicom raises."""
    dataset = commitment_report(["1.1"], {"1.2": 0x0112}, "9.9")
    del dataset[keyword].value[0].ReferencedSOPInstanceUID
    with pytest.raises(DeliveryError, match="storage commitment cannot be read: AttributeError"):
        CommitmentReport.from_dataset(dataset)


@pytest.mark.parametrize("transaction", [None, ""])
def test_a_report_without_a_transaction(transaction: str | None) -> None:
    """A report that does not say which request it answers is none."""
    dataset = commitment_report(["1.1"], {}, "9.9")
    dataset.TransactionUID = transaction
    with pytest.raises(DeliveryError, match="has no Transaction UID"):
        CommitmentReport.from_dataset(dataset)


@pytest.mark.parametrize(
    ("reason", "delivery", "said"),
    [
        (0x0110, Delivery.LATER, "processing failure"),
        (0x0112, Delivery.LATER, "no such instance"),
        (0x0213, Delivery.LATER, "resource limitation"),
        (0x0122, Delivery.REFUSED, "SOP class not supported"),
        (0x0119, Delivery.REFUSED, "class and instance conflict"),
        (0x0999, Delivery.LATER, "reason 0x0999"),
    ],
)
def test_what_a_reason_means(reason: int, delivery: Delivery, said: str) -> None:
    """What may be mended is sent again, what the peer will say again is refused; the meaning is in words."""
    outcome = CommitmentReport("9.9", frozenset(), {"1.1": reason}).outcome("1.1")
    assert outcome is not None
    assert (outcome.delivery, outcome.reason) == (delivery, f"the peer does not commit to it: {said}")


def test_what_a_report_says_of_an_instance() -> None:
    """What is committed to is confirmed; a refusal counts more; of another nothing is said."""
    report = CommitmentReport("9.9", frozenset({"1.1", "1.2"}), {"1.2": 0x0112})
    confirmed = report.outcome("1.1")
    assert confirmed is not None
    assert (confirmed.delivery, confirmed.reason) == (Delivery.CONFIRMED, "the peer has committed to it")
    refused = report.outcome("1.2")
    assert refused is not None
    assert refused.delivery is Delivery.LATER
    assert report.outcome("1.3") is None


# -- requests -----------------------------------------------------------------------------------------------


class Association:
    """An association that answers as told, and remembers what it was asked."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = statuses
        self.asked: list[tuple[dict[str, Any], Dataset]] = []
        self.served: list[tuple[float, Callable[[], bool]]] = []

    def request(self, command: dict[str, Any], dataset: Dataset) -> Iterator[SimpleNamespace]:
        """Answer."""
        self.asked.append((command, dataset))
        for status in self.statuses:
            yield SimpleNamespace(status=status)

    def serve(self, seconds: float, until: Callable[[], bool]) -> None:
        """Remember for how long."""
        self.served.append((seconds, until))


class Reports:
    """Takes reports and answers them as told."""

    def __init__(self, status: int = 0) -> None:
        self.status, self.taken = status, []  # type: ignore[var-annotated]  # data sets

    def __call__(self, dataset: Dataset) -> int:
        self.taken.append(dataset)
        return self.status


def message(field: int, dataset: Dataset | Exception) -> Any:
    def read() -> Dataset:
        if isinstance(dataset, Exception):
            raise dataset
        return dataset

    return SimpleNamespace(field=field, dataset=read)


def test_a_request_names_all_instances() -> None:
    """An N-ACTION of the well-known instance, with class and UID of each (PS3.4 table J.3-1)."""
    association, request = Association(0), CommitmentRequest(ITEMS, Reports())
    request.ask(association, 1.5)  # type: ignore[arg-type]  # what it needs of one
    ((command, dataset),) = association.asked
    assert command == {
        "CommandField": 0x0130,
        "RequestedSOPClassUID": "1.2.840.10008.1.20.1",
        "RequestedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
        "ActionTypeID": 1,
    }
    assert dataset.TransactionUID == request.TransactionUID
    references = [
        (each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID) for each in dataset.ReferencedSOPSequence
    ]
    assert references == [(item.SOPClassUID, item.SOPInstanceUID) for item in ITEMS]


def test_each_request_has_a_transaction_of_its_own() -> None:
    """By it the report is known: a UUID, which gives nothing away and needs no root."""
    uids = {CommitmentRequest(ITEMS, Reports()).TransactionUID for _ in range(3)}
    assert len(uids) == 3
    assert all(uid.startswith("2.25.") for uid in uids)


def test_a_request_that_is_refused() -> None:
    """A status that is not success is an error that says it, and no report is waited for."""
    association = Association(0x0110)
    with pytest.raises(DeliveryError, match="refuses the request for storage commitment with status 0x0110"):
        CommitmentRequest(ITEMS, Reports()).ask(association, 1)  # type: ignore[arg-type]  # as above
    assert association.served == []


def test_a_report_is_waited_for_on_the_same_association() -> None:
    """So long as was said, and no longer than the report of this request takes to come."""
    association, reports = Association(0), Reports(status=0x0115)
    request = CommitmentRequest(ITEMS, reports)
    request.ask(association, 1.5)  # type: ignore[arg-type]  # as above
    ((seconds, until),) = association.served
    assert seconds == 1.5
    assert until() is False
    assert request.handle(message(0x0100, commitment_report([], {}, "9.8"))) == 0x0115
    assert until() is False
    assert request.handle(message(0x0100, commitment_report([], {}, request.TransactionUID))) == 0x0115
    assert until() is True
    request.handle(message(0x0100, commitment_report([], {}, "9.8")))
    assert until() is True
    assert len(reports.taken) == 3


def test_what_is_no_report_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Another operation is not recognised, a data set that cannot be read is a failure; neither is taken."""
    reports = Reports()
    request = CommitmentRequest(ITEMS, reports)
    assert request.handle(message(0x0001, commitment_report([], {}, request.TransactionUID))) == 0x0211
    with caplog.at_level(logging.WARNING):
        assert request.handle(message(0x0100, DeliveryError("the answer cannot be read"))) == 0x0110
    assert caplog.messages == ["the answer cannot be read"]
    assert reports.taken == []
