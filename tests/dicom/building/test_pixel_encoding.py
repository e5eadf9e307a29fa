"""From an array to stored values, and the attributes that describe them."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO

from built_results import AFFINE, CAPTURE, CT, FACTORY, MAP, MR, PET, build, header_of, read_back
from dicomnode.dicom import blueprints
from dicomnode.dicom.elements.standard_elements import StaticElement
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.errors import PixelDataError
from sources import ct_slices


def stored(dataset):
    names = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    return tuple(dataset.get(name) for name in names)


@pytest.mark.parametrize(
    ("array", "options", "expected"),
    [
        (np.full((1, 2, 2), 300, "i4"), {}, (16, 16, 15, 0)),
        (np.full((1, 2, 2), -300, "i4"), {}, (16, 16, 15, 1)),
        (np.full((1, 2, 2), 0.25), {}, (16, 16, 15, 0)),
        (np.array([[[-0.25, 0.5]]]), {}, (16, 16, 15, 1)),
        (np.full((1, 2, 2), 3, "i4"), {"bits_stored": 12}, (16, 12, 11, 0)),
        (np.full((1, 2, 2), 3, "i4"), {"signed": True}, (16, 16, 15, 1)),
        (np.full((1, 2, 2), 3, "i4"), {"signed": True, "bits_stored": 12}, (16, 12, 11, 1)),
    ],
)
def test_bits_and_signedness_are_chosen_and_can_be_set(array, options, expected):
    """Sixteen bits, signed only where values are negative, unless the caller says otherwise."""
    assert stored(build(array, **options)[0]) == expected


@pytest.mark.parametrize(
    ("header", "dtype", "bits"),
    [(CAPTURE, "?", 8), (CAPTURE, "u1", 8), (CAPTURE, "u2", 16), (MR, "?", 16), (CT, "?", 16)],
)
def test_booleans_and_bytes_take_eight_bits_where_the_iod_allows_it(header, dtype, bits):
    """A mask need not take twice the space; CT and MR are always of 16 bits (PS3.3 C.8.2.1, C.8.3.1)."""
    built = FACTORY.build_series(header, Volume(np.ones((2, 3, 5), dtype), AFFINE), source_matching=None)
    assert built[0].BitsAllocated == bits
    assert (built[0].pixel_array == 1).all()
    assert len(built[0].PixelData) == (16 if bits == 8 else 30)


@pytest.mark.parametrize(
    ("header", "array", "options", "keyword", "VR"),
    [
        (CAPTURE, np.ones((1, 3, 3), "u1"), {}, "PixelData", "OB"),
        (CAPTURE, np.ones((1, 3, 3), "u2"), {}, "PixelData", "OW"),
        (CT, np.ones((1, 3, 3), "f4"), {}, "PixelData", "OW"),
        (MAP, np.ones((1, 3, 3), "u2"), {}, "PixelData", "OW"),
        (MAP, np.full((1, 3, 3), 0.5, "f4"), {}, "FloatPixelData", "OF"),
        (MAP, np.full((1, 3, 3), 0.5, "f8"), {}, "DoubleFloatPixelData", "OD"),
    ],
)
def test_the_vr_of_the_pixels_follows_their_bits(header, array, options, keyword, VR):  # noqa: N803 - DICOM's own spelling
    """OB for eight bits, OW above, OF and OD for floats (PS3.5 A.2); of even length in the file."""
    built = build(array, header, **options)
    assert built[0][keyword].VR == VR
    read = dcmread(DicomBytesIO(b"".join(built.encode(0).parts)))
    assert read[keyword].VR == VR
    assert len(read[keyword].value) % 2 == 0
    names = {"PixelData", "FloatPixelData", "DoubleFloatPixelData"}
    assert {name for name in names if name in read} == {keyword}


@pytest.mark.parametrize(
    ("header", "options", "reason"),
    [
        (CT, {"bits": 8}, "allows 16 bits"),
        (CT, {"bits": 12}, "bits=12"),
        (CT, {"bits_stored": 17}, "bits_stored=17 does not fit"),
        (CT, {"rescale": (0.0, 0.0)}, "RescaleSlope 0.0 is zero"),
        (CT, {"rescale": (1e-9, 0.0)}, "which 16 bits cannot hold"),
        (CT, {"rescale": None}, "not all whole, cannot be stored as they are"),
        (CT, {"rescale": (np.nan, 0.0)}, "nan cannot be written"),
        (PET, {"rescale": (1.0, 5.0)}, "no intercept but 0"),
        (MR, {"window": (1.0, 0.0)}, "idth"),
        (MR, {"window": (np.inf, 1.0)}, "indow"),
    ],
)
def test_choices_that_cannot_be_are_refused(header, options, reason):
    """Bits, rescale and window are checked against the SOP class and the values."""
    with pytest.raises(PixelDataError, match=reason):
        build(np.linspace(0, 100.5, 24).reshape(2, 3, 4), header, **options)


def test_a_given_rescale_is_used():
    """Slope and intercept that the caller names are written and quantised with."""
    array = np.array([[[-1000.0, 0.0, 37.5]]])
    (dataset,) = build(array, rescale=(0.5, -1024.0))
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (0.5, -1024)
    assert dataset.pixel_array.tolist() == [[48, 2048, 2123]]
    assert (read_back(array, rescale=(0.5, -1024.0)) == array).all()


def test_one_rescale_for_the_series_by_default_and_one_for_each_slice_on_demand():
    """Per slice each range is quantised for itself, so a faint slice beside a bright one stays fine."""
    array = np.stack([np.linspace(0, 1, 12).reshape(3, 4), np.linspace(0, 1e6, 12).reshape(3, 4)])
    whole, each = build(array), build(array, per_slice=True)
    assert len({float(image.RescaleSlope) for image in whole}) == 1
    slopes = [float(image.RescaleSlope) for image in each]
    assert slopes[0] < 1e-4 < slopes[1]
    error = np.abs(NumpyGrinder(dtype=np.float64)(each).array - array).max(axis=(1, 2))
    assert (error <= np.array(slopes) / 2 * (1 + 1e-9)).all()


@pytest.mark.parametrize("name", ["rt_dose", "parametric_map", "multiframe_grayscale_word"])
def test_no_scaling_for_each_slice_where_the_iod_has_one_for_all(name):
    """An RT Dose has one DoseGridScaling; asking for more is an error, not ignored."""
    header = header_of(name, ct_slices)
    with pytest.raises(PixelDataError, match="per_slice=True"):
        build(np.ones((2, 3, 4), "u2"), header, per_slice=True)


def window(dataset):
    return dataset.get("WindowCenter"), dataset.get("WindowWidth")


def test_the_window_covers_the_values_or_is_what_the_caller_says():
    """In physical units, after the rescale (PS3.3 C.11.2)."""
    array = np.linspace(-100, 300, 24).reshape(2, 3, 4)
    centre, width = window(build(array)[0])
    assert centre - width / 2 <= -99
    assert centre + width / 2 >= 299
    assert window(build(array, window=(40, 350))[0]) == (40, 350)
    assert window(build(array, window=None)[0]) == (None, None)


def test_a_window_of_the_blueprint_stays():
    """What the author wrote wins over what would be chosen."""
    mine = blueprints.ct_blueprint + StaticElement("WindowCenter", 40) + StaticElement("WindowWidth", 80)
    array = np.linspace(-100, 300, 24).reshape(2, 3, 4)
    assert window(build(array, header_of(mine))[0]) == (40, 80)


def test_a_window_narrower_than_one_is_exact():
    """The function LINEAR allows no width below 1 (PS3.3 C.11.2.1.2.1)."""
    dataset = build(np.linspace(0, 0.5, 24).reshape(2, 3, 4))[0]
    assert dataset.WindowWidth < 1
    assert dataset.VOILUTFunction == "LINEAR_EXACT"


@pytest.mark.parametrize("shape", [(4, 5, 3), (2, 4, 5, 3), (3, 2, 4, 5, 3)])
def test_a_last_axis_of_three_is_colour_where_it_is_said_to_be(shape):
    """RGB of eight bits, pixel by pixel (PlanarConfiguration 0)."""
    array = np.arange(np.prod(shape)).reshape(shape) % 256
    built = FACTORY.build_series(CAPTURE, array, rgb=True, source_matching=None)
    assert len(built) == np.prod(shape[:-3], dtype=int)
    first = built[0]
    assert (first.SamplesPerPixel, first.PhotometricInterpretation, first.PlanarConfiguration) == (
        3,
        "RGB",
        0,
    )
    assert "RescaleSlope" not in first
    assert "WindowCenter" not in first
    assert (np.stack([image.pixel_array for image in built]).reshape(shape) == array).all()


@pytest.mark.parametrize(
    ("header", "array", "options", "reason"),
    [
        (CT, np.zeros((2, 4, 5, 3), "u1"), {"rgb": True}, "holds grayscale images, but the array is colour"),
        (CAPTURE, np.zeros((2, 4, 5, 4), "u1"), {"rgb": True}, "last axis of 3, not 4"),
        (CAPTURE, np.full((2, 4, 5, 3), 256), {"rgb": True}, "0 to 255, but the array goes from 256 to 256"),
        (CAPTURE, np.full((2, 4, 5, 3), 0.5), {"rgb": True}, "scale it and cast it"),
        (CAPTURE, np.full((2, 4, 5, 3), np.nan), {"rgb": True}, "NaN"),
    ],
)
def test_colour_that_cannot_be_is_refused(header, array, options, reason):
    """Colour where the IOD is grayscale, other than three channels, other than bytes."""
    with pytest.raises(PixelDataError, match=reason):
        FACTORY.build_series(header, array, source_matching=None, **options)
