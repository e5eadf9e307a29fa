"""Sorting images by where they lie, telling time points apart, and saying why images form no volume."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.dicom.geometry.slice_sorting import same_grid, sort_by_geometry, unit_normal
from dicomnode.dicom.geometry.slice_stack import Fault
from dicomnode.dicom.reading.planes import planes_of
from made_slices import enhanced, fault_of, image, positions, stack_of
from sources import ct_slices, mr_slices

# -- sorting ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    order=st.permutations(range(6)),
    fairness=st.tuples(*[st.floats(-math.pi, math.pi)] * 3),
    step=st.floats(0.1, 20),
)
def test_slices_are_sorted_along_their_normal(order, fairness, step):
    """In any orientation and any order of arrival, whatever InstanceNumber says."""
    x, y, z = fairness
    rotate = (
        np.array([[1, 0, 0], [0, math.cos(x), -math.sin(x)], [0, math.sin(x), math.cos(x)]])
        @ np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
        @ np.array([[math.cos(z), -math.sin(z), 0], [math.sin(z), math.cos(z), 0], [0, 0, 1]])
    )
    row, column, normal = rotate.T
    made = [
        image(7 + k * step * normal, (*row, *column), number=n, spacing=(0.5, 0.75))
        for n, k in enumerate(order)
    ]
    stack = sort_by_geometry(made).require_volume()
    assert [order[int(im.InstanceNumber)] for im in stack.images] == list(range(6))
    expected = np.eye(4)
    expected[:3] = np.column_stack([step * normal, 0.5 * column, 0.75 * row, [7, 7, 7]])
    assert np.allclose(stack.affine, expected, atol=1e-6)


def test_real_slices_of_any_order_form_the_same_stack():
    """A CT of pydicom's wheel, shuffled."""
    expected = positions(sort_by_geometry(ct_slices()).require_volume())
    for seed in range(5):
        images = ct_slices()
        random.Random(seed).shuffle(images)
        assert positions(sort_by_geometry(images).require_volume()) == expected
    heights = [z for _, _, z in expected]
    assert heights == sorted(heights)


def test_a_single_slice_is_a_volume_as_thick_as_it_says():
    """One image has no step; SpacingBetweenSlices, SliceThickness, 1 mm, in this order."""
    thick = sort_by_geometry([image((1, 2, 3), SliceThickness=4)]).require_volume()
    assert np.allclose(thick.affine[:3, 0], [0, 0, 4])
    spaced = sort_by_geometry([image((1, 2, 3), SliceThickness=4, SpacingBetweenSlices=-5)])
    assert np.allclose(spaced.affine[:3, 0], [0, 0, 5])
    assert np.allclose(sort_by_geometry([image((1, 2, 3))]).affine[:3, 0], [0, 0, 1])


# -- what is no volume ------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 3, 4])
def test_a_missing_slice_is_named_by_its_neighbours(missing):
    """How far apart slices are, and between which positions they are not."""
    images = stack_of(8)
    del images[missing]
    faults, text = fault_of(images)
    assert faults == [Fault.GAP]
    low, high = f"(0, 0, {2.5 * (missing - 1):g})", f"(0, 0, {2.5 * (missing + 1):g})"
    assert f"slices are 2.5 mm apart, but there are 5 mm between {low} and {high}" in text
    assert f"gap between slices {missing} and {missing + 2}: slices are" in text


def brief_of(images):
    (problem,) = sort_by_geometry(images).problems
    return problem.brief


@pytest.mark.parametrize("number", [lambda k: k + 1, lambda k: 40 - k])
def test_several_gaps_are_named_in_short_by_the_numbers_of_slices(number):
    """The numbers of the neighbours, the lower first, whether they count up the stack or down."""
    images = [image((0, 0, 2 * k), number=number(k)) for k in range(40) if k not in {3, 9, 10, 20, 25, 30}]
    gaps = [sorted((number(low), number(high))) for low, high in ((2, 4), (8, 11), (19, 21))]
    shown = ", ".join(f"{low} and {high}" for low, high in gaps)
    assert brief_of(images) == (
        f"gaps between slices {shown} and 2 more (4 to 6 mm, where slices are 2 mm apart)"
    )


@pytest.mark.parametrize("numbers", [[1, 2, 3, 3, 5], [1, 5, 2, 3, 4], [None] * 5])
def test_numbers_that_do_not_run_with_the_position_name_no_slice(numbers):
    """A gap is named by its positions then: such numbers would send the reader to other slices."""
    heights = (0, 2, 4, 8, 10)
    images = [image((0, 0, z), number=n) for z, n in zip(heights, numbers, strict=True)]
    assert brief_of(images) == "gap between (0, 0, 4) and (0, 0, 8) (4 mm, where slices are 2 mm apart)"


def test_slices_that_drift_apart_are_found_though_each_step_is_nearly_right():
    """Small deviations must not add up to half a slice."""
    heights = np.cumsum(np.linspace(2.46, 2.54, 200))
    faults, text = fault_of([image((0, 0, z)) for z in heights])
    assert faults == [Fault.GAP]
    assert "change along the stack" in text


def test_the_tolerance_is_the_callers():
    """Slices that are a tenth off can be allowed."""
    images = [image((0, 0, z)) for z in (0, 2.5, 5.1, 7.5, 10)]
    assert [p.fault for p in sort_by_geometry(images).problems] == [Fault.GAP]
    assert not sort_by_geometry(images, tolerance=0.1).problems


def test_doubled_slices_are_named_by_position():
    """Two images at one place and one at the others are no time points."""
    faults, text = fault_of([*stack_of(4), image((0, 0, 5.0))])
    assert faults == [Fault.DUPLICATE]
    assert "most places have 1 image, but there are 2 at (0, 0, 5)" in text


def test_a_series_that_is_there_twice_is_doubled():
    """The same places twice with nothing that tells them apart, and the same instances twice."""
    faults, text = fault_of([image((0, 0, 2.5 * (k // 2))) for k in range(6)])
    assert faults == [Fault.DUPLICATE]
    assert "2 images at each place and nothing tells them apart: (0, 0, 0), (0, 0, 2.5), (0, 0, 5)" in text
    images = stack_of(3)
    faults, text = fault_of([*images, images[1]])
    assert Fault.DUPLICATE in faults
    assert f"the same instance is there more than once: {images[1].SOPInstanceUID}" in text


def test_mixed_orientations_are_counted():
    """A localizer among axial slices."""
    coronal = (1, 0, 0, 0, 0, -1)
    faults, text = fault_of([*stack_of(4), image((0, 1, 0), coronal)])
    assert faults == [Fault.ORIENTATION]
    assert "2 orientations: 4 along (1, 0, 0, 0, 1, 0), 1 along (1, 0, 0, 0, 0, -1)" in text


@pytest.mark.parametrize("wrong", [(1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (1, 0, 0, 0.5, 0.5, 0), (0,) * 6])
def test_an_orientation_must_be_perpendicular_unit_vectors(wrong):
    """Otherwise nobody knows where a voxel is (PS3.3 C.7.6.2.1.1)."""
    faults, text = fault_of([image((0, 0, k), wrong, number=k) for k in range(3)])
    assert faults == [Fault.ORIENTATION]
    assert "orientation of instance 0 is no pair of perpendicular unit vectors" in text


def test_mixed_sizes_are_counted():
    """Rows, columns and PixelSpacing must be alike."""
    faults, text = fault_of([*stack_of(3), image((0, 0, 7.5), rows=8)])
    assert faults == [Fault.SIZE]
    assert "sizes (rows x columns) differ: 3 of 4 x 5, 1 of 8 x 5" in text
    faults, text = fault_of([*stack_of(3), image((0, 0, 7.5), spacing=(1.0, 2.0))])
    assert faults == [Fault.SIZE]
    assert "PixelSpacing differs: 1 x 1, 1 x 2" in text
    faults, text = fault_of([*stack_of(3), image((0, 0, 7.5), spacing=None)])
    assert faults == [Fault.SIZE]
    assert "1 have none" in text


def test_mixed_frames_of_reference_are_named():
    """Positions in different coordinate systems cannot be compared."""
    images = stack_of(4, FrameOfReferenceUID="1.2.3")
    images[2].FrameOfReferenceUID = "1.2.4"
    faults, text = fault_of(images)
    assert faults == [Fault.FRAME_OF_REFERENCE]
    assert "2 frames of reference: 1.2.3, 1.2.4" in text


def test_a_gantry_tilt_is_named_with_its_angle():
    """The stack can still be had; its affine is a shear."""
    slope = math.tan(math.radians(12))
    images = [image((0, 2.5 * k * slope, 2.5 * k)) for k in range(6)]
    faults, text = fault_of(images)
    assert faults == [Fault.TILT]
    assert "tilted by 12 degrees (gantry tilt), from (0, 0, 0) to" in text
    stack = sort_by_geometry(images).require_volume(allow=[Fault.TILT])
    assert np.allclose(stack.affine[:3, 0], [0, 2.5 * slope, 2.5])


def test_slices_off_their_line_are_named():
    """One slice that is shifted in its plane."""
    images = stack_of(6)
    images[3].ImagePositionPatient = [3, 0, 7.5]
    faults, text = fault_of(images)
    assert faults == [Fault.GAP]
    assert "do not lie on one line: (3, 0, 7.5) is 3 mm off" in text


def test_images_without_a_place_are_sorted_by_number():
    """They form no volume unless that is allowed."""
    images = [image(None, number=n) for n in (3, 1, 2)]
    stack = sort_by_geometry(images)
    assert [im.InstanceNumber for im in stack.images] == [1, 2, 3]
    faults, text = fault_of(images)
    assert faults == [Fault.UNLOCATED]
    assert "instance 3, instance 1, instance 2 say where they lie nowhere" in text
    assert stack.affine is None
    assert stack.positions is None


def test_mosaics_are_not_taken_for_slices():
    """A sheet of slices lies somewhere, but none of its slices lies there."""
    images = stack_of(3, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])
    faults, text = fault_of(images)
    assert faults == [Fault.UNLOCATED]
    assert "instance 1, instance 2, instance 3 are mosaics" in text
    assert "require_geometry=False" in text
    assert sort_by_geometry(images[:1]).affine is None


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_empty_attributes_are_as_good_as_none(keyword):
    """Type 2 emptiness is no crash."""
    images = stack_of(2)
    images[0][keyword].value = None
    faults, _ = fault_of(images)
    assert set(faults) <= {Fault.UNLOCATED, Fault.SIZE}


# -- time points ------------------------------------------------------------------------------------------


def test_time_points_that_are_shifted_are_named():
    """A patient table that moved between time points."""
    images = [
        image((0.5 * (t == 2), 0, 2.5 * k), TemporalPositionIdentifier=t) for t in (1, 2) for k in range(4)
    ]
    faults, text = fault_of(images)
    assert faults == [Fault.TILT]
    assert "time points are shifted within their plane: no. 2 by 0.5 mm" in text


# -- multi-frame ------------------------------------------------------------------------------------------


def test_frames_are_sorted_by_where_they_lie():
    """Frames of an enhanced image come in any order (PS3.3 C.7.6.16)."""
    stack = sort_by_geometry([enhanced([5, 0, 2.5])]).require_volume()
    assert [plane.frame for plane in stack.planes] == [1, 2, 0]
    assert np.allclose(np.diag(stack.affine[:3, 2::-1]), [0.75, 0.5, 2.5])


def test_frames_at_the_same_place_are_time_points():
    """TemporalPositionIndex in the frame's own content."""
    stack = sort_by_geometry([enhanced([0, 2.5, 0, 2.5], TemporalPositionIndex=[2, 2, 1, 1])])
    assert [plane.frame for plane in stack.require_volume().planes] == [2, 3, 0, 1]
    assert stack.time_points == ("TemporalPositionIndex 1", "TemporalPositionIndex 2")


def test_a_missing_frame_is_named_by_position():
    """As with single slices."""
    faults, text = fault_of([enhanced([0, 2.5, 7.5, 10])])
    assert faults == [Fault.GAP]
    assert "5 mm between (0, 0, 2.5) and (0, 0, 7.5)" in text


def test_several_enhanced_images_can_make_one_volume():
    """A volume that is split over instances."""
    stack = sort_by_geometry([enhanced([5, 7.5]), enhanced([0, 2.5])]).require_volume()
    assert stack.slices == 4
    assert len(stack.images) == 2


def test_images_are_not_changed_by_sorting():
    """Sources stay as they are."""
    images = mr_slices()
    before = [im.to_json() for im in images]
    sort_by_geometry(images)
    assert [im.to_json() for im in images] == before


def test_grids_are_the_same_to_a_hundredth_of_a_voxel():
    """Of every voxel, so that a small turn of a large volume counts."""
    affine = np.diag([2.5, 0.5, 0.5, 1.0])
    moved, turned = affine.copy(), affine.copy()
    moved[0, 3], turned[0, 2] = 0.004, 0.0001
    assert same_grid(affine, moved, (10, 10, 10))
    assert not same_grid(affine, moved + np.eye(4)[[0]] * 0.01, (10, 10, 10))
    assert same_grid(affine, turned, (10, 10, 10))
    assert not same_grid(affine, turned, (10, 10, 500))


def test_a_normal_has_the_length_one():
    """Of row and column cosines that are a little off as well."""
    (plane,) = planes_of(image((0, 0, 0), (1.001, 0, 0, 0, 1, 0)))
    assert np.allclose(unit_normal(plane), [0, 0, 1])
