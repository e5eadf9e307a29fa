"""What waits, as `status --patients` shows it: what each container has, waits for, and why it is held."""

from __future__ import annotations

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
from dicomnode.host.gathering.messages import (
    Assessment,
    AssociationEnded,
    EarlierJob,
    EarlierState,
    ImageStored,
    Member,
)
from dicomnode.host.gathering.state_machine import Gathering, Policy
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.operation.live_status import live_status
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry

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


class Pipeline(AbstractPipeline):
    """One that makes nothing."""

    inputs = {"ct": Two}
    settle = 5.0
    open_association_wait = 120.0

    def process(self, inputs: Any) -> NoOutput:
        """Do nothing."""
        return NoOutput()


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
            Policy(configured.rules.settle, configured.rules.open_association_wait),
            self.assess,
            lambda _key: self.earlier,
        )

    def assess(self, key: str) -> Assessment:
        """Return what the inputs say, as the host asks them."""
        found = self.images.completeness(key)
        assert found is not None
        return Assessment({"ct": tuple(self.images.members(key))}, str(found), "")

    def store(self, uid: str, association: str = "A") -> None:
        """Have an image come."""
        values = {**OF_ALL, "SOPInstanceUID": uid}
        index = {
            int(Tag(keyword)) | bits: text for keyword, text in values.items() for bits in (0, STORED_BYTES)
        }
        image = LazyDataset(self.folder / f"{uid}.dcm", index)
        self.images.insert(image, self.images.place(image), lambda: None)
        self.machine.handle(ImageStored(KEY, Member(uid, SERIES), association), self.now)

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
        told = live_status(
            ae_title="NODE",
            address=("127.0.0.1", 11112),
            started=0.0,
            reserve=0,
            trees=[self.images],
            gatherer=self,  # type: ignore[arg-type]  # as much of it as is asked
            backoffs={},
            unstoppable=(),
            patients=patients,
        )
        found: dict[str, Any] = told["pipelines"]["fusion"]
        return found

    def container(self) -> dict[str, Any]:
        """Return what is shown of the only container."""
        (found,) = self.status()["patients"]
        return dict(found)


@pytest.fixture
def waiting(tmp_path: Any) -> Waiting:
    """Return a pipeline for which nothing waits."""
    return Waiting(tmp_path)


def test_patients_are_named_only_where_they_are_asked_for(waiting: Waiting) -> None:
    """What one job is, and the counts, are shown always."""
    waiting.store("1.1")
    told = waiting.status(patients=False)
    assert "patients" not in told
    assert "P1" not in str(told)
    assert (told["gather_by"], told["held"]) == ("series", {})
    assert told["waiting"] == {"patients": 1, "images": 1}


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
    assert lines[:3] == [
        "fusion (by series): 1 waits",
        f"  {KEY}",
        "    images   ct 1; the last one came 5 s ago",
    ]
    assert lines[3].startswith("    held     interrupted: an association that brought images of it")
    assert lines[-1] == f"    missing  {waiting.container()['missing']}"
    assert [line for line in lines if len(line) > 80] == [f"  {KEY}"]


def test_what_is_held_is_said_without_names(waiting: Waiting) -> None:
    """Counts by reason, for `status` alone; nothing where there is nothing."""
    waiting.store("1.1")
    waiting.end(released=False)
    waiting.wait(5.0)
    assert held_kinds(waiting.status(patients=False)) == "1 interrupted: held, see `status --patients`"
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
