"""What only the running host knows of itself, as plain data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.ledger.states import JobState
from dicomnode.host.operation import live_status as module
from dicomnode.host.operation.live_status import live_status
from dicomnode.plugins.registry import host_version


def told(**given: Any) -> dict[str, Any]:
    """Return the status of a host of which something is given."""
    host: dict[str, Any] = {
        "ae_title": "NODE",
        "address": ("127.0.0.1", 11112),
        "started": 1000.0,
        "reserve": 77,
        "trees": (),
        "discarded": {},
        "backoffs": {},
        "unstoppable": (),
    }
    return live_status(**{**host, **given})


def patient_of(bench: Any) -> dict[str, Any]:
    """Return what is told of the only patient that waits."""
    (patient,) = told(trees=[bench.tree], patients=True)["pipelines"]["two"]["patients"]
    return dict(patient)


def test_a_host_without_pipelines() -> None:
    """It tells who it is, since when, and where it listens."""
    assert told() == {
        "version": host_version(),
        "process": os.getpid(),
        "ae_title": "NODE",
        "address": "127.0.0.1:11112",
        "started": iso_timestamp(1000.0),
        "reserve": 77,
        "pipelines": {},
        "backoffs": {},
        "unstoppable_jobs": [],
    }


def test_a_pipeline_is_told_with_what_waits(make_bench: Callable[..., Any]) -> None:
    """Patients and images are counted, and nobody is named."""
    bench = make_bench()
    for uid, patient in (("1.1", "P1"), ("1.2", "P1"), ("1.3", "P2")):
        bench.insert(uid, patient)
    status = told(trees=[bench.tree], discarded={"two": 4, "other": 9})
    assert status["pipelines"] == {
        "two": {
            "ae_title": "TWO",
            "destinations": ["PACS"],
            "distribution": "dicomnode-two",
            "version": "1.5",
            "discarded": 4,
            "waiting": {"patients": 2, "images": 3},
        }
    }
    assert json.loads(json.dumps(status)) == status


def test_a_patient_that_is_not_complete_waits_for_what_is_missing(make_bench: Callable[..., Any]) -> None:
    """What its inputs lack, and how long no image of it has come."""
    bench = make_bench()
    bench.insert("1.1")
    bench.now += 5
    patient = patient_of(bench)
    assert (patient["container_key"], patient["inputs"], patient["quiet"]) == ("P1", {"images": 1}, 5.0)
    assert "fewer than two" in patient["missing"]
    assert patient["waits_for"] == patient["missing"]


@pytest.mark.parametrize(
    ("trigger", "waits_for"),
    [
        ("release", "complete; waits for the release of an association that brings an image of it"),
        ("quiet", "complete; waits for 20 s more without an image"),
        (
            "both",
            "complete; waits for the release of an association that brings an image of it,"
            " or for 20 s more without an image",
        ),
    ],
)
def test_a_complete_patient_waits_for_its_trigger(
    make_bench: Callable[..., Any], trigger: str, waits_for: str
) -> None:
    """Nothing is missing; the way or the ways in which its job may begin are told."""
    bench = make_bench(trigger=trigger, quiet=30)
    bench.insert("1.1")
    bench.insert("1.2")
    bench.now += 10
    patient = patient_of(bench)
    assert (patient["missing"], patient["waits_for"]) == (None, waits_for)


def test_a_quiet_period_that_is_over_has_no_seconds_left(make_bench: Callable[..., Any]) -> None:
    """Not a negative number of them."""
    bench = make_bench(trigger="quiet", quiet=30)
    bench.insert("1.1")
    bench.insert("1.2")
    bench.now += 100
    assert patient_of(bench)["waits_for"] == "complete; waits for 0 s more without an image"


def test_a_check_of_a_plugin_that_fails_is_what_is_missing(
    make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is told all the same."""
    bench = make_bench()
    bench.insert("1.1")

    def failing(_container_key: str) -> str:
        raise RuntimeError("the check broke")

    monkeypatch.setattr(bench.tree, "missing", failing)
    patient = patient_of(bench)
    assert (patient["missing"], patient["waits_for"]) == ("the check broke", "the check broke")


def test_until_when_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds that are left become a time."""
    monkeypatch.setattr(module.time, "time", lambda: 1000.0)
    (name, backoff), *_ = told(backoffs={"PACS": (60.0, "refused")})["backoffs"].items()
    assert (name, backoff["reason"]) == ("PACS", "refused")
    assert datetime.fromisoformat(backoff["until"]).timestamp() == 1060.0


def test_jobs_that_cannot_be_ended_are_named_by_number() -> None:
    """Without their patients."""
    job = JobRecord(5, "identity", "two", "Jane Doe", JobState.DISCARDED, "given up", 1, 0.0, 1.0, 2.0)
    assert told(unstoppable=[job])["unstoppable_jobs"] == [{"job": 5, "pipeline": "two"}]
