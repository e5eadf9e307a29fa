"""What holds the images of one patient while they gather, and when ``process`` receives them."""

from __future__ import annotations

from pydicom import Dataset

from dicomnode import AbstractInput
from dicomnode.pipeline.container import PatientContainer
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
    assert container.empty
    container.insert(one, ("plain", "other"))
    container.insert(two, ("other",))
    assert {name: len(held) for name, held in container.items()} == {"plain": 1, "other": 2}
    container.remove(str(one.SOPInstanceUID))
    assert {name: len(held) for name, held in container.items()} == {"plain": 0, "other": 1}
    assert not container.empty


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
