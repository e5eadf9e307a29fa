"""Grinders: volumes out of every way to store pixels, and what the other grinders give."""

import pickle

import numpy as np
import pytest

from dicomnode.dicom.geometry import grinders
from dicomnode.dicom.geometry.grinders import (
    DicomTreeGrinder,
    Grinder,
    ListGrinder,
    ManyGrinder,
    NumpyGrinder,
    TagGrinder,
)
from dicomnode.errors import GeometryError
from pixel_images import RAMP, with_pixels
from sources import ct_slices, mr_slices

# -- the array --------------------------------------------------------------------------------------------


def test_a_volume_knows_its_sources_in_order():
    """Source n is slice n."""
    volume = NumpyGrinder()(ct_slices()[::-1])
    heights = [image.ImagePositionPatient[2] for image in volume.sources]
    assert heights == sorted(heights)
    assert np.allclose(volume.positions[:, 2], heights)
    assert volume.FrameOfReferenceUID == volume.sources[0].FrameOfReferenceUID


def test_images_without_a_place_are_stacked_only_on_request():
    """By InstanceNumber, and the volume knows no affine."""
    images = [with_pixels(RAMP + n, InstanceNumber=9 - n, SOPInstanceUID=f"1.2.{n}") for n in range(3)]
    with pytest.raises(GeometryError, match="say where they lie nowhere"):
        NumpyGrinder()(images)
    volume = NumpyGrinder(require_geometry=False)(images)
    assert volume.affine is None
    assert volume.array[:, 0, 0].tolist() == [2, 1, 0]


def test_a_tilted_stack_is_taken_only_on_request():
    """Its affine is then a shear."""
    images = ct_slices()
    for image in images:
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y + 0.2 * z, z]
    with pytest.raises(GeometryError, match="gantry tilt"):
        NumpyGrinder()(images)
    assert NumpyGrinder(allow_tilt=True)(images).affine[1, 0] != 0


# -- other grinders ---------------------------------------------------------------------------------------


def test_a_list_is_in_geometric_order():
    """As far as the images have one; none make an empty list."""
    listed = ListGrinder()(ct_slices()[::-1])
    heights = [image.ImagePositionPatient[2] for image in listed]
    assert heights == sorted(heights)
    assert ListGrinder()([]) == []


def test_a_tree_holds_all_images():
    """Patients, studies, series."""
    tree = DicomTreeGrinder()([*ct_slices(), *mr_slices()])
    assert len(tree) == 9
    assert len({image.SeriesInstanceUID for image in tree}) == 2


def test_values_of_attributes_come_slice_by_slice():
    """One attribute gives values, several tuples; what is missing is None."""
    images = ct_slices()
    del images[0].InstanceNumber
    numbers = TagGrinder("InstanceNumber")(images)
    assert sorted(number for number in numbers if number is not None) == sorted(
        image.InstanceNumber for image in images[1:]
    )
    assert numbers.count(None) == 1
    assert TagGrinder("Modality", (0x0028, 0x0010))(images) == [("CT", 16)] * 5


def test_several_grinders_see_the_same_images():
    """By position a tuple, by name a dict; also from an iterator that can be read once."""
    volume, modalities = ManyGrinder(NumpyGrinder(), TagGrinder("Modality"))(iter(ct_slices()))
    assert volume.shape == (5, 16, 16)
    assert modalities == ["CT"] * 5
    named = ManyGrinder(volume=NumpyGrinder(), images=ListGrinder())(iter(ct_slices()))
    assert set(named) == {"volume", "images"}


def test_grinders_that_cannot_be_are_refused():
    """Mixed by position and name, or not callable."""
    with pytest.raises(TypeError, match="by position or by name"):
        ManyGrinder(ListGrinder(), volume=NumpyGrinder())
    with pytest.raises(TypeError, match="cannot be called"):
        ManyGrinder("volume")


GRINDERS = [
    NumpyGrinder(),
    NumpyGrinder(dtype=np.float64, allow_tilt=True),
    ListGrinder(),
    DicomTreeGrinder(),
    TagGrinder("Modality"),
    ManyGrinder(NumpyGrinder(), ListGrinder()),
    ManyGrinder(volume=NumpyGrinder()),
]


@pytest.mark.parametrize("grinder", GRINDERS, ids=repr)
def test_grinders_travel_and_compare(grinder):
    """They are pickled to a worker, equal by their settings, and hashable."""
    again = pickle.loads(pickle.dumps(grinder))
    assert again == grinder
    assert hash(again) == hash(grinder)
    assert isinstance(grinder, Grinder)
    assert sum(other == grinder for other in GRINDERS) == 1


def test_everything_public_is_exported():
    """The module's own list is complete."""
    public = {name for name, value in vars(grinders).items() if isinstance(value, type) and "Grinder" in name}
    assert public == set(grinders.__all__)
