"""Where a result comes from and what an input became, found by any UID."""

from __future__ import annotations

from typing import Any

import pytest

from dicomnode.errors import JobStateError
from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    begin_association,
    create_job,
    job_built,
    transition_delivery,
    transition_job,
)
from dicomnode.host.ledger.provenance_ledger import record_provenance
from dicomnode.host.ledger.states import DeliveryState, JobState
from dicomnode.host.operation.provenance import trace
from ledger_instances import instance

INDEX = {0x0020000D: "1.9", 0x0020000E: "1.8"}
MANIFEST: dict[str, Any] = {
    "plugin": "smooth",
    "distribution": "dicomnode-smooth",
    "version": "1.0",
    "attempt": 1,
    "settings": {"sigma": 1.5},
    "environment": {"python": "3.11"},
    "inputs": {"images": [{"path": "a", "SOPInstanceUID": "1.1", "sha256": "ab"}]},
    "items": [{"SOPInstanceUID": "2.1"}],
    "series": {"2.1": "2.8"},
}


@pytest.fixture
def job(ledger: Ledger) -> int:
    """Enter a job of one image, brought by an association, whose result goes to two destinations."""
    ledger.write(begin_association("a", "SCANNER", "SMOOTH", "10.0.0.1", 900.0))
    ledger.write(add_instance(instance("a", SOPInstanceUID="1.1", index=INDEX)))
    number = ledger.write(create_job("identity", "smooth", "P1", ["a"])).id
    ledger.write(transition_job(number, JobState.RUNNING, "attempt 1", attempts=1))
    item = {"path": "1/a.dcm", "output": "dicom", "SOPInstanceUID": "2.1", "SOPClassUID": "1.2.4"}
    ledger.write(job_built(number, "1", [("PACS", item), ("BACKUP", item)]))
    ledger.write(record_provenance(number, MANIFEST, lambda path: path))
    return number


@pytest.mark.parametrize(
    ("uid", "meaning"),
    [
        ("2.1", "result"),
        ("2.8", "series of results"),
        ("1.1", "input"),
        ("1.8", "series of inputs"),
        ("1.9", "study of inputs"),
    ],
)
def test_a_job_is_found_by_any_of_its_uids(ledger: Ledger, job: int, uid: str, meaning: str) -> None:
    """What the UID is of the job is told with it."""
    told = trace(ledger, uid)
    assert (told["uid"], told["unused"]) == (uid, [])
    assert [(each["job"], each["uid_is"]) for each in told["jobs"]] == [(job, [meaning])]


def test_a_job_says_what_made_its_result(ledger: Ledger, job: int) -> None:
    """The plugin with its version and settings, and each input with what brought it."""
    (told,) = trace(ledger, "2.1")["jobs"]
    assert told["job"] == job
    assert told["plugin"] == {"plugin": "smooth", "distribution": "dicomnode-smooth", "version": "1.0"}
    assert told["run"] == {"attempt": 1, "started": None, "ended": None}
    assert (told["settings"], told["environment"]) == ({"sigma": 1.5}, {"python": "3.11"})
    assert told["warnings"] == []
    assert told["inputs"] == {
        "images": [
            {
                "SOPInstanceUID": "1.1",
                "SeriesInstanceUID": "1.8",
                "StudyInstanceUID": "1.9",
                "sha256": "ab",
                "received": iso_timestamp(1000.0),
                "association": {
                    "id": "a",
                    "calling": "SCANNER",
                    "called": "SMOOTH",
                    "address": "10.0.0.1",
                    "started": iso_timestamp(900.0),
                },
            }
        ]
    }


def test_a_result_is_told_once_with_all_its_destinations(ledger: Ledger, job: int) -> None:
    """Only a delivery that was confirmed has a time of that."""
    numbers = {each.destination: each.id for each in ledger.deliveries(job=job)}
    ledger.write(transition_delivery(numbers["PACS"], DeliveryState.CONFIRMED, "stored", 0))
    ledger.write(transition_delivery(numbers["BACKUP"], DeliveryState.PENDING, "no answer"))
    (told,) = trace(ledger, "2.1")["jobs"]
    (result,) = told["results"]
    assert (result["SOPInstanceUID"], result["SeriesInstanceUID"]) == ("2.1", "2.8")
    assert (result["SOPClassUID"], result["output"], result["file_name"]) == ("1.2.4", "dicom", "")
    by_name = {each["destination"]: each for each in result["deliveries"]}
    assert by_name["PACS"]["confirmed"] is not None
    assert (by_name["PACS"]["state"], by_name["PACS"]["status"]) == ("confirmed", 0)
    assert by_name["BACKUP"] == {
        "destination": "BACKUP",
        "state": "pending",
        "confirmed": None,
        "status": None,
        "reason": "no answer",
    }


def test_a_job_without_a_result_yet(ledger: Ledger) -> None:
    """Its inputs are told; what only a result says is empty, as is an association that is not known."""
    ledger.write(add_instance(instance("a", SOPInstanceUID="1.1", index={})))
    ledger.write(create_job("identity", "smooth", "P1", ["a"]))
    (told,) = trace(ledger, "1.1")["jobs"]
    assert told["state"] == "queued"
    assert told["plugin"] == {"plugin": None, "distribution": None, "version": None}
    assert (told["settings"], told["environment"], told["results"]) == (None, None, [])
    (image,) = told["inputs"]["images"]
    assert (image["SeriesInstanceUID"], image["StudyInstanceUID"], image["association"]) == ("", "", None)


def test_an_image_that_no_job_has_used(ledger: Ledger) -> None:
    """It is told where it is, and for whom it waits."""
    ledger.write(add_instance(instance("a", SOPInstanceUID="1.1", index=INDEX)))
    told = trace(ledger, "1.9")
    assert told["jobs"] == []
    (image,) = told["unused"]
    assert (image["SOPInstanceUID"], image["pipeline"], image["container_key"], image["state"]) == (
        *("1.1", "three", "P1", "waiting"),
    )


def test_a_uid_that_is_not_known(ledger: Ledger) -> None:
    """The message says how long records are kept."""
    with pytest.raises(JobStateError) as raised:
        trace(ledger, "1.2.3")
    assert str(raised.value) == (
        "no result and no input with the UID 1.2.3 is known here. Records are kept as long as"
        " retention.records says"
    )
