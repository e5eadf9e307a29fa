"""The sender of a simulation: what it finds in a folder, and what comes of each file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from dicomnode.host.dimse.store_handler import AssociationEnd
from dicomnode.host.simulation.sender import Sender
from dicomnode.host.simulation.sending import Found, SimulatedAssociation
from dicomnode.host.simulation.simulated_host import SimulatedHost
from dicomnode.testing import synthetic_series
from simulating import UNPROVEN, counting_installed, simulated_host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHost]:
    """Yield a simulated host with the pipeline ``counting``."""
    with counting_installed(tmp_path / "plugins"), simulated_host(tmp_path / "root") as (made, _, _):
        yield made


@pytest.fixture
def images() -> list[Dataset]:
    """Return three CT images."""
    return synthetic_series("CT", (3, 4, 4))


def written(path: Path, image: Dataset) -> Found:
    """Write an image into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, image, enforce_file_format=True)
    return Found(path, str(image.SeriesInstanceUID))


def key_of(image: Dataset) -> str:
    """Return the key of the container that an image gathers in: its series."""
    return f"{image.PatientID}/{image.StudyInstanceUID}/{image.SeriesInstanceUID}"


# -- what is found ----------------------------------------------------------------------------------------


def test_files_are_found_with_their_series(
    host: SimulatedHost, tmp_path: Path, images: list[Dataset]
) -> None:
    """In all folders below, by their paths; what is not DICOM is told apart."""
    second = written(tmp_path / "in" / "b" / "deep" / "1", images[0])
    first = written(tmp_path / "in" / "a.dcm", synthetic_series("MR", (1, 4, 4))[0])
    text, empty = tmp_path / "in" / "notes.txt", tmp_path / "in" / "b" / "empty"
    text.write_text("no DICOM")
    empty.touch()
    assert Sender(host).find(tmp_path / "in") == ([first, second], [empty, text])


def test_a_file_that_cannot_be_read_is_found_without_a_series(
    host: SimulatedHost, tmp_path: Path, images: list[Dataset]
) -> None:
    """It is DICOM by its beginning, and is sent, so that the host's refusal is seen."""
    cut = written(tmp_path / "in" / "cut", images[0]).path
    cut.write_bytes(cut.read_bytes()[:-9])
    assert Sender(host).find(tmp_path / "in") == ([Found(cut, "")], [])


def test_an_empty_folder_has_nothing(host: SimulatedHost, tmp_path: Path) -> None:
    """Neither images nor others."""
    (tmp_path / "in").mkdir()
    assert Sender(host).find(tmp_path / "in") == ([], [])


# -- what comes of it -------------------------------------------------------------------------------------


def test_a_wanted_image_waits_in_the_tree(host: SimulatedHost, tmp_path: Path, images: list[Dataset]) -> None:
    """Success, with whose it is and no input that speaks against it."""
    report = Sender(host).send(SimulatedAssociation(1), written(tmp_path / "0", images[0]))
    assert report == {
        "SOPInstanceUID": images[0].SOPInstanceUID,
        "status": 0x0000,
        "reason": None,
        "container_key": key_of(images[0]),
        "inputs": {"ct": None},
    }
    assert host.tree.counts() == {key_of(images[0]): {"ct": 1}}


def test_an_image_that_came_before_is_here_already(
    host: SimulatedHost, tmp_path: Path, images: list[Dataset]
) -> None:
    """Success again, and it is kept once."""
    sender, association, file = Sender(host), SimulatedAssociation(1), written(tmp_path / "0", images[0])
    sender.send(association, file)
    report = sender.send(association, file)
    assert (report["status"], report["reason"], report["inputs"]) == (0x0000, "it is here already", {})
    assert host.tree.counts() == {key_of(images[0]): {"ct": 1}}


def test_an_unwanted_image_says_why(host: SimulatedHost, tmp_path: Path) -> None:
    """For each input; nothing is kept."""
    file = written(tmp_path / "0", synthetic_series("MR", (1, 4, 4))[0])
    report = Sender(host).send(SimulatedAssociation(1), file)
    assert report["status"] == 0x0124
    assert report["inputs"] == {"ct": "Modality is MR, not CT"}
    assert not host.tree.counts()


def test_a_check_that_fails_says_what_it_raised(
    host: SimulatedHost, tmp_path: Path, images: list[Dataset]
) -> None:
    """The plugin's own error is in the reason, and no input has answered."""
    report = Sender(host).send(SimulatedAssociation(1), written(tmp_path / "2", images[2]))
    assert report["status"] == 0x0110
    assert "number 3" in report["reason"]
    assert report["inputs"] == {}


def test_an_image_of_an_unknown_class_has_no_presentation_context(
    host: SimulatedHost, tmp_path: Path, images: list[Dataset]
) -> None:
    """It gets no status, since it could not be sent."""
    images[0].SOPClassUID = images[0].file_meta.MediaStorageSOPClassUID = "1.2.3.4"
    report = Sender(host).send(SimulatedAssociation(1), written(tmp_path / "0", images[0]))
    assert report["status"] is None
    assert report["reason"] == (
        "the SOP class 1.2.3.4 (1.2.3.4) is no storage class that is known: no presentation context"
    )


def test_a_file_that_cannot_be_read_is_refused(
    host: SimulatedHost, tmp_path: Path, images: list[Dataset]
) -> None:
    """With a status of failure, as the receiver refuses it."""
    file = written(tmp_path / "0", images[0])
    file.path.write_bytes(file.path.read_bytes()[:-9])
    report = Sender(host).send(SimulatedAssociation(1), file)
    assert report["status"] & 0xF000 == 0xC000
    assert report["reason"]
    assert report["container_key"] is None
    assert not host.tree.counts()


def test_nothing_is_left_of_an_image_that_is_not_kept(host: SimulatedHost, tmp_path: Path) -> None:
    """The file that the spool wrote for it is gone."""
    before = {path for path in host.data.spool.rglob("*") if path.is_file()}
    Sender(host).send(SimulatedAssociation(1), written(tmp_path / "0", synthetic_series("MR", (1, 4, 4))[0]))
    assert {path for path in host.data.spool.rglob("*") if path.is_file()} == before


# -- how an association ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aborted", "end", "jobs"), [(False, AssociationEnd.RELEASED, 1), (True, AssociationEnd.ABORTED, 0)]
)
def test_only_a_release_completes(
    tmp_path: Path, images: list[Dataset], *, aborted: bool, end: AssociationEnd, jobs: int
) -> None:
    """A container that is complete becomes a job when its association is released, not when it is aborted."""
    with counting_installed(tmp_path / "plugins", UNPROVEN), simulated_host(tmp_path / "root") as (host, *_):
        sender, association = Sender(host), SimulatedAssociation(1, aborted=aborted)
        for number, image in enumerate(images[:2]):
            sender.send(association, written(tmp_path / str(number), image))
        host.due.run_due()
        assert not host.ledger.jobs()
        assert sender.end(association) is end
        host.due.run_due()
        host.clock.advance(host.configured.policy.settle)
        host.due.run_due()
        host.ledger.flush()
        assert len(host.ledger.jobs()) == jobs


def test_what_is_proven_to_be_whole_waits_for_no_release(
    host: SimulatedHost, tmp_path: Path, images: list[Dataset]
) -> None:
    """The last image that is expected makes the job, while the association is open."""
    sender, association = Sender(host), SimulatedAssociation(1)
    for count, image in enumerate(images[:2]):
        host.due.run_due()
        assert len(host.ledger.jobs()) == 0
        sender.send(association, written(tmp_path / str(count), image))
    host.due.run_due()
    host.ledger.flush()
    assert len(host.ledger.jobs()) == 1
