"""What a simulation has of its own: time, images that are watched, destinations, and an executor."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from threading import get_ident
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from pydicom import dcmwrite

from dicomnode import AbstractInput, AbstractPipeline, NoOutput
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.host.configuration.config import PipelineTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.gathering.waiting_images import CheckFailedError
from dicomnode.host.simulation.parts import (
    InThisProcess,
    SimulatedDestination,
    VirtualClock,
    WatchedImages,
    simulated_destinations,
)
from dicomnode.pipeline.destination import Delivery, OutboxItem, Outcome
from dicomnode.pipeline.pipeline_tree import Admission
from dicomnode.plugins.hooks import Hooks
from dicomnode.plugins.registry import Registry
from dicomnode.testing import synthetic_series


class CT(AbstractInput):
    """CT images; the check fails for the third."""

    required_values: ClassVar = {"Modality": "CT"}

    def validate_image(self, image: Any) -> str | None:
        """Fail for the image that is number 3."""
        if image.InstanceNumber == 3:
            raise ValueError("number 3")
        return None


class Pipeline(AbstractPipeline):
    """One input of CT images."""

    inputs: ClassVar = {"ct": CT}

    def process(self, inputs: Any) -> NoOutput:
        """Make nothing."""
        return NoOutput()


@pytest.fixture
def waiting() -> WatchedImages:
    """Return what waits for the pipeline: nothing."""
    registration: Any = SimpleNamespace(name="only", distribution="acme", version="1")
    configured = ConfiguredPipeline("only", Pipeline(), "ONLY", (), PipelineTable(), registration)
    return WatchedImages(configured, Hooks(Registry(only=())), VirtualClock())


def lazy(folder: Path, modality: str, index: int) -> LazyDataset:
    """Write an image, and return it as the host has it."""
    image = synthetic_series(modality, (3, 4, 4))[index]
    path = folder / f"{modality}{index}.dcm"
    dcmwrite(path, image, enforce_file_format=True)
    return LazyDataset(path)


def item(folder: Path, name: str, content: bytes = b"content") -> OutboxItem:
    """Return a file of the outbox."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return OutboxItem("file", folder / name, file_name=name)


# -- time -------------------------------------------------------------------------------------------------


def test_a_virtual_clock_stands_until_it_is_advanced() -> None:
    """It begins at nought, and adds up what it is advanced by."""
    clock = VirtualClock()
    assert [clock(), clock()] == [0.0, 0.0]
    clock.advance(1.5)
    clock.advance(3600)
    assert clock() == clock.seconds == 3601.5


# -- what waits -------------------------------------------------------------------------------------------


def test_what_inputs_say_is_remembered(waiting: WatchedImages, tmp_path: Path) -> None:
    """Under the SOP Instance UID; of a wanted image and of one that nobody wants."""
    wanted, unwanted = lazy(tmp_path, "CT", 0), lazy(tmp_path, "MR", 0)
    returned = {str(image.SOPInstanceUID): waiting.admission(image) for image in (wanted, unwanted)}
    assert waiting.said == returned
    assert [each.reasons for each in returned.values()] == [{"ct": None}, {"ct": "Modality is MR, not CT"}]


def test_the_last_answer_is_remembered(waiting: WatchedImages, tmp_path: Path) -> None:
    """An image that is asked about again has one entry."""
    image = lazy(tmp_path, "CT", 0)
    waiting.admission(image)
    again = waiting.admission(image)
    assert waiting.said[str(image.SOPInstanceUID)] is again
    assert isinstance(again, Admission)


def test_why_a_check_failed_is_remembered(waiting: WatchedImages, tmp_path: Path) -> None:
    """The error and its cause in words; the error is raised all the same."""
    image = lazy(tmp_path, "CT", 2)
    with pytest.raises(CheckFailedError) as raised:
        waiting.admission(image)
    assert waiting.said == {str(image.SOPInstanceUID): f"{raised.value} (number 3)"}


# -- destinations -----------------------------------------------------------------------------------------


def test_a_destination_without_a_folder_confirms_and_keeps_nothing(tmp_path: Path) -> None:
    """Each item in its order; the outcome says that it was simulated."""
    items = [item(tmp_path / "out", name) for name in ("a", "b")]
    destination = SimulatedDestination("PACS", takes_files=False, folder=None)
    confirmed = Outcome(Delivery.CONFIRMED, "simulated")
    assert list(destination.send(items)) == [(each, confirmed) for each in items]


def test_a_destination_with_a_folder_puts_the_files_there(tmp_path: Path) -> None:
    """Under their names, and confirms them."""
    destination = SimulatedDestination("PACS", takes_files=False, folder=tmp_path / "kept")
    outcomes = [outcome.delivery for _, outcome in destination.send([item(tmp_path / "out", "a.dcm", b"x")])]
    assert outcomes == [Delivery.CONFIRMED]
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()} == {"a.dcm": b"x"}


@pytest.mark.parametrize("takes_files", [False, True])
def test_a_destination_is_as_the_one_whose_place_it_takes(takes_files: bool) -> None:
    """Its name, and whether it takes files that are not DICOM."""
    destination = SimulatedDestination("PACS", takes_files=takes_files, folder=None)
    assert (destination.name, destination.takes_files) == ("PACS", takes_files)


def test_what_was_broken_off_is_sent_all_the_same(tmp_path: Path) -> None:
    """Nothing waits, so that nothing is there to end."""
    destination = SimulatedDestination("PACS", takes_files=True, folder=None)
    destination.break_off()
    assert len(list(destination.send([item(tmp_path / "out", "a")]))) == 1


@pytest.mark.parametrize(
    ("used", "expected"),
    [(("PACS",), [""]), (("PACS", "file:/srv/r"), ["PACS", "file_srv_r"])],
    ids=["one", "several"],
)
def test_several_destinations_have_a_folder_each(
    tmp_path: Path, used: tuple[str, ...], expected: list[str]
) -> None:
    """One destination puts its files directly into the folder that was asked for."""
    names, out = {"PACS": False, "file:/srv/r": True}, tmp_path / "results"
    destinations = simulated_destinations(names, out, used)
    assert {name: each.takes_files for name, each in destinations.items()} == names
    for name in used:
        list(destinations[name].send([item(tmp_path / "out", "a")]))
    folders = sorted(path.parent.relative_to(out).name.split("~")[0] for path in out.rglob("a"))
    assert folders == expected


def test_destinations_without_a_folder_write_nothing(tmp_path: Path) -> None:
    """Also where there are several."""
    destinations = simulated_destinations({"A": False, "B": True}, None, ("A", "B"))
    sent = item(tmp_path / "out", "a")
    for each in destinations.values():
        assert [outcome.reason for _, outcome in each.send([sent])] == ["simulated"]
    assert list(tmp_path.rglob("*")) == [tmp_path / "out", tmp_path / "out" / "a"]


# -- the executor -----------------------------------------------------------------------------------------


def test_a_job_in_this_process_runs_where_it_is_submitted() -> None:
    """On the same thread, with its arguments, and it is over when the future is returned."""
    future: Future[Any] = InThisProcess().submit(lambda *args, **named: (get_ident(), args, named), 1, by=2)
    assert future.done()
    assert future.result() == (get_ident(), (1,), {"by": 2})


def test_what_a_job_in_this_process_raises_is_in_the_future() -> None:
    """The one that submits it is not disturbed."""
    error = RuntimeError("no model")

    def fail() -> None:
        raise error

    assert InThisProcess().submit(fail).exception() is error


def test_an_interrupt_ends_whoever_submitted() -> None:
    """Somebody at the keyboard stops the simulation, not only its job."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InThisProcess().submit(interrupted)
