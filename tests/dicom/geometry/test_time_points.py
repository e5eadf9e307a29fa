"""Images at the same place are told apart: time points, echoes, or duplicates."""

import random

import pytest

from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.dicom.geometry.slice_stack import Fault
from made_slices import fault_of, image

SHARED = {
    "TemporalPositionIdentifier": [1, 2, 3],
    "EchoTime": [2.4, 4.8, 7.2],
    "EchoNumbers": [1, 2, 3],
    "InversionTime": [100, 200, 300],
    "DiffusionBValue": [0.0, 500.0, 1000.0],
    "FrameReferenceTime": [0, 1000, 2000],
    "AcquisitionNumber": [1, 2, 3],
    "FlipAngle": [10, 20, 30],
    "NominalCardiacTriggerDelayTime": [0.0, 33.3, 66.6],
    "SeriesInstanceUID": ["1.2.1", "1.2.2", "1.2.3"],
    "ComplexImageComponent": ["MAGNITUDE", "PHASE", "REAL"],
}


@pytest.mark.parametrize("keyword", SHARED)
def test_time_points_are_told_apart_by_what_all_places_share(keyword):
    """In order of the value, each named by it."""
    images = [image((0, 0, 2.5 * k), **{keyword: value}) for value in SHARED[keyword] for k in range(4)]
    random.Random(1).shuffle(images)
    stack = sort_by_geometry(images).require_volume()
    assert (stack.times, stack.slices) == (3, 4)
    assert [plane.image.get(keyword) for plane in stack.planes] == sorted(SHARED[keyword] * 4, key=str) or [
        plane.image.get(keyword) for plane in stack.planes
    ] == sorted(SHARED[keyword] * 4)
    assert all(keyword in name for name in stack.time_points)
    assert len(set(stack.time_points)) == 3


@pytest.mark.parametrize("keyword", ["TriggerTime", "AcquisitionTime"])
def test_time_points_are_told_apart_by_the_order_of_acquisition(keyword):
    """Interleaved slices have times of their own at every place; they only have to be in order."""
    images = [
        image((0, 0, 2.5 * k), **{keyword: str(100000 + 1000 * t + 7 * ((3 * k) % 4))})
        for t in range(3)
        for k in range(4)
    ]
    random.Random(1).shuffle(images)
    stack = sort_by_geometry(images).require_volume()
    assert stack.times == 3
    assert stack.time_points[0] == f"{keyword} no. 1"


@pytest.mark.parametrize("by_place", [False, True])
def test_time_points_are_told_apart_by_instance_numbers_that_run_on(by_place):
    """Volume after volume, or place after place: some scanners write nothing else."""
    images = [
        image((0, 0, 2.5 * k), number=(3 * k + t if by_place else 4 * t + k) + 1)
        for t in range(3)
        for k in range(4)
    ]
    random.Random(1).shuffle(images)
    stack = sort_by_geometry(images).require_volume()
    expected = [3 * k + t if by_place else 4 * t + k for t in range(3) for k in range(4)]
    assert [im.InstanceNumber - 1 for im in stack.images] == expected


def test_instance_numbers_in_no_order_tell_nothing():
    """Numbers that run neither way are not taken for time."""
    numbers = [1, 4, 3, 6, 5, 8, 2, 7]
    images = [image((0, 0, 2.5 * (n // 2)), number=numbers[n]) for n in range(8)]
    assert fault_of(images)[0] == [Fault.DUPLICATE]


def test_two_attributes_together_tell_apart():
    """Two echoes in magnitude and phase: four volumes."""
    images = [
        image((0, 0, 2.5 * k), EchoTime=echo, ComplexImageComponent=part)
        for echo in (2.0, 4.0)
        for part in ("MAGNITUDE", "PHASE")
        for k in range(3)
    ]
    stack = sort_by_geometry(images).require_volume()
    assert stack.times == 4
    assert stack.time_points[0] == "EchoTime 2.0, ComplexImageComponent MAGNITUDE"


def test_the_image_that_a_time_point_lacks_is_named():
    """Time point and place, not only that something is missing."""
    images = [image((0, 0, 2.5 * k), TemporalPositionIdentifier=t) for t in (1, 2, 3) for k in range(4)]
    del images[6]
    faults, text = fault_of(images)
    assert faults == [Fault.GAP]
    assert "no image of TemporalPositionIdentifier 2 at (0, 0, 5)" in text


def test_an_image_too_many_at_one_place_is_named():
    """Where nothing tells the time points apart, the place is."""
    images = [image((0, 0, 2.5 * k), number=4 * t + k) for t in range(3) for k in range(4)]
    faults, text = fault_of([*images, image((0, 0, 5), number=99)])
    assert faults == [Fault.GAP]
    assert "most places have 3 images, but there are 4 at (0, 0, 5)" in text
