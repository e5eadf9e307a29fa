"""The inputs of one container: which images they hold, what is missing, what a job would get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import Dataset

from dicomnode import AbstractInput, PatientContainer, SeriesTree
from dicomnode.errors import ImageRefusedError
from dicomnode.testing import synthetic_series


class _Plain(AbstractInput):
    pass


class _Other(AbstractInput):
    pass


def _container() -> PatientContainer:
    return PatientContainer("1.2.3", {"plain": _Plain, "other": _Other})


def _images(count: int = 2) -> list[Dataset]:
    return list(synthetic_series("CT", (count, 4, 4), PatientID="4711"))


def test_an_image_is_in_the_inputs_that_want_it() -> None:
    """An image is added to the named inputs only, and removed from all of them at once."""
    container, (one, two) = _container(), _images()
    assert not len(container)
    container.insert(one, ("plain", "other"))
    container.insert(two, ("other",))
    assert {name: len(held) for name, held in container.inputs.items()} == {"plain": 1, "other": 2}
    container.remove(str(one.SOPInstanceUID))
    assert {name: len(held) for name, held in container.inputs.items()} == {"plain": 0, "other": 1}
    assert len(container) == 1


def test_the_patient_id_is_not_the_container_key() -> None:
    """A container that gathers by something else has the Patient ID of its first image beside its key."""
    container, (one, two) = _container(), _images()
    assert (container.container_key, container.patient_id) == ("1.2.3", "")
    container.insert(one, ("other",))
    assert (container.container_key, container.patient_id) == ("1.2.3", "4711")
    del two.PatientID
    container.remove(str(one.SOPInstanceUID))
    container.insert(two, ("other",))
    assert container.patient_id == ""


class _CT(AbstractInput):
    required_values = {"Modality": "CT"}


class _Largest(_CT):
    def choose_series(self, candidates: Sequence[SeriesTree]) -> SeriesTree:
        return max(candidates, key=len)


class _Unknown(_CT):
    def choose_series(self, candidates: Sequence[SeriesTree]) -> str:
        return "1.2.3.4"


def _series(count: int, number: int) -> list[Dataset]:
    images = list(synthetic_series("CT", (count, 4, 4), PatientID="4711"))
    for position, image in enumerate(images):
        image.SeriesInstanceUID, image.SOPInstanceUID = f"1.2.{number}", f"1.2.{number}.{position}"
        image.StudyInstanceUID = "1.2"
    return images


def test_it_is_a_tree_of_images() -> None:
    """It adds by the rules, iterates over images, counts, and refuses with the reasons of each input."""
    container, images = PatientContainer("4711", {"ct": _CT}), _images()
    assert container.add_images(images) == 2
    assert list(container) == images
    assert (len(container), container.counts()) == (2, {"ct": 2})
    images[0].Modality = "MR"
    with pytest.raises(ImageRefusedError, match="ct: Modality is MR, not CT"):
        PatientContainer("4711", {"ct": _CT}).add_image(images[0])


def test_several_series_where_one_is_taken() -> None:
    """Without a choice nothing is complete, and the series that fit are named with their sizes."""
    container = PatientContainer("4711", {"ct": _CT})
    container.add_images([*_series(2, 1), *_series(3, 2)])
    said = "ct: 2 series fit, and a job takes one: 1.2.1 (2 images), 1.2.2 (3 images)"
    assert container.missing() == said
    assert container.completeness().undecided == said


def test_the_author_chooses_a_series() -> None:
    """A job gets the series that choose_series returns, and nothing of the others."""
    container = PatientContainer("4711", {"ct": _Largest})
    container.add_images([*_series(2, 1), *_series(3, 2)])
    found = container.completeness()
    assert not found.missing
    assert [image.SeriesInstanceUID for image in found.images] == ["1.2.2"] * 3
    assert len(container) == 5


def test_a_choice_of_what_is_not_there() -> None:
    """A choice that is none of the candidates holds the container back, and names the class."""
    container = PatientContainer("4711", {"ct": _Unknown})
    container.add_images([*_series(1, 1), *_series(1, 2)])
    assert (
        container.missing() == "ct: _Unknown.choose_series chose '1.2.3.4', which is none of the candidates"
    )


def test_the_operator_chooses_a_series() -> None:
    """A series that somebody named is what a job gets, whatever the author would choose."""
    container = PatientContainer("4711", {"ct": _CT})
    container.add_images([*_series(2, 1), *_series(3, 2)])
    found = container.completeness(chosen={"ct": "1.2.1"})
    assert (str(found), len(found.images)) == ("", 2)


def test_two_studies_where_one_is_taken() -> None:
    """An input that takes several series takes those of one study."""
    kind = type("Series", (_CT,), {"several_series": True})
    container = PatientContainer("4711", {"ct": kind})
    images = [*_series(1, 1), *_series(1, 2)]
    images[1].StudyInstanceUID = "1.3"
    container.add_images(images)
    assert container.missing() == "ct: images of 2 studies, and a job takes one: 1.2, 1.3"


def test_the_proof_of_a_container() -> None:
    """A container is proven to be whole when each of its inputs is; silence proves nothing."""
    counted = type("Counted", (_CT,), {"expected_images": 2})
    container = PatientContainer("4711", {"ct": counted})
    container.add_images(_series(2, 1))
    assert container.completeness().proof == "ct: 2 of 2 images (expected_images)"
    both = PatientContainer("4711", {"ct": counted, "other": type("Other", (_Other,), {"optional": True})})
    both.insert(_series(1, 1)[0], ("ct",))
    both.insert(_series(2, 1)[1], ("ct",))
    assert (both.missing(), both.completeness().proof) == (None, "")


def test_a_part_of_a_container() -> None:
    """Filtered, it holds the wanted images in their inputs; the container itself is as before."""
    container, images = _container(), _images(3)
    container.insert(images[0], ("plain", "other"))
    container.insert(images[1], ("other",))
    container.insert(images[2], ("plain",))
    kept = container.filter(lambda image: image is not images[0])
    assert (kept.container_key, list(kept)) == ("1.2.3", images[1:])
    assert kept.counts() == {"plain": 1, "other": 1}
    kept.remove(str(images[1].SOPInstanceUID))
    assert kept.counts() == {"plain": 1, "other": 0}
    assert (len(container), container.counts()) == (3, {"plain": 2, "other": 2})


def test_a_folder_is_added_by_its_path(tmp_path: Path) -> None:
    """What was saved is added by the folder's path; what no input takes is left out."""
    container = PatientContainer("4711", {"ct": _CT})
    container.add_images(_images(3))
    container.save(tmp_path)
    synthetic_series("MR", (1, 4, 4))[0].save_as(tmp_path / "mr.dcm", enforce_file_format=True)
    again = PatientContainer("4711", {"ct": _CT})
    assert (again.add_images(tmp_path), again.counts()) == (3, {"ct": 3})


class _Raising(_CT):
    def validate(self) -> bool:
        raise ZeroDivisionError("no slice")


def test_what_is_printed() -> None:
    """A line for each input: how many images, and what it is missing; code that raises ends no print."""
    container = PatientContainer("47\x1b[2J11", {"ct": _CT, "other": _Raising})
    container.insert(_images(1)[0], ("other",))
    assert str(container).splitlines() == [
        r"PatientContainer 47\x1b[2J11: 1 image",
        "├── ct: 0 images (no image yet)",
        "└── other: 1 image (its validation raised ZeroDivisionError: no slice)",
    ]
