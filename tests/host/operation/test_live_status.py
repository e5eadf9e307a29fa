"""What only the running host knows of itself: also what each container waits for, or is held for."""

from __future__ import annotations

import json
import os
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.tag import Tag

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.cli.waiting import held_kinds, print_waiting
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.foundation.timestamps import iso_timestamp
from dicomnode.host.gathering.messages import (
    Assessment,
    AssociationEnded,
    EarlierJob,
    EarlierState,
    ImageStored,
    Member,
    Policy,
)
from dicomnode.host.gathering.state_machine import Gathering
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.host.ledger.states import JobState
from dicomnode.host.operation import live_status as module
from dicomnode.host.operation.live_status import live_status
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry, host_version

STUDY = "1.2.826.0.1.3680043.8.498.43478086944222206438186738864458103339"
SERIES = "1.2.826.0.1.3680043.8.498.97523086944222206438186738864458101234"
OF_ALL = {
    "PatientID": "P1",
    "IssuerOfPatientID": "",
    "StudyInstanceUID": STUDY,
    "SeriesInstanceUID": SERIES,
}
KEY = f"P1/{STUDY}/{SERIES}"


class Two(AbstractInput):
    """Two images."""

    expected_images = 2

    def validate(self) -> str | None:
        """Raise where an image is said to break it."""
        if "1.666" in {str(image.SOPInstanceUID) for image in self}:
            raise RuntimeError("the check broke")
        return super().validate()


class Pipeline(AbstractPipeline):
    """One that makes nothing."""

    inputs = {"ct": Two}
    settle = 5.0
    open_association_wait = 120.0

    def process(self, inputs: Any) -> NoOutput:
        """Do nothing."""
        return NoOutput()


def told(**given: Any) -> dict[str, Any]:
    """Return the status of a host of which something is given."""
    host: dict[str, Any] = {
        "ae_title": "NODE",
        "address": ("127.0.0.1", 11112),
        "started": 1000.0,
        "reserve": 77,
        "trees": (),
        "gatherer": None,
        "backoffs": {},
        "unstoppable": (),
    }
    return live_status(**{**host, **given})


class Waiting:
    """One pipeline's images that wait, with its state machine and a clock that is moved by hand."""

    def __init__(self, tmp_path: Any) -> None:
        self.now, self.earlier = 0.0, list[EarlierJob]()
        self.folder = tmp_path
        configured = ConfiguredPipeline(
            name="fusion",
            pipeline=Pipeline(),
            ae_title="FUSION",
            destinations=("PACS",),
            table=PipelineTable(),
            registration=SimpleNamespace(distribution="fusion", version="1"),  # type: ignore[arg-type]  # as much of it as is looked at
        )
        self.images = WaitingImages(configured, Hooks(Registry(only=())), now=lambda: self.now)
        self.machine = Gathering(
            Policy(configured.policy.settle, configured.policy.open_association_wait),
            self.assess,
            lambda _key: self.earlier,
        )

    def assess(self, key: str) -> Assessment:
        """Return what the inputs say, as the host asks them."""
        found = self.images.completeness(key)
        if found is None:
            return Assessment({}, "no image")
        return Assessment({"ct": tuple(self.images.members(key))}, str(found), raised=", ".join(found.raised))

    def store(self, uid: str, association: str = "A", series: str = SERIES) -> None:
        """Have an image come."""
        values = {**OF_ALL, "SeriesInstanceUID": series, "SOPInstanceUID": uid}
        index = {
            int(Tag(keyword)) | bits: text for keyword, text in values.items() for bits in (0, STORED_BYTES)
        }
        image = LazyDataset(self.folder / f"{uid}.dcm", index)
        placement = self.images.place(image)
        self.images.insert(image, placement)
        self.machine.handle(ImageStored(placement.container_key, Member(uid, series), association), self.now)

    def end(self, association: str = "A", *, released: bool = True) -> None:
        """Have an association end."""
        self.machine.handle(AssociationEnded(association, released), self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.machine.tick(self.now)

    def views(self, _tree: WaitingImages) -> dict[str, Any]:
        """Return what the machine knows, as the gatherer does."""
        return {key: self.machine.view(key, self.now) for key in self.machine.keys()}  # noqa: SIM118 - it is no mapping

    def status(self, *, patients: bool = True) -> dict[str, Any]:
        """Return what `status` shows of the pipeline."""
        status = told(trees=[self.images], gatherer=self, patients=patients)
        found: dict[str, Any] = status["pipelines"]["fusion"]
        return found

    def container(self) -> dict[str, Any]:
        """Return what is shown of the only container."""
        (found,) = self.status()["patients"]
        return dict(found)


@pytest.fixture
def waiting(tmp_path: Any) -> Waiting:
    """Return a pipeline for which nothing waits."""
    return Waiting(tmp_path)


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


def test_a_pipeline_is_told_with_what_waits(waiting: Waiting) -> None:
    """Containers and images are counted, what one job is is told, and nobody is named unless asked for."""
    waiting.store("1.1")
    waiting.store("1.2")
    waiting.store("1.3", series="1.9")
    status = waiting.status(patients=False)
    assert status == {
        "ae_title": "FUSION",
        "destinations": ["PACS"],
        "distribution": "fusion",
        "version": "1",
        "gather_by": "series",
        "held": {},
        "waiting": {"patients": 2, "images": 3},
    }
    assert json.loads(json.dumps(status)) == status
    named = waiting.status()
    assert [each["container_key"] for each in named["patients"]] == [KEY, f"P1/{STUDY}/1.9"]
    assert (named["rules"]["settle"], named["rules"]["expected_images"]) == (5.0, {"ct": 2})


def test_a_container_waits_for_open_associations(waiting: Waiting) -> None:
    """Their number, and for how long they hold it back at most."""
    waiting.store("1.1", "A")
    waiting.store("1.2", "B")
    waiting.wait(20.0)
    found = waiting.container()
    assert (found["container_key"], found["inputs"], found["quiet"]) == (KEY, {"ct": 2}, 20.0)
    assert (found["open_associations"], found["settled_in"], found["held"]) == (2, 100.0, None)
    assert found["waits_for"] == (
        "the end of 2 associations that brought images of it, for at most 100 s more"
    )
    assert found["missing"] is None


def test_a_container_settles(waiting: Waiting) -> None:
    """After the last association has ended, the seconds that are left are counted."""
    waiting.store("1.1")
    waiting.store("1.2")
    waiting.end()
    waiting.wait(2.0)
    found = waiting.container()
    assert (found["open_associations"], found["settled_in"], found["held"]) == (0, 3.0, None)
    assert found["waits_for"] == "3 s more in which no association brings an image of it"


def test_a_container_is_held_for_what_is_missing(waiting: Waiting) -> None:
    """Once nothing more is to be expected; the kind is counted without naming anybody."""
    waiting.store("1.1")
    waiting.end()
    assert waiting.container()["held"] is None
    waiting.wait(5.0)
    found = waiting.container()
    assert (found["held"], found["held_because"]) == ("incomplete", f"ct: {found['missing'][4:]}")
    assert "1 of 2" in found["missing"]
    assert found["settled_in"] is None
    assert waiting.status(patients=False)["held"] == {"incomplete": 1}


def test_a_container_is_held_after_an_abort(waiting: Waiting) -> None:
    """Also when it is complete: what to do is said."""
    waiting.store("1.1")
    waiting.store("1.2")
    waiting.end(released=False)
    waiting.wait(5.0)
    found = waiting.container()
    assert (found["held"], found["missing"]) == ("interrupted", None)
    assert "aborted or cut off: send them again, or start it with" in found["held_because"]


def test_a_container_is_held_as_late(waiting: Waiting) -> None:
    """With the number of the job that had started."""
    waiting.earlier = [EarlierJob(7, EarlierState.UNBUILT, frozenset({"1.8", "1.9"}), frozenset({SERIES}))]
    waiting.store("1.1")
    waiting.store("1.2")
    waiting.end()
    waiting.wait(5.0)
    found = waiting.container()
    assert found["held"] == "late"
    assert "job 7" in found["held_because"]


def test_a_check_of_a_plugin_that_fails_is_what_is_missing(waiting: Waiting) -> None:
    """The status is told all the same."""
    waiting.store("1.1")
    waiting.store("1.666")
    waiting.end()
    waiting.wait(5.0)
    found = waiting.container()
    assert found["missing"] == "ct: its validation raised RuntimeError: the check broke"
    assert (found["held"], found["held_because"]) == ("check failed", found["missing"])


def test_images_that_a_failed_job_has(waiting: Waiting) -> None:
    """They came again in part: nothing of them is in the tree, and yet it is said that they are held."""
    waiting.earlier = [EarlierJob(7, EarlierState.FAILED, frozenset({"1.8", "1.9"}), frozenset({SERIES}))]
    waiting.machine.handle(ImageStored(KEY, Member("1.8", SERIES, 7), "A"), waiting.now)
    waiting.end()
    waiting.wait(6.0)
    found = waiting.container()
    assert (found["container_key"], found["inputs"], found["quiet"], found["missing"]) == (KEY, {}, 6.0, None)
    assert found["held_because"] == "it is a part of job 7: 1 of its 2 images"


def test_what_waits_is_readable_in_80_columns(
    waiting: Waiting, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a key is longer than a line, on one of its own, so that it can be copied."""
    monkeypatch.setattr("dicomnode.cli.waiting.console", lambda: SimpleNamespace(width=80))
    waiting.store("1.1")
    waiting.end(released=False)
    waiting.wait(5.0)
    print_waiting({"fusion": waiting.status(), "other": {"patients": []}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "fusion (by series): 1 waits",
        "  settle 5 s, open_association_wait 120 s, late_images hold, expected_images of",
        "  ct 2",
        f"  {KEY}",
        "    images   ct 1; the last one came 5 s ago",
    ]
    assert lines[5].startswith("    held     interrupted: an association that brought images of it")
    assert lines[-1] == f"    missing  {waiting.container()['missing']}"
    assert [line for line in lines if len(line) > 80] == [f"  {KEY}"]


def test_what_is_held_is_said_without_names(waiting: Waiting) -> None:
    """Counts by reason, for `status` alone; nothing where there is nothing."""
    waiting.store("1.1")
    waiting.end(released=False)
    waiting.wait(5.0)
    assert held_kinds(waiting.status(patients=False)) == "1 container held (1 interrupted)"
    assert not held_kinds({"held": {}})


def test_what_is_printed_of_a_host_that_is_down(capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger knows keys and counts; nobody knows what is waited for."""
    container = {"container_key": "P1\x1b[2J", "inputs": {"ct": 2, "pet": 1}, "quiet": 7200.0}
    print_waiting({"fusion": {"patients": [container]}})
    assert capsys.readouterr().out.splitlines() == [
        "fusion: 1 waits",
        "  P1\\x1b[2J",
        "    images   ct 2, pet 1; the last one came 2 h ago",
    ]
