"""What the ledger says of a host, as plain data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import JobStateError
from dicomnode.host.foundation.free_space import DiskSpace
from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    create_job,
    job_built,
    transition_delivery,
    transition_job,
)
from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState
from dicomnode.host.ledger.unprocessed_ledger import (
    HeldContainer,
    NoteUnprocessed,
    Outcome,
    hold_container,
)
from dicomnode.host.operation import status
from dicomnode.host.operation.status import (
    add_backoffs,
    attention,
    disk_status,
    job_report,
    jobs_report,
    recorded_status,
)
from ledger_instances import instance

ROOMY = {"refuses_images": False, "jobs_wait": False}
SOUND = {"dead_letters": 0}


def failed(ledger: Ledger) -> int:
    """Enter a job that failed, and return its number."""
    number = ledger.write(create_job("identity", "three", "P1", [])).id
    ledger.write(transition_job(number, JobState.RUNNING, "attempt 1", attempts=1))
    words = {"summary": "the plugin failed", "log": "its last words"}
    ledger.write(transition_job(number, JobState.FAILED, "no lung of Jane Doe", **words))
    return number


def built(ledger: Ledger, *paths: str) -> int:
    """Enter a job of some inputs whose result is to be delivered to PACS, and return its number."""
    number = ledger.write(create_job("identity", "three", "P1", paths)).id
    ledger.write(transition_job(number, JobState.RUNNING, "attempt 1", attempts=1))
    item = {"path": "1/a.dcm", "output": "dicom", "SOPInstanceUID": "9.1"}
    ledger.write(job_built(number, "1", [("PACS", item)]))
    return number


def test_an_empty_ledger(ledger: Ledger) -> None:
    """There is nothing to count."""
    assert recorded_status(ledger) == {"pipelines": {}, "dead_letters": 0, "deliveries": {}}


def test_everything_is_counted_by_pipeline(ledger: Ledger) -> None:
    """Instances and jobs by their state, patients and images that wait, and jobs that failed."""
    for path in ("a", "b"):
        ledger.write(add_instance(instance(path)))
    ledger.write(add_instance(instance("c", container_key="P2")))
    ledger.write(add_instance(instance("d", state=InstanceState.EXPIRED)))
    failed(ledger)
    told = recorded_status(ledger)
    assert told["pipelines"] == {
        "three": {
            "instances": {"waiting": 3, "expired": 1},
            "jobs": {"failed": 1},
            "waiting": {"patients": 2, "images": 3},
            "unprocessed": {"refused": 0, "discarded": 0, "held": 0},
        }
    }
    assert told["dead_letters"] == 1


def test_images_that_no_job_gets_are_counted(ledger: Ledger) -> None:
    """By what became of them, of each pipeline; series and reasons, which may name somebody, on request."""
    for reason in ("Modality is PT", "Modality is PT", "PatientID is Jane Doe"):
        ledger.post(NoteUnprocessed("three", "1.3", Outcome.REFUSED, reason))
    ledger.post(NoteUnprocessed("other", "1.4", Outcome.DISCARDED, "Modality is MR"))
    ledger.write(hold_container(HeldContainer("three", "Jane Doe", {"1.5": 4, "1.6": 2}, "images: 4 of 5")))
    told = recorded_status(ledger)
    assert {name: table["unprocessed"] for name, table in told["pipelines"].items()} == {
        "three": {"refused": 3, "discarded": 0, "held": 6},
        "other": {"refused": 0, "discarded": 1, "held": 0},
    }
    assert "Jane Doe" not in str(told)
    assert "unprocessed_series" not in told["pipelines"]["three"]
    named = recorded_status(ledger, patients=True)["pipelines"]
    assert sorted(
        (name, each["SeriesInstanceUID"], each["outcome"], each["images"], each["reason"])
        for name, table in named.items()
        for each in table["unprocessed_series"]
    ) == [
        ("other", "1.4", "discarded", 1, "Modality is MR"),
        ("three", "1.3", "refused", 1, "PatientID is Jane Doe"),
        ("three", "1.3", "refused", 2, "Modality is PT"),
        ("three", "1.5", "held", 4, "images: 4 of 5"),
        ("three", "1.6", "held", 2, "images: 4 of 5"),
    ]


def test_patients_that_wait_are_named_only_on_request(ledger: Ledger) -> None:
    """Without the request there is no key of a patient; with it, the key and what is there of each input."""
    ledger.write(add_instance(instance("a", container_key="Jane Doe")))
    assert "Jane Doe" not in str(recorded_status(ledger))
    (patient,) = recorded_status(ledger, patients=True)["pipelines"]["three"]["patients"]
    assert (patient["container_key"], patient["inputs"]) == ("Jane Doe", {"images": 1})
    assert patient["quiet"] > 0


def test_a_clock_that_was_set_back_gives_no_negative_time(ledger: Ledger) -> None:
    """An image that seems to come from the future has been quiet for no time."""
    ledger.write(add_instance(instance("a", received=1e11)))
    (patient,) = recorded_status(ledger, patients=True)["pipelines"]["three"]["patients"]
    assert patient["quiet"] == 0.0


def test_what_is_to_be_delivered_is_counted_by_destination(ledger: Ledger) -> None:
    """With the reason of the last attempt and the time of the next."""
    number = built(ledger)
    (delivery,) = ledger.deliveries(job=number)
    ledger.write(transition_delivery(delivery.id, DeliveryState.PENDING, "no answer", not_before=5000.0))
    assert recorded_status(ledger)["deliveries"] == {
        "PACS": {"destination": "PACS", "pending": 1, "reason": "no answer", "next": iso_timestamp(5000.0)}
    }


@pytest.mark.parametrize(
    ("free", "refuses", "wait"), [(100, False, False), (99, True, False), (50, True, False), (49, True, True)]
)
def test_how_full_the_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, refuses: bool, wait: bool
) -> None:
    """Below the reserve images are refused, and below half of it jobs wait."""
    monkeypatch.setattr(status, "disk_space", lambda _path: DiskSpace(free, 1000, 0, 0))
    assert disk_status(tmp_path, 100) == {
        "data": str(tmp_path),
        "free": free,
        "total": 1000,
        "reserve": 100,
        "refuses_images": refuses,
        "jobs_wait": wait,
    }


def test_a_sound_node_needs_no_attention() -> None:
    """Neither with a running host nor without one."""
    assert attention(SOUND, ROOMY) == []
    assert attention(SOUND, ROOMY, {"unstoppable_jobs": []}) == []


def test_each_thing_that_needs_attention_is_a_sentence() -> None:
    """The full disk, the failed jobs, and the job that cannot be ended."""
    full = {"refuses_images": True, "jobs_wait": True}
    assert attention({"dead_letters": 2}, full, {"unstoppable_jobs": [{"job": 5}]}) == [
        "every image is refused (0xA700): less of the disk is free than the reserve (host.reserve)",
        "no job is started: less of the disk is free than half of the reserve",
        "2 jobs need attention: dicomnode-host jobs --failed",
        "job 5 was discarded or superseded, and its executor cannot end it: it may go on running, and its"
        " result will be dropped",
    ]


def test_a_pause_of_a_destination_postpones_what_is_pending() -> None:
    """The later of both times is the next one, and the reason is told; what is confirmed stays as it was."""
    soon, late = "2026-01-01T10:00:00+00:00", "2026-01-01T12:00:00+02:00"  # the same time
    later = "2026-01-01T11:00:00+00:00"
    live = {"backoffs": {"PACS": {"until": soon, "reason": "refused"}}}
    rows: list[dict[str, Any]] = [
        {"destination": "PACS", "state": "pending", "next": None},
        {"destination": "PACS", "pending": 2, "next": later},
        {"destination": "PACS", "state": "confirmed", "next": None},
        {"destination": "OTHER", "state": "pending", "next": late},
    ]
    add_backoffs(rows, live)
    assert [each["next"] for each in rows] == [soon, later, None, late]
    assert [each.get("backoff") for each in rows] == ["refused", "refused", None, None]


def test_without_a_running_host_nothing_is_postponed() -> None:
    """What is to be delivered stays as the ledger says."""
    row: dict[str, Any] = {"destination": "PACS", "state": "pending", "next": None}
    add_backoffs([row], None)
    assert row == {"destination": "PACS", "state": "pending", "next": None}


def test_a_list_of_jobs_names_no_patient(ledger: Ledger) -> None:
    """The reason is the one in the host's own words."""
    ledger.write(add_instance(instance("a")))
    number = failed(ledger)
    job = ledger.job(number)
    assert job is not None
    (row,) = jobs_report(ledger, [replace(job, created=1000.0, changed=2000.0)])
    assert row == {
        "job": number,
        "pipeline": "three",
        "state": "failed",
        "reason": "the plugin failed",
        "attempts": 1,
        "inputs": 0,
        "created": iso_timestamp(1000.0),
        "changed": iso_timestamp(2000.0),
        "next": None,
    }


def test_a_job_is_told_with_its_inputs_and_deliveries(ledger: Ledger, tmp_path: Path) -> None:
    """Inputs under each name that holds them, deliveries with what they carry, and every change of state."""
    ledger.write(add_instance(instance("a", inputs=("images", "mask"), SOPInstanceUID="1.1")))
    number = built(ledger, "a")
    told = job_report(ledger, number, tmp_path)
    assert [each["SOPInstanceUID"] for each in told["inputs"]["images"]] == ["1.1"]
    assert told["inputs"]["mask"] == told["inputs"]["images"]
    assert told["inputs"]["images"][0] == {
        "SOPInstanceUID": "1.1",
        "file": "a",
        "state": "in_job",
        "reason": "the inputs are complete",
        "received": iso_timestamp(1000.0),
        "association": "a",
    }
    assert told["deliveries"] == [
        {
            "destination": "PACS",
            "output": "dicom",
            "SOPInstanceUID": "9.1",
            "file_name": "",
            "state": "pending",
            "status": None,
            "reason": "",
            "attempts": 0,
            "next": None,
        }
    ]
    assert [(each["from"], each["to"]) for each in told["history"]] == [
        ("", "queued"),
        ("queued", "running"),
        ("running", "built"),
    ]


def test_the_folder_of_a_result_is_told_while_it_is_there(ledger: Ledger, tmp_path: Path) -> None:
    """A folder that was removed since is no result; a job that failed never had one, but has a log."""
    number = built(ledger)
    assert job_report(ledger, number, tmp_path)["result"] is None
    (tmp_path / "1").mkdir()
    assert job_report(ledger, number, tmp_path)["result"] == str(tmp_path / "1")
    other = job_report(ledger, failed(ledger), tmp_path)
    assert (other["result"], other["log"], other["reason"]) == (None, "its last words", "no lung of Jane Doe")


def test_a_job_that_is_not_there(ledger: Ledger, tmp_path: Path) -> None:
    """The message names the command that lists the jobs."""
    with pytest.raises(JobStateError) as raised:
        job_report(ledger, 9, tmp_path)
    assert str(raised.value) == "there is no job 9; `dicomnode-host jobs` lists those that there are"
