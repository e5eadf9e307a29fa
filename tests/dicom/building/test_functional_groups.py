"""The functional groups of enhanced images."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from built_results import AFFINE, FACTORY
from dicomnode.dicom import blueprints
from dicomnode.dicom.elements.standard_elements import StaticElement
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from sources import ct_slices, dose_grid, mr_slices, pet_slices

PLACED = [
    ("enhanced_ct", ct_slices),
    ("enhanced_mr", mr_slices),
    ("enhanced_mr", ct_slices),
    ("parametric_map", mr_slices),
    ("parametric_map", pet_slices),
    ("rt_dose", ct_slices),
    ("rt_dose", lambda: [dose_grid()]),
]


def build(name, sources, data, **options):
    header = FACTORY.make_header(getattr(blueprints, f"{name}_blueprint"), sources())
    built = FACTORY.build_series(header, data, **options)
    assert len(built) == 1
    return dcmread(DicomBytesIO(bytes(built.encode(0))))


def ramp(shape, dtype=np.float64):
    return (np.arange(np.prod(shape)).reshape(shape) % 251).astype(dtype)


@pytest.mark.parametrize(("name", "sources"), [case for case in PLACED if case[0] != "rt_dose"])
def test_an_array_lies_where_the_sources_lie(name, sources):
    """Frame n is the slice of source n in geometric order, and names it."""
    volume = NumpyGrinder()(sources())
    read = build(name, sources, volume.array)
    back = NumpyGrinder()([read])
    assert np.allclose(back.affine, volume.affine, atol=1e-4)
    named = [
        item.SourceImageSequence[0].ReferencedSOPInstanceUID
        for group in read.PerFrameFunctionalGroupsSequence
        for item in group.DerivationImageSequence
    ]
    assert named == [source.SOPInstanceUID for source in volume.sources]


def test_time_points_are_frames_with_an_index():
    """Frames run time point after time point; TemporalPositionIndex is a dimension (PS3.3 C.7.6.17)."""
    values = ramp((2, 3, 4, 5))
    read = build("enhanced_mr", mr_slices, Volume(values, AFFINE))
    assert read.NumberOfFrames == 6
    contents = [group.FrameContentSequence[0] for group in read.PerFrameFunctionalGroupsSequence]
    assert [content.TemporalPositionIndex for content in contents] == [1, 1, 1, 2, 2, 2]
    assert [content.InStackPositionNumber for content in contents] == [1, 2, 3, 1, 2, 3]
    assert [list(content.DimensionIndexValues) for content in contents][3] == [1, 1, 2]
    back = NumpyGrinder()([read])
    assert back.time_points == ("TemporalPositionIndex 1", "TemporalPositionIndex 2")
    assert (back.array == values).all()


def test_each_frame_can_have_a_rescale_of_its_own():
    """per_slice writes the value transformation into each frame's groups instead of the shared ones."""
    values = np.stack([ramp((4, 5)) / 1000, ramp((4, 5)) * 1000.5])
    read = build("enhanced_ct", ct_slices, Volume(values, AFFINE), per_slice=True)
    assert "PixelValueTransformationSequence" not in read.SharedFunctionalGroupsSequence[0]
    slopes = [
        float(group.PixelValueTransformationSequence[0].RescaleSlope)
        for group in read.PerFrameFunctionalGroupsSequence
    ]
    assert slopes[0] < 1e-4 < slopes[1]
    back = NumpyGrinder(dtype=np.float64)([read]).array
    assert (np.abs(back - values).max(axis=(1, 2)) <= np.array(slopes) / 2 * 1.0001).all()


def test_units_of_a_map_are_written_and_read():
    """The volume's units become MeasurementUnitsCodeSequence (UCUM)."""
    read = build("parametric_map", mr_slices, Volume(ramp((2, 4, 5)), AFFINE, units="um2/s"))
    assert NumpyGrinder()([read]).units == "um2/s"


def test_the_vr_of_mapped_values_follows_the_pixels():
    """First and last value mapped are US or SS like the pixels (PS3.3 C.7.6.16.2.11)."""
    for low, VR in ((0, "US"), (-5, "SS")):  # noqa: N806 - DICOM's own spelling
        read = build("parametric_map", mr_slices, Volume(ramp((2, 4, 5), int) + low, AFFINE))
        item = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
        assert item["RealWorldValueFirstValueMapped"].VR == VR


def test_what_the_blueprint_says_of_the_frames_stays():
    """A group of the blueprint is not overwritten by the factory's."""
    header = FACTORY.make_header(
        blueprints.enhanced_ct_blueprint + StaticElement("ImageComments", "mine"), ct_slices()
    )
    (built,) = FACTORY.build_series(header, Volume(ramp((2, 4, 5)), AFFINE))
    shared = built.SharedFunctionalGroupsSequence[0]
    assert shared.CTImageFrameTypeSequence[0].FrameType[0] == "DERIVED"
    assert built.ImageComments == "mine"
    assert len(header.shared.SharedFunctionalGroupsSequence[0]) < len(shared)
