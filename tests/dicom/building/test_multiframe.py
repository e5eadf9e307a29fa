"""Multi-frame results: what each ready-made blueprint holds, and what is read back of it."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from built_results import AFFINE, FACTORY
from dicomnode.dicom import blueprints
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.errors import GeometryError, PixelDataError
from sources import ct_slices, dose_grid, mr_slices, nm_image, pet_slices

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


@pytest.mark.parametrize(("name", "sources"), PLACED)
@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64])
def test_a_placed_multi_frame_image_is_read_back(name, sources, dtype):
    """Values, affine and frame of reference survive the way into a file and out of it."""
    values = ramp((3, 4, 5), dtype) / dtype(1 if dtype == np.uint16 else 3)
    read = build(name, sources, Volume(values, AFFINE))
    assert read.NumberOfFrames == 3
    back = NumpyGrinder(dtype=np.float64)([read])
    assert np.allclose(back.affine, AFFINE)
    assert np.abs(back.array - values).max() <= 84 / 2**16
    assert back.FrameOfReferenceUID == read.FrameOfReferenceUID


@pytest.mark.parametrize(
    ("name", "dtype", "colour"),
    [
        ("multiframe_grayscale_byte", np.uint8, False),
        ("multiframe_grayscale_byte", bool, False),
        ("multiframe_grayscale_word", np.uint16, False),
        ("multiframe_true_color", np.uint8, True),
    ],
)
def test_pictures_are_frames_of_one_secondary_capture(name, dtype, colour):
    """Values are as they were, the frames are pages, and they lie nowhere."""
    values = ramp((3, 4, 5, 3) if colour else (3, 4, 5)).astype(dtype)
    read = build(name, ct_slices, values, rgb=colour, source_matching=None)
    assert read.FrameIncrementPointer == 0x00182001
    assert list(read.PageNumberVector) == [1, 2, 3]
    assert read.pixel_array.shape == values.shape
    assert (read.pixel_array == values).all()
    back = NumpyGrinder()([read])
    assert back.affine is None
    assert back.colour == colour
    assert (back.array == values).all()


def test_one_picture_is_a_frame_too():
    """A single page needs no vector of pages."""
    read = build("multiframe_grayscale_byte", ct_slices, ramp((4, 5), np.uint8), source_matching=None)
    assert read.NumberOfFrames == 1
    assert "FrameIncrementPointer" not in read


@pytest.mark.parametrize("name", ["multiframe_grayscale_byte", "multiframe_grayscale_word"])
@pytest.mark.parametrize(
    "values", [np.full((2, 3, 4), -1), np.full((2, 3, 4), 0.5), np.full((2, 3, 4), 2**16)]
)
def test_pictures_have_no_rescale(name, values):
    """What does not fit as it is, is an error (PS3.3 A.8.3.4)."""
    with pytest.raises(PixelDataError, match="cannot be stored as they are"):
        build(name, ct_slices, values, source_matching=None)


def test_nm_frames_are_laid_out_as_the_source():
    """The frame vectors are the source's, so the result has its frames."""
    values = ramp((2, 8, 8), np.uint16)
    read = build("nm", lambda: [nm_image()], values)
    assert list(read.DetectorVector) == [1, 2]
    assert (read.pixel_array == values).all()


def test_nm_frames_that_the_vectors_do_not_count_are_refused():
    """Three frames under vectors of two would be an image that nobody can read."""
    with pytest.raises(PixelDataError, match="the result has 3 frames, but EnergyWindowVector counts 2"):
        build("nm", lambda: [nm_image()], ramp((3, 8, 8), np.uint16), source_matching=None)


@pytest.mark.parametrize("name", ["enhanced_ct", "parametric_map", "rt_dose"])
def test_frames_must_lie_somewhere(name):
    """An IOD that says where frames lie refuses an array without a place, and says what to pass."""
    with pytest.raises(GeometryError, match=r"Volume\(array, affine\)"):
        build(name, ct_slices, ramp((3, 4, 5)), source_matching=None)


def test_a_dose_below_zero_is_signed():
    """Dose differences are negative in places (PS3.3 C.8.8.3)."""
    values = np.linspace(-1, 2, 60).reshape(3, 4, 5)
    read = build("rt_dose", ct_slices, Volume(values, AFFINE))
    assert read.PixelRepresentation == 1
    assert NumpyGrinder(dtype=np.float64)([read]).array == pytest.approx(values, abs=1e-8)
    assert NumpyGrinder()([read]).units == "GY"


def test_a_dose_over_time_is_refused():
    """An RT Dose has no time axis."""
    with pytest.raises(PixelDataError, match="no time axis"):
        build("rt_dose", ct_slices, Volume(ramp((2, 3, 4, 5)), AFFINE))


def test_a_dose_whose_slices_descend_counts_downwards():
    """GridFrameOffsetVector runs along the normal, so a grid built the other way has negative offsets."""
    values, descending = ramp((3, 4, 5)), AFFINE @ np.diag([-1.0, 1, 1, 1])
    read = build("rt_dose", ct_slices, Volume(values, descending))
    assert [float(offset) for offset in read.GridFrameOffsetVector] == [0, -2.5, -5]
    back = NumpyGrinder()([read])
    assert np.allclose(back.to_patient([0, 0, 0]), Volume(values, descending).to_patient([2, 0, 0]))
    assert back.array == pytest.approx(values[::-1], abs=1e-6)
