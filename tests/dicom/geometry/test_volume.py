"""Volumes: arrays that know where they lie."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.errors import GeometryError
from sources import ct_slices

AFFINE = np.array([[0.1, 0.2, 0.7, -100.0], [0, 0.8, 0, -90.0], [2.5, 0, 0.1, 12.0], [0, 0, 0, 1]])
places = arrays.arrays(np.float64, (4, 3), elements=st.floats(-1000, 1000))


@given(places)
def test_indices_and_positions_are_inverse(index):
    """There and back again."""
    volume = Volume(np.zeros((2, 3, 4)), AFFINE)
    assert np.allclose(volume.to_index(volume.to_patient(index)), index, atol=1e-6)


def test_positions_are_those_of_the_images():
    """The first voxel of each slice lies where the image says (PS3.3 C.7.6.2.1.1)."""
    volume = NumpyGrinder()(ct_slices())
    for number, image in enumerate(volume.sources):
        assert np.allclose(volume.positions[number], image.ImagePositionPatient)
        assert np.allclose(volume.to_patient([number, 0, 0]), image.ImagePositionPatient)
    row, column = (float(spacing) for spacing in volume.sources[0].PixelSpacing)
    assert volume.spacing[1:] == pytest.approx((row, column))
    assert np.allclose(volume.orientation, volume.sources[0].ImageOrientationPatient)


def test_a_column_index_moves_along_the_row():
    """The row direction is that in which columns count."""
    volume = NumpyGrinder()(ct_slices())
    step = volume.to_patient([0, 0, 1]) - volume.to_patient([0, 0, 0])
    along = np.array(volume.sources[0].ImageOrientationPatient[:3], float)
    assert np.allclose(step, along * float(volume.sources[0].PixelSpacing[1]))


def test_it_is_used_as_an_array():
    """Numpy takes it as its array; indexing and length are the array's."""
    volume = Volume(np.arange(24.0).reshape(2, 3, 4), AFFINE)
    assert np.mean(volume) == 11.5
    assert np.shares_memory(np.asarray(volume), volume.array)
    assert not np.shares_memory(np.array(volume), volume.array)
    assert volume[1, 2, 3] == 23
    assert len(volume) == 2
    assert (volume.shape, volume.grid, volume.times) == ((2, 3, 4), (2, 3, 4), 1)


@pytest.mark.parametrize(
    ("shape", "colour", "grid", "times", "slices"),
    [
        ((3, 4), False, (1, 3, 4), 1, (1, 3, 4)),
        ((2, 3, 4), False, (2, 3, 4), 1, (2, 3, 4)),
        ((5, 2, 3, 4), False, (2, 3, 4), 5, (10, 3, 4)),
        ((3, 4, 3), True, (1, 3, 4), 1, (1, 3, 4, 3)),
        ((2, 3, 4, 3), True, (2, 3, 4), 1, (2, 3, 4, 3)),
        ((5, 2, 3, 4, 3), True, (2, 3, 4), 5, (10, 3, 4, 3)),
    ],
)
def test_axes_are_times_slices_rows_columns_colours(shape, colour, grid, times, slices):
    """Fewer axes are one time point, and one slice."""
    volume = Volume(np.zeros(shape), colour=colour)
    assert (volume.grid, volume.times, volume.slices.shape) == (grid, times, slices)


@pytest.mark.parametrize(
    ("array", "affine", "reason"),
    [
        (np.zeros(4), None, "is no volume"),
        (np.zeros((2, 2, 2, 2, 2)), None, "is no volume"),
        (np.zeros((2, 3, 4)), np.eye(3), "4 x 4"),
        (np.zeros((2, 3, 4)), np.full((4, 4), np.nan), "4 x 4"),
        (np.zeros((2, 3, 4)), np.diag([1, 1, 1, 2.0]), "last row"),
        (np.zeros((2, 3, 4)), np.diag([1, 0, 1, 1.0]), "singular"),
    ],
)
def test_what_cannot_be_is_refused(array, affine, reason):
    """Axes and affines that belong to no volume."""
    with pytest.raises(GeometryError, match=reason):
        Volume(array, affine)


def test_another_array_on_the_same_grid():
    """A mask of a CT lies where the CT lies; its units may be others; another grid is an error."""
    volume = NumpyGrinder()(ct_slices())
    mask = volume.with_array(volume.array > 0, units="1")
    assert mask.array.dtype == bool
    assert (mask.affine == volume.affine).all()
    assert (mask.units, volume.units) == ("1", "HU")
    assert mask.sources == volume.sources
    assert volume.with_array(np.zeros((*volume.grid, 3))).colour
    assert volume.with_array(np.zeros((2, *volume.grid))).times == 2
    with pytest.raises(GeometryError, match="does not lie on the grid"):
        volume.with_array(np.zeros((5, 16, 15)))


def test_the_affine_cannot_be_changed_by_accident():
    """It is a copy, and read-only."""
    affine = AFFINE.copy()
    volume = Volume(np.zeros((2, 3, 4)), affine)
    affine[0, 0] = 9
    assert volume.affine[0, 0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 1


def test_a_volume_without_a_place_says_so():
    """Positions are None; what needs them is an error."""
    volume = Volume(np.zeros((2, 3, 4)))
    assert (volume.spacing, volume.orientation, volume.positions) == (None, None, None)
    for ask in (volume.to_patient, volume.to_index):
        with pytest.raises(GeometryError, match="do not say where they lie"):
            ask([0, 0, 0])


def test_it_shows_itself_without_its_voxels():
    """Shape, spacing, dtype and units; nothing of the patient."""
    volume = NumpyGrinder()(ct_slices())
    assert repr(volume).startswith("<Volume 5 x 16 x 16 of ")
    assert repr(volume).endswith("float32, HU>")
    assert volume.sources[0].PatientID not in repr(volume)


def test_it_travels():
    """A volume can be pickled, with its sources."""
    volume = NumpyGrinder()(ct_slices())
    again = pickle.loads(pickle.dumps(volume))
    assert (again.array == volume.array).all()
    assert (again.affine == volume.affine).all()
    assert [image.SOPInstanceUID for image in again.sources] == [
        image.SOPInstanceUID for image in volume.sources
    ]
