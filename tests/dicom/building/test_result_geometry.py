"""Where the slices of a result lie, and which source slice each belongs to."""

import numpy as np
import pytest
from pydicom.tag import Tag

from built_results import AFFINE, CT, FACTORY, build
from dicomnode.dicom import blueprints
from dicomnode.dicom.building.result_geometry import result_geometry, shared_plane, slice_plane
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.errors import GeometryError
from sources import ct_slices


def test_three_axes_are_slices_where_the_sources_lie():
    """Slice n lies where source n lies in geometric order, whatever order the sources came in."""
    sources = ct_slices()
    header = FACTORY.make_header(blueprints.ct_blueprint, sources[::-1])
    stack = NumpyGrinder()(sources)
    built = FACTORY.build_series(header, stack.array)
    assert len(built) == 5
    back = NumpyGrinder()(built)
    assert np.allclose(back.affine, stack.affine)
    assert (back.array == stack.array).all()
    by_position = {tuple(source.ImagePositionPatient): source for source in sources}
    for image in built:
        source = by_position[tuple(image.ImagePositionPatient)]
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_an_array_of_another_size_needs_an_affine():
    """It cannot lie where the sources lie; the message says what to do."""
    with pytest.raises(GeometryError, match=r"3 slices of 4 x 5, its sources 5 of .*pass a Volume"):
        FACTORY.build_series(CT, np.zeros((3, 4, 5)))


def test_a_volume_of_its_own_grid_lies_where_its_affine_says():
    """Position, orientation and spacing are written from the affine, not copied from the sources."""
    built = build(np.zeros((3, 4, 5)))
    assert [list(image.ImagePositionPatient) for image in built] == [[-100, -90, z] for z in (12, 14.5, 17)]
    assert list(built[0].PixelSpacing) == [0.8, 0.7]
    assert list(built[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert built[0].SliceThickness == 2.5


def test_a_volume_whose_slices_descend_comes_back_ascending_in_the_same_places():
    """The grinder sorts along the normal; voxels stay where they are in the patient."""
    descending = AFFINE @ np.diag([-1.0, 1, 1, 1])
    array = np.arange(2 * 4 * 5).reshape(2, 4, 5)
    back = NumpyGrinder()(FACTORY.build_series(CT, Volume(array, descending)))
    assert (back.array == array[::-1]).all()
    assert np.allclose(back.to_patient([0, 0, 0]), Volume(array, descending).to_patient([1, 0, 0]))


def test_an_affine_that_dicom_cannot_say_is_refused():
    """Rows and columns must be perpendicular."""
    skew = AFFINE.copy()
    skew[0, 1] = 0.3
    with pytest.raises(GeometryError, match="not perpendicular"):
        FACTORY.build_series(CT, Volume(np.zeros((3, 4, 5)), skew))


def sources_of(volume, matching, header=CT):
    """Return the height of each slice's source, ``None`` where there is none."""
    geometry = result_geometry(volume, header, matching)
    found = [geometry.source(index) for index in range(len(geometry.sources))]
    return [None if source is None else float(source.ImagePositionPatient[2]) for source in found]


def shifted(volume, slices=None, step=0.0):
    """Return a volume of other rows and columns, in the places of some slices of another, moved along z."""
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 0] * step
    count = slices or volume.grid[0]
    return Volume(np.zeros((count, 3, 3)), affine)


def test_sources_are_matched_by_height():
    """A slice of its own grid has the source at the same height, within a hundredth of a slice distance."""
    volume = NumpyGrinder()(ct_slices())
    heights = volume.positions[:, 2].tolist()
    assert sources_of(shifted(volume), "geometry") == heights
    assert sources_of(shifted(volume, step=0.005), "geometry") == heights
    assert sources_of(shifted(volume, step=0.5), "geometry") == [None] * 5
    assert sources_of(shifted(volume, step=1), "geometry") == [*heights[1:], None]


def test_slices_that_are_not_parallel_have_no_source():
    """A reformatted coronal slice is of no axial one."""
    volume = NumpyGrinder()(ct_slices())
    turned = volume.affine[:, [1, 0, 2, 3]]
    assert sources_of(Volume(np.zeros((2, 3, 3)), turned), "geometry") == [None, None]


def test_sources_can_be_matched_by_index_or_not_at_all():
    """Where geometry says nothing the author may know better."""
    volume = NumpyGrinder()(ct_slices())
    heights = volume.positions[:, 2].tolist()
    moved = shifted(volume, slices=7, step=0.5)
    assert sources_of(moved, "index") == [*heights, None, None]
    assert sources_of(moved, None) == [None] * 7
    assert result_geometry(moved, CT, None).affine is moved.affine


def test_the_grid_of_the_sources_is_copied_and_not_computed():
    """Positions are the texts of the sources then: nothing is supplied from an affine."""
    volume = NumpyGrinder()(ct_slices())
    for result in (volume, Volume(np.zeros(volume.grid))):
        geometry = result_geometry(result, CT, "geometry")
        assert geometry.affine is None
        assert geometry.supplied == frozenset()
    other = result_geometry(shifted(volume), CT, "geometry")
    assert Tag("ImagePositionPatient") in other.supplied


def test_time_points_are_matched_in_turn():
    """Each time point of the result has the slices of the sources again."""
    volume = NumpyGrinder()(ct_slices())
    over_time = Volume(np.zeros((2, *volume.grid)), volume.affine)
    assert sources_of(over_time, "geometry") == volume.positions[:, 2].tolist() * 2


def test_the_plane_of_an_affine_is_written_in_its_attributes():
    """Orientation, spacing and position are those of Image Plane (PS3.3 C.7.6.2)."""
    shared, first, third = shared_plane(AFFINE), slice_plane(AFFINE, 0), slice_plane(AFFINE, 2)
    assert [float(part) for part in shared["ImageOrientationPatient"]] == [1, 0, 0, 0, 1, 0]
    assert [float(part) for part in shared["PixelSpacing"]] == [0.8, 0.7]
    assert float(shared["SliceThickness"]) == 2.5
    assert [float(part) for part in first["ImagePositionPatient"]] == [-100, -90, 12]
    assert float(third["SliceLocation"]) - float(first["SliceLocation"]) == 5


def test_no_negative_zero_is_written():
    """What rounding leaves of a zero is a zero."""
    tiny = AFFINE.copy()
    tiny[0, 1], tiny[2, 3] = -1e-17, -0.0
    texts = [*shared_plane(tiny)["ImageOrientationPatient"], *slice_plane(tiny, 0)["ImagePositionPatient"]]
    assert not [text for text in texts if text.startswith("-0") or "E-" in text]
