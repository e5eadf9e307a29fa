"""From arrays to series: dtypes, layouts, shapes, values that no image can hold, and how they are stored."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from built_results import CAPTURE, CT, FACTORY, build, header_of, read_back
from dicomnode.dicom import blueprints
from dicomnode.dicom.blueprint.blueprint import Blueprint
from dicomnode.dicom.building.factory import DicomFactory
from dicomnode.dicom.building.numpy_factory import NumpyCaller
from dicomnode.dicom.elements.standard_elements import StaticElement
from dicomnode.errors import BlueprintError, PixelDataError
from sources import ct_slices

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


# -- shapes -----------------------------------------------------------------------------------------------


def test_two_axes_are_one_slice():
    """A single image needs no axis for slices."""
    source = ct_slices()[:1]
    header = FACTORY.make_header(blueprints.ct_blueprint, source)
    shape = (source[0].Rows, source[0].Columns)
    (dataset,) = FACTORY.build_series(header, np.arange(np.prod(shape)).reshape(shape) % 1000)
    assert (dataset.Rows, dataset.Columns) == shape
    assert dataset.ImagePositionPatient == source[0].ImagePositionPatient


def test_a_blueprint_can_say_that_it_is_colour():
    """PhotometricInterpretation RGB in the blueprint makes the last axis colour."""
    mine = blueprints.secondary_capture_blueprint + StaticElement("PhotometricInterpretation", "RGB")
    built = FACTORY.build_series(header_of(mine), np.zeros((2, 4, 5, 3), "u1"), source_matching=None)
    assert [image.SamplesPerPixel for image in built] == [3, 3]


# -- identity ---------------------------------------------------------------------------------------------


def test_a_header_without_a_sop_class_makes_no_series():
    """Nobody can tell what such instances are."""
    header = FACTORY.make_header(Blueprint([StaticElement("PatientID", "1")]), ct_slices())
    with pytest.raises(BlueprintError, match="no SOPClassUID"):
        build(np.zeros((2, 4, 5)), header)


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
