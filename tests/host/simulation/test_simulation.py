"""One pipeline on a folder: what is sent, what time does, and what is told of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config
from dicomnode.host.isolation.isolation import Isolation
from dicomnode.host.ledger.states import JobState
from dicomnode.host.simulation.sending import SendingOptions
from dicomnode.host.simulation.simulation import Simulated, Simulation
from dicomnode.testing import synthetic_series
from simulating import ONLY, UNPROVEN, counting_installed

Simulate = Callable[..., Simulated]


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Simulate]:
    """Yield what simulates the pipeline ``counting`` on images, in this process."""

    def run(images: list[Dataset], options: SendingOptions | None = None, **table: Any) -> Simulated:
        for number, image in enumerate(images):
            dcmwrite(tmp_path / "in" / str(number), image, enforce_file_format=True)
        config = Config.model_validate({"plugins": {"only": ONLY}, "pipelines": {"counting": table}})
        with Isolation(tmp_path / "environments") as environments:
            simulation = Simulation(
                config, "counting", tmp_path / "root", environments, out=tmp_path / "out", in_process=True
            )
            return simulation.run(tmp_path / "in", options or SendingOptions())

    (tmp_path / "in").mkdir()
    with counting_installed(tmp_path / "plugins"):
        yield run


def key_of(image: Dataset) -> str:
    """Return the key of the container that an image gathers in: its series."""
    return f"{image.PatientID}/{image.StudyInstanceUID}/{image.SeriesInstanceUID}"


def ct(count: int = 2) -> list[Dataset]:
    """Return CT images of one series."""
    return synthetic_series("CT", (count, 4, 4))


def test_images_become_a_job_and_its_result(simulate: Simulate, tmp_path: Path) -> None:
    """The timeline has the images and the association's end; the job has inputs, state and results."""
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    simulated = simulate(ct())
    assert (simulated.pipeline, simulated.ae_title, simulated.plugin) == (
        "counting",
        "COUNTING",
        "counting 1.0",
    )
    assert simulated.skipped == [str(tmp_path / "in" / "notes.txt")]
    images = [(Path(each["image"]).name, each["status"]) for each in simulated.timeline if "image" in each]
    assert images == [("0", 0), ("1", 0)]
    assert [each["ends"] for each in simulated.timeline if "ends" in each] == ["released"]
    (job,) = simulated.jobs
    assert (job["state"], job["container_key"]) == (JobState.DELIVERED, key_of(ct()[0]))
    assert (job["inputs"], job["started_because"]) == ({"ct": 2}, "ct: 2 of 2 images (expected_images)")
    (result,) = job["results"]
    assert (result["output"], result["file_name"]) == ("file", "count.txt")
    assert result["destinations"] == ["file:results"]
    (report,) = (tmp_path / "out").rglob("count*.txt")
    assert report.read_text() == f"2 in process {os.getpid()}"
    assert simulated.waiting == []
    assert simulated.succeeded


def test_an_incomplete_patient_is_told_with_what_is_missing(simulate: Simulate) -> None:
    """Without a job nothing has succeeded."""
    simulated = simulate(ct(1))
    assert simulated.waiting == [
        {
            "container_key": key_of(ct()[0]),
            "inputs": {"ct": 1},
            "missing": "ct: 1 of 2 images",
            "held": "incomplete",
            "waits_for": "ct: 1 of 2 images",
        }
    ]
    assert not simulated.jobs
    assert not simulated.succeeded


def test_time_passes_by_images_and_by_the_gap(simulate: Simulate) -> None:
    """Each image takes a twentieth of a second, and the gap follows the end of an association."""
    simulated = simulate(ct(), SendingOptions(associations="image", gap=5.0))
    moments = [each["at"] for each in simulated.timeline if "image" in each or "ends" in each]
    assert moments == [0.05, 0.05, 5.1, 5.1]


def test_what_is_due_later_happens_at_its_virtual_time(simulate: Simulate) -> None:
    """A patient that stays incomplete expires after ten days, and no longer waits."""
    simulated = simulate(ct(1), expires="10 d")
    (expired,) = (each["at"] for each in simulated.timeline if "expired" in each.get("event", ""))
    assert expired == pytest.approx(0.05 + 864_000)
    assert simulated.waiting == []


def test_an_aborted_association_says_so(simulate: Simulate, tmp_path: Path) -> None:
    """It completes nothing, also where all images came."""
    with counting_installed(tmp_path / "unproven", UNPROVEN):
        simulated = simulate(ct(), SendingOptions(abort=2, resend=False))
    assert [each["ends"] for each in simulated.timeline if "ends" in each] == ["aborted"]
    (waiting,) = simulated.waiting
    assert (waiting["inputs"], waiting["missing"], waiting["held"]) == ({"ct": 2}, None, "interrupted")
    assert "was aborted or cut off" in waiting["waits_for"]
    assert not simulated.jobs


def test_what_is_told_is_plain_data(simulate: Simulate) -> None:
    """It goes through JSON unchanged, with whether it succeeded."""
    plain = simulate(ct()).to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["succeeded"] is True


@pytest.mark.parametrize(
    ("states", "succeeded"),
    [
        ([], False),
        ([JobState.DELIVERED], True),
        ([JobState.DELIVERED, JobState.FAILED], False),
        ([JobState.QUEUED], False),
    ],
)
def test_it_succeeds_where_every_job_was_delivered(states: list[JobState], succeeded: bool) -> None:
    """And where there was one at all."""
    simulated = Simulated("counting", "COUNTING", "counting 1.0", jobs=[{"state": each} for each in states])
    assert simulated.succeeded is succeeded
    assert simulated.to_json()["succeeded"] is succeeded


def test_a_folder_without_dicom_is_an_error(simulate: Simulate, tmp_path: Path) -> None:
    """With the folder."""
    with pytest.raises(ConfigurationError, match=f"there is no DICOM file in {tmp_path / 'in'}"):
        simulate([])


def test_a_pipeline_that_is_not_installed_is_an_error(tmp_path: Path) -> None:
    """Before anything is made."""
    config = Config.model_validate({"plugins": {"only": ONLY}})
    with (
        Isolation(tmp_path / "environments") as environments,
        pytest.raises(ConfigurationError, match="'nothing'"),
    ):
        Simulation(config, "nothing", tmp_path / "root", environments)
    assert not (tmp_path / "root").exists()
