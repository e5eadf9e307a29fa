"""The pixels of sorted planes are read into one array."""

import numpy as np
import pytest
from pydicom import dcmwrite

from dicomnode.dicom.geometry.grinders import (
    NumpyGrinder,
)
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import PixelDataError
from pixel_images import RAMP, with_pixels
from sources import ct_slices, dose_grid, pet_slices


def test_images_in_different_units_make_no_volume():
    """Becquerels and standard uptake values are not to be mixed."""
    images = pet_slices()
    images[1].Units = "GML"
    with pytest.raises(PixelDataError, match=r"different units.*BQML, GML"):
        NumpyGrinder()(images)


def test_the_array_is_single_precision_unless_that_would_lose_something():
    """float32 for 16 bits, float64 for 32 bits or a fine slope on a large intercept."""
    assert NumpyGrinder()(ct_slices()).array.dtype == np.float32
    assert NumpyGrinder()([with_pixels(RAMP.astype("u4"))]).array.dtype == np.float64
    fine = with_pixels(RAMP, RescaleSlope="0.0001", RescaleIntercept="100000")
    assert NumpyGrinder()([fine]).array.dtype == np.float64
    assert (
        NumpyGrinder()([with_pixels(RAMP, RescaleSlope="1E-40", RescaleIntercept="0")]).array.dtype
        == np.float64
    )


def test_the_dtype_can_be_chosen():
    """An integer type only where every value is whole and fits."""
    assert NumpyGrinder(dtype=np.int16)(ct_slices()).array.dtype == np.int16
    assert NumpyGrinder(dtype="f8")(ct_slices()).array.dtype == np.float64
    with pytest.raises(PixelDataError, match="do not go into an array of int8"):
        NumpyGrinder(dtype=np.int8)(ct_slices())
    with pytest.raises(PixelDataError, match="without a loss"):
        NumpyGrinder(dtype=np.int32)([with_pixels(RAMP, RescaleSlope="0.5", RescaleIntercept="0")])
    with pytest.raises(PixelDataError, match="other than 0 and 1"):
        NumpyGrinder(dtype=bool)([with_pixels(RAMP, RescaleSlope="2", RescaleIntercept="0")])


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_an_integer_dtype_holds_stored_values_that_fit(dtype):
    """Also where there is no rescale at all: no silent wrap-around."""
    with pytest.raises(PixelDataError, match=r"do not go into an array of|other than 0 and 1"):
        NumpyGrinder(dtype=dtype)([with_pixels(RAMP * 2)])
    assert NumpyGrinder(dtype=dtype)([with_pixels(RAMP % 2)]).array.dtype == dtype


def test_stored_values_can_be_had():
    """Without rescale, in the type they are stored in."""
    volume = NumpyGrinder(rescale=False)(ct_slices())
    assert volume.array.dtype == np.int16
    assert volume.units is None
    by_position = sorted(ct_slices(), key=lambda image: image.ImagePositionPatient[2])
    assert (volume.array == np.stack([image.pixel_array for image in by_position])).all()


def test_sources_are_left_as_they_are():
    """Grinding changes no dataset and keeps no decoded array in it."""
    images = ct_slices()
    before = [image.to_json() for image in images]
    NumpyGrinder()(images)
    assert [image.to_json() for image in images] == before


def test_lazy_images_let_go_of_their_pixels(tmp_path):
    """A spool of thousands of slices is not held in memory after it was ground."""
    paths = []
    for number, image in enumerate(ct_slices()):
        paths.append(tmp_path / f"{number}.dcm")
        dcmwrite(paths[-1], image)
    images = [LazyDataset(path) for path in paths]
    volume = NumpyGrinder()(images)
    assert (volume.array == NumpyGrinder()(ct_slices()).array).all()
    assert all(image._dict[0x7FE00010].released for image in images if image.was_read)


def test_frames_are_read_where_they_are(tmp_path):
    """Of a multi-frame image each frame from its own place."""
    dose = dose_grid()
    dcmwrite(tmp_path / "dose.dcm", dose)
    image = LazyDataset(tmp_path / "dose.dcm")
    volume = NumpyGrinder()([image])
    assert not image.was_read
    assert (volume.array == NumpyGrinder()([dose]).array).all()


def test_pixels_that_are_too_few_are_an_error(tmp_path):
    """As from the dataset."""
    path = tmp_path / "image.dcm"
    image = ct_slices()[0]
    image.PixelData = image.PixelData[:-2]
    dcmwrite(path, image)
    with pytest.raises(ValueError, match=r"has 510 bytes.*need 512"):
        NumpyGrinder()([LazyDataset(path)])
