"""From arrays to series: dtypes, layouts, shapes, values that no image can hold, and how they are stored."""

import itertools
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO

from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.building.built_series import encode_series
from dicomnode.dicom.building.factory import DicomFactory
from dicomnode.dicom.building.numpy_factory import NumpyCaller, NumpyFactory
from dicomnode.dicom.building.rescale import decimal_string
from dicomnode.dicom.elements.standard_elements import CallElement, StaticElement
from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.geometry.volume import Volume
from dicomnode.dicom.values.uids import UIDSource
from dicomnode.errors import BlueprintError, GeometryError, PixelDataError
from sources import ct_slices, dose_grid, mr_slices, pet_slices

AFFINE = np.array([[0, 0, 0.7, -100.0], [0, 0.8, 0, -90.0], [2.5, 0, 0, 12.0], [0, 0, 0, 1]])
FACTORY = NumpyFactory()


def header_of(blueprint="ct", sources=ct_slices, **options):
    if isinstance(blueprint, str):
        blueprint = getattr(blueprints, f"{blueprint}_blueprint")
    return FACTORY.make_header(blueprint, sources(), **options)


CT, MR, PET = header_of(), header_of("mr", mr_slices), header_of("pet", pet_slices)
CAPTURE = header_of("secondary_capture")
MAP = header_of("parametric_map", mr_slices)


def build(array, header=CT, **options):
    return FACTORY.build_series(header, Volume(array, AFFINE), **options)


def read_back(array, header=CT, **options):
    return NumpyGrinder(dtype=np.float64)(build(array, header, **options)).array


# -- dtypes and layouts -----------------------------------------------------------------------------------

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g"]


def in_layout(array, layout):
    """Return the same values with another layout in memory."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "view":
        wide = np.zeros([2 * side for side in array.shape], array.dtype)
        wide[::2, ::2, ::2] = array
        return wide[::2, ::2, ::2]
    if layout == "reversed":
        return array[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]
    if layout == "transposed":
        return np.ascontiguousarray(array.transpose(2, 0, 1)).transpose(1, 2, 0)
    if layout == "read-only":
        array = array.copy()
        array.setflags(write=False)
    return array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", ["C", "F", "view", "reversed", "transposed", "read-only"])
def test_every_dtype_byte_order_and_layout_is_stored_alike(dtype, order, layout):
    """The values decide what is stored, not how they lie in memory; the array itself is left alone."""
    values = np.arange(3 * 4 * 5).reshape(3, 4, 5) % (2 if dtype == "?" else 60)
    array = in_layout(values.astype(np.dtype(dtype).newbyteorder(order)), layout)
    kept = array.copy()
    assert (read_back(array) == values).all()
    assert (array == kept).all()
    assert array.dtype == kept.dtype


def test_a_broadcast_array_is_stored():
    """An array of which all slices are one and the same memory is an array like any other."""
    assert (read_back(np.broadcast_to(np.float32(2.5), (3, 4, 5))) == 2.5).all()


def test_lists_of_numbers_are_arrays():
    """Whatever numpy takes for an array is one."""
    built = FACTORY.build_series(CAPTURE, [[1, 2], [3, 4]], source_matching=None)
    assert built[0].pixel_array.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.ones((2, 3, 4), complex), "complex128 .*take the magnitude"),
        (np.full((2, 3, 4), "1"), "dtype <U1"),
        (np.full((2, 3, 4), None), "dtype object"),
        (np.zeros((2, 3, 4), "M8[s]"), "datetime64"),
        (np.zeros((0, 3, 4)), r"empty: its shape is \(0, 3, 4\)"),
        (np.zeros((2, 3, 0)), "empty"),
        ([[1, 2], [3]], "no array"),
        (np.ma.masked_equal(np.arange(24).reshape(2, 3, 4), 5), "masked"),
        (np.zeros(5), r"shape \(5,\) is no series"),
        (np.float64(3), r"shape \(\) is no series"),
        (np.zeros((2, 2, 2, 2, 2)), "is no series"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(array, reason):
    """Complex, text, objects, dates, empty, ragged, masked, too few or too many axes."""
    with pytest.raises(PixelDataError, match=reason):
        FACTORY.build_series(CT, array)


def test_a_masked_array_without_masked_voxels_is_an_array():
    """Only voxels that are really masked are in the way."""
    assert (read_back(np.ma.array(np.arange(24).reshape(2, 3, 4))).ravel() == np.arange(24)).all()


# -- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [0, 0.0, 1, -1, 1000.25, -3e-7, 1e200, -1e200, 5e-324, 65535, 65536, -32769]
)
@pytest.mark.parametrize("per_slice", [False, True])
def test_constants_come_back(value, per_slice):
    """A constant array has no range to divide by, and is stored all the same."""
    back = read_back(np.full((2, 3, 4), value), per_slice=per_slice)
    assert back == pytest.approx(np.full((2, 3, 4), value, np.float64), rel=2.0**-16, abs=1e-300)
    if value == 0:
        assert (back == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_voxels_that_are_no_numbers_are_counted_and_the_first_is_named(bad, dtype):
    """NaN and infinities have no place in integers, so they are an error by default."""
    array = np.zeros((2, 3, 4), dtype)
    array[1, 2, 3] = array[1, 0, 1] = bad
    with pytest.raises(
        PixelDataError, match=r"2 of 24 voxels are NaN or infinite, the first at index \(1, 0, 1\)"
    ):
        build(array)


def test_voxels_that_are_no_numbers_can_be_replaced():
    """The caller may say what to write in their place; nothing else changes."""
    array = np.array([[[1.5, np.nan], [np.inf, -np.inf]]])
    back = read_back(array, nonfinite=-1.0)
    assert back == pytest.approx(np.array([[[1.5, -1.0], [-1.0, -1.0]]]), abs=1e-4)


def test_a_parametric_map_of_floats_refuses_them_too():
    """A reader computes with what it finds; NaN is only written when it is asked for."""
    array = np.zeros((2, 3, 4), np.float32)
    array[0, 0, 0] = np.nan
    with pytest.raises(PixelDataError, match="1 of 24 voxels"):
        build(array, MAP)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[[np.finfo(float).min, 0.0]]]), r"as large as 1.79769e\+308 are too large to be stored"),
        (np.array([[[2**63, 2**63 + 1, 2**63 + 2**20]]], np.uint64), "too large and too close together"),
    ],
)
def test_what_readers_could_not_compute_is_refused(array, reason):
    """Values beyond what a slope and double precision can say are an error, never wrong numbers."""
    with pytest.raises(PixelDataError, match=reason):
        build(array)


@settings(deadline=None, max_examples=300)
@given(
    lowest=st.floats(allow_nan=False, allow_infinity=False),
    width=st.floats(0, allow_nan=False, allow_infinity=False),
)
def test_no_decimal_string_is_longer_than_sixteen_characters(lowest, width):
    """Slope, intercept and window fit a DS (PS3.5 section 6.2), for whatever range of values."""
    array = np.array([[[lowest, min(lowest + width, np.finfo(float).max)]]])
    if np.abs(array).max() > 1e290:
        with suppress(PixelDataError):  # the message is held above
            build(array)
        return
    (dataset,) = build(array)
    for element in dataset:
        if element.VR == "DS":
            values = element.value if element.VM > 1 else [element.value]
            assert all(len(str(value)) <= 16 for value in values), element


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["nearest", "up", "down"]))
def test_a_decimal_string_is_rounded_to_the_asked_side(number, rounding):
    """It has at most 16 characters, and is off by less than a unit of its last digit on the right side."""
    try:
        text = decimal_string(number, rounding)
    except PixelDataError:
        assert abs(number) > 1e307
        return
    assert len(text) <= 16
    assert float(text) == pytest.approx(number, rel=1e-8)
    assert rounding != "up" or float(text) >= number
    assert rounding != "down" or float(text) <= number


# -- how values are stored --------------------------------------------------------------------------------


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


def test_the_quantisation_error_is_half_a_step():
    """Rounded, not cut off: over many values the error is centred and reaches half a RescaleSlope."""
    array = np.random.default_rng(7).normal(40, 200, (4, 50, 50))
    built = build(array)
    error = NumpyGrinder(dtype=np.float64)(built).array - array
    step = float(built[0].RescaleSlope)
    assert 0.49 * step < np.abs(error).max() <= step / 2 * (1 + 1e-9)
    assert abs(error.mean()) < 0.02 * step
    assert step < np.ptp(array) / 2**15


# -- window -----------------------------------------------------------------------------------------------


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


# -- shapes -----------------------------------------------------------------------------------------------


def test_two_axes_are_one_slice():
    """A single image needs no axis for slices."""
    source = ct_slices()[:1]
    header = FACTORY.make_header(blueprints.ct_blueprint, source)
    shape = (source[0].Rows, source[0].Columns)
    (dataset,) = FACTORY.build_series(header, np.arange(np.prod(shape)).reshape(shape) % 1000)
    assert (dataset.Rows, dataset.Columns) == shape
    assert dataset.ImagePositionPatient == source[0].ImagePositionPatient


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


def test_four_axes_are_time_points():
    """Instances run time point after time point, and are told apart when read back."""
    array = np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5)
    built = build(array, MR)
    assert [image.TemporalPositionIdentifier for image in built] == [1, 1, 2, 2, 3, 3]
    assert {image.NumberOfTemporalPositions for image in built} == {3}
    back = NumpyGrinder()(built)
    assert (back.array == array).all()
    assert len(back.time_points) == 3


def test_four_axes_of_an_iod_without_time_are_told_apart_by_number():
    """A CT has no TemporalPositionIdentifier: the instance numbers run on."""
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    back = NumpyGrinder()(build(array, CT))
    assert (back.array == array).all()


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


def test_a_blueprint_can_say_that_it_is_colour():
    """PhotometricInterpretation RGB in the blueprint makes the last axis colour."""
    mine = blueprints.secondary_capture_blueprint + StaticElement("PhotometricInterpretation", "RGB")
    built = FACTORY.build_series(header_of(mine), np.zeros((2, 4, 5, 3), "u1"), source_matching=None)
    assert [image.SamplesPerPixel for image in built] == [3, 3]


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


# -- identity ---------------------------------------------------------------------------------------------

_NEW = ("SOPInstanceUID", "SeriesInstanceUID")


def uids(*, identity, key=None, sources=ct_slices, blueprint="ct", series=1):
    source = None if identity is None else UIDSource.derived(identity)
    header = header_of(blueprint, sources, uids=source)
    array = np.zeros((2, 4, 5), "u2")
    built = [FACTORY.build_series(header, Volume(array, AFFINE), key=key) for _ in range(series)]
    return [[str(image[name].value) for name in _NEW] for image in itertools.chain(*built)]


@pytest.mark.parametrize("blueprint", ["ct", "enhanced_ct", "rt_dose", "secondary_capture"])
def test_the_same_job_makes_the_same_uids(blueprint):
    """Run again, a job names its results as before; another job names them otherwise."""
    again = [uids(identity="job 7", blueprint=blueprint) for _ in range(2)]
    assert again[0] == again[1]
    assert uids(identity="job 8", blueprint=blueprint) != again[0]


def test_without_an_identity_uids_are_new_each_time():
    """Nobody gets the UIDs of an earlier result by accident."""
    assert uids(identity=None) != uids(identity=None)


def test_no_two_instances_or_series_share_a_uid():
    """Within a job each series and each instance has its own, and none is a source's."""
    made = uids(identity="job 7", series=2)
    assert len({instance for instance, _ in made}) == 4
    assert len({series for _, series in made}) == 2
    taken = {str(source[name].value) for source in ct_slices() for name in _NEW}
    assert not taken & {uid for pair in made for uid in pair}


def test_a_named_series_keeps_its_uids_whatever_else_is_made():
    """A key ties UIDs to the name instead of the count."""
    first = uids(identity="job 7", key="mask")
    header = header_of(uids=UIDSource.derived("job 7"))
    build(np.zeros((1, 2, 2)), header)
    later = build(np.zeros((2, 4, 5), "u2"), header, key="mask")
    assert [[str(image[name].value) for name in _NEW] for image in later] == first


def test_encoded_uids_are_the_same_ones():
    """What is sent has the UIDs of the datasets, in the file meta information too."""
    built = build(np.zeros((2, 4, 5), "u2"), header_of(uids=UIDSource.derived("job 7")))
    encoded = list(encode_series(built))
    assert [item.SOPInstanceUID for item in encoded] == [image.SOPInstanceUID for image in built]
    for item, image in zip(encoded, built, strict=True):
        read = dcmread(DicomBytesIO(bytes(item)))
        assert read.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID == read.SOPInstanceUID


def test_an_element_that_names_every_instance_alike_is_refused():
    """Two instances under one UID would be one at the PACS."""
    mine = blueprints.ct_blueprint + CallElement("SOPInstanceUID", lambda _: "1.2.3")
    with pytest.raises(BlueprintError, match="1 of 2 instances a SOPInstanceUID that another one has"):
        build(np.zeros((2, 4, 5)), header_of(mine))


def test_a_header_without_a_sop_class_makes_no_series():
    """Nobody can tell what such instances are."""
    header = FACTORY.make_header(Blueprint([StaticElement("PatientID", "1")]), ct_slices())
    with pytest.raises(BlueprintError, match="no SOPClassUID"):
        build(np.zeros((2, 4, 5)), header)


def test_building_changes_neither_sources_nor_header():
    """The same header makes another series afterwards, and sources stay as they were read."""
    sources = ct_slices()
    header = FACTORY.make_header(blueprints.ct_blueprint, sources)
    before = [source.to_json() for source in sources], header.shared.to_json()
    first = build(np.zeros((2, 4, 5)), header)
    first[0].PatientName = "Changed"
    first[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    assert ([source.to_json() for source in sources], header.shared.to_json()) == before
    assert first[1].PatientName != "Changed"


# -- NumpyCaller ------------------------------------------------------------------------------------------


def with_caller(keyword, function, **options):
    return header_of(blueprints.ct_blueprint + NumpyCaller(keyword, function, **options))


def test_a_numpy_caller_is_asked_for_each_instance_with_its_pixels():
    """It sees the slice in physical units and as it is stored; its value is not shared."""
    array = np.arange(24.0).reshape(2, 3, 4) / 2
    seen = []
    header = with_caller("LargestImagePixelValue", lambda e: seen.append(e) or int(e.pixels.max()), VR="US")
    built = build(array, header, rescale=(0.5, 0.0))
    assert [image.LargestImagePixelValue for image in built] == [11, 23]
    assert [(e.index, e.instance_number, e.total) for e in seen] == [(0, 1, 2), (1, 2, 2)]
    assert all((e.image == part).all() for e, part in zip(seen, array, strict=True))
    assert all((e.pixels == 2 * part).all() for e, part in zip(seen, array, strict=True))


def test_a_numpy_caller_of_a_multi_frame_image_sees_all_frames():
    """There is one instance, so it is called once."""
    seen = []
    mine = blueprints.enhanced_ct_blueprint + NumpyCaller("ImageComments", lambda e: seen.append(e) or "all")
    build(np.zeros((2, 3, 4)), header_of(mine))
    assert [e.pixels.shape for e in seen] == [(2, 3, 4)]


def test_a_numpy_caller_may_leave_its_tag_out():
    """``None`` means that this instance does not have it."""
    header = with_caller("ImageComments", lambda e: "first" if e.index == 0 else None)
    built = build(np.zeros((2, 3, 4)), header)
    assert ["ImageComments" in image for image in built] == [True, False]


def test_a_numpy_caller_without_pixels_says_so():
    """A factory that has no arrays cannot serve it; the message names element and factory."""

    class Documents(DicomFactory):
        def build_series(self, header, data):
            return []

    mine = Blueprint([NumpyCaller("ImageComments", lambda e: "x"), StaticElement("PatientID", "1")])
    with pytest.raises(BlueprintError, match=r"NumpyCaller\('ImageComments'.*Documents built"):
        Documents().build(mine, Dataset())


def test_an_error_of_a_caller_reaches_the_author():
    """What the author's own function raises is not hidden."""
    with pytest.raises(ZeroDivisionError):
        build(np.zeros((2, 3, 4)), with_caller("ImageComments", lambda e: 1 / e.index))


# -- attributes of particular IODs ------------------------------------------------------------------------


def test_a_pet_has_a_slope_and_no_intercept():
    """RescaleIntercept of PET is always 0 (PS3.3 C.8.9.4)."""
    array = np.linspace(500, 900, 24).reshape(2, 3, 4)
    built = build(array, PET)
    assert {image.RescaleIntercept for image in built} == {0}
    assert built[0].Units == "BQML"


def test_a_dose_is_scaled_by_one_number():
    """DoseGridScaling, frame offsets along the normal, and no rescale (PS3.3 C.8.8.3)."""
    header = header_of("rt_dose", lambda: [dose_grid()])
    (dose,) = FACTORY.build_series(header, Volume(np.linspace(0, 60, 60).reshape(3, 4, 5), AFFINE))
    assert "RescaleSlope" not in dose
    assert [float(offset) for offset in dose.GridFrameOffsetVector] == [0, 2.5, 5]
    assert (
        np.abs(dose.pixel_array * float(dose.DoseGridScaling) - np.linspace(0, 60, 60).reshape(3, 4, 5)).max()
        < 1e-6
    )


def test_whole_numbers_of_an_mr_need_no_rescale():
    """An identity is left out where the IOD has no Modality LUT module."""
    assert "RescaleSlope" not in build(np.ones((2, 3, 4), "u2"), MR)[0]
    assert "RescaleSlope" in build(np.full((2, 3, 4), 0.1), MR)[0]
