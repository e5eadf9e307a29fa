"""What ``process`` receives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset

from dicomnode import (
    AbstractInput,
    Blueprint,
    CopyElement,
    FillingStrategy,
    InputContainer,
    Job,
    NumpyFactory,
    StaticElement,
)
from dicomnode.testing import synthetic_series


def _images(count: int = 2) -> list[Dataset]:
    return list(synthetic_series("CT", (count, 4, 4), PatientID="4711"))


class _Ground(AbstractInput):
    """Counts how often it is ground."""

    times = 0

    def ground(self) -> int:
        type(self).times += 1
        return len(self)


def _received(tmp_path: Path, **images: list[Dataset]) -> InputContainer:
    inputs: dict[str, AbstractInput] = {}
    for name, each in images.items():
        kind = type("Images", (_Ground,), {"times": 0, "optional": True})
        inputs[name] = kind(name)
        for image in each:
            inputs[name].insert(image)
    return InputContainer(
        inputs,
        blueprint=Blueprint(
            [
                CopyElement("PatientID"),
                CopyElement("SOPClassUID"),
                StaticElement("SeriesDescription", "made"),
            ]
        ),
        filling_strategy=FillingStrategy.DISCARD,
        header_input="first",
        job=Job("7", "identity", tmp_path),
    )


def test_an_input_is_ground_when_it_is_first_asked_for(tmp_path: Path) -> None:
    """A large volume that ``process`` does not use is never made, and no volume twice."""
    container = _received(tmp_path, first=_images(2), second=_images(3))
    assert list(container) == ["first", "second"]
    assert len(container) == 2
    kinds = [type(each) for each in container._inputs.values()]
    assert [kind.times for kind in kinds] == [0, 0]  # type: ignore[attr-defined]  # of _Ground
    assert container["second"] == container["second"] == 3
    assert [kind.times for kind in kinds] == [0, 1]  # type: ignore[attr-defined]  # of _Ground
    assert len(container.images("first")) == 2
    assert len(container.sources) == 5


def test_the_patient_of_the_header_input(tmp_path: Path) -> None:
    """Who the images are of, as the first image of that input says; attributes that it lacks are empty."""
    images = _images(1)
    del images[0].PatientBirthDate
    patient = _received(tmp_path, first=images).patient
    assert (patient.PatientID, patient.PatientBirthDate) == ("4711", "")
    assert patient.StudyInstanceUID == images[0].StudyInstanceUID


def test_a_header_of_an_input_that_is_empty(tmp_path: Path) -> None:
    """Where the header's input is optional and empty, the first that has images stands in for it."""
    container = _received(tmp_path, first=[], second=_images(2))
    assert container.patient.PatientID == "4711"
    built = NumpyFactory().build_series(container.header, np.zeros((2, 4, 4), np.uint8))
    assert {(each.PatientID, each.SeriesDescription) for each in built} == {("4711", "made")}


def test_uids_derive_from_the_jobs_identity(tmp_path: Path) -> None:
    """The same job makes the same UIDs when it runs again."""
    images = _images(1)
    first, again = (_received(tmp_path, first=images).header for _ in range(2))
    pixels = np.zeros((1, 4, 4), np.uint8)
    uids = [
        [each.SOPInstanceUID for each in NumpyFactory().build_series(made, pixels)] for made in (first, again)
    ]
    assert uids[0] == uids[1] != [images[0].SOPInstanceUID]
