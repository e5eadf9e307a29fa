"""Where each image, and each frame of a multi-frame image, lies."""

from collections.abc import Sequence

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomnode.dicom.geometry.slice_sorting import sort_by_geometry
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.planes import PLANE_KEYWORDS, cross, frame_count, planes_of
from dicomnode.errors import GeometryError
from made_slices import enhanced, image
from sources import dose_grid, mr_slices, nm_image


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("ImagePositionPatient", [1, 2], "has 2 values instead of 3"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1], "has 5 values instead of 6"),
        ("PixelSpacing", [1, 1, 1], "has 3 values instead of 2"),
        ("PixelSpacing", [float("nan"), 1], "not all numbers"),
        ("ImagePositionPatient", [0, 0, float("inf")], "not all numbers"),
        ("NumberOfFrames", "two", "no number"),
    ],
)
def test_malformed_attributes_are_named(keyword, value, reason):
    """Attribute and instance are in the message."""
    broken = image((0, 0, 0))
    from pydicom.config import IGNORE
    from pydicom.dataelem import DataElement

    VR = "DS" if keyword != "NumberOfFrames" else "LO"  # noqa: N806 - text where a number should be
    broken[keyword] = DataElement(keyword, VR, value, validation_mode=IGNORE)
    with pytest.raises(GeometryError, match=f"{keyword}.*{reason}"):
        sort_by_geometry([broken])


def test_functional_groups_that_are_not_the_frames_are_refused():
    """More groups than frames."""
    broken = enhanced([0, 2.5, 5])
    broken.NumberOfFrames = 2
    with pytest.raises(GeometryError, match="has 3 items, but NumberOfFrames is 2"):
        sort_by_geometry([broken])


def test_a_dose_grid_lies_by_its_offsets():
    """GridFrameOffsetVector along the normal (PS3.3 C.8.8.3.2)."""
    dose = dose_grid()
    stack = sort_by_geometry([dose]).require_volume()
    step = float(dose.GridFrameOffsetVector[1]) - float(dose.GridFrameOffsetVector[0])
    assert stack.slices == dose.NumberOfFrames
    assert np.linalg.norm(stack.affine[:3, 0]) == pytest.approx(abs(step))


def test_frames_of_a_planar_nm_lie_nowhere():
    """Detectors look from different sides: frames, but no stack."""
    stack = sort_by_geometry([nm_image()])
    assert stack.affine is None
    assert stack.slices == 2


def test_planes_know_the_groups_that_hold_for_them():
    """A frame's own group wins over the shared one."""
    made = enhanced([0, 2.5], TemporalPositionIndex=[1, 2])
    first, second = planes_of(made)
    assert (first.value("TemporalPositionIndex"), second.value("TemporalPositionIndex")) == (1, 2)
    assert list(first.value("PixelSpacing")) == [0.5, 0.75]
    assert first.value("EchoTime") is None
    assert str(second).endswith("frame 2")


def test_a_single_frame_image_is_one_plane():
    """Its size, place and spacing as plain numbers."""
    (plane,) = planes_of(image((1, 2, 3), rows=4, columns=5, spacing=(0.5, 0.75)))
    assert (plane.frame, plane.rows, plane.columns) == (0, 4, 5)
    assert (plane.position, plane.pixel_spacing) == ((1, 2, 3), (0.5, 0.75))
    assert plane.located
    assert plane.position_text == "(1, 2, 3)"


def test_an_image_without_a_place_is_a_plane_all_the_same():
    """It is named by its number where a message would say its place."""
    (plane,) = planes_of(image(None, number=7))
    assert not plane.located
    assert plane.position_text == str(plane) == "instance 7"


def test_a_plane_answers_from_the_frames_vector():
    """TimeSlotVector and its kin have a value for each frame (PS3.3 C.8.4.8)."""
    nm = nm_image(2)
    nm.TimeSlotVector = [1, 2]
    assert [plane.value("TimeSlotVector") for plane in planes_of(nm)] == [1, 2]
    assert [plane.value("Modality") for plane in planes_of(nm)] == ["NM", "NM"]
    assert planes_of(nm)[0].value("PhaseVector") is None


@pytest.mark.parametrize("attributes", [{"SpacingBetweenSlices": 3, "SliceVector": [2, 1]}, {}])
def test_frames_of_a_reconstructed_image_lie_by_their_slice_numbers(attributes):
    """PS3.3 C.8.4.15; without them frames lie nowhere."""
    made = image((0, 0, 10), NumberOfFrames=2, **attributes)
    found = [plane.position for plane in planes_of(made)]
    assert found == ([(0, 0, 13), (0, 0, 10)] if attributes else [None, None])


def test_the_place_of_nm_is_in_its_first_detector():
    """PS3.3 C.8.4.11."""
    made, detector = image(None), Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
    made.DetectorInformationSequence = [detector]
    (plane,) = planes_of(made)
    assert plane.position == (1, 2, 3)


@pytest.mark.parametrize(("stated", "count"), [(None, 1), ("", 1), (0, 1), (1, 1), (7, 7)])
def test_an_image_has_one_frame_at_least(stated, count):
    """Absent, empty and zero are one (PS3.3 C.7.6.6)."""
    assert frame_count({"NumberOfFrames": stated}) == count


def test_the_normal_is_row_times_column():
    """PS3.3 C.7.6.2.1.1."""
    assert cross((1, 0, 0, 0, 1, 0)) == (0, 0, 1)
    assert cross((0, 1, 0, 0, 0, -1)) == (-1, 0, 0)


def test_an_image_on_disk_is_placed_without_a_dataset(tmp_path):
    """The tags that are read for it are enough; the handle stays unread."""
    path = tmp_path / "image.dcm"
    mr_slices(1)[0].save_as(path)
    handle = LazyDataset(path)
    (plane,) = planes_of(handle)
    assert plane.position == planes_of(mr_slices(1)[0])[0].position
    assert not handle.was_read


def test_the_plane_keywords_place_an_indexed_image():
    """A handle whose file is gone is placed from what the receiver indexed of it."""
    source = mr_slices(1)[0]
    index = {
        int(Tag(keyword)): list(map(float, value))
        if isinstance(value := source[keyword].value, Sequence)
        else int(value)
        for keyword in PLANE_KEYWORDS
        if keyword in source
    }
    handle = LazyDataset("/nowhere", index)
    values = {keyword: handle.get(keyword) for keyword in PLANE_KEYWORDS if keyword in source}
    assert values == {keyword: source[keyword].value for keyword in values}
    assert not handle.was_read
