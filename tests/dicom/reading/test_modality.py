"""From stored to physical values."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from dicomnode.dicom.geometry.grinders import (
    NumpyGrinder,
)
from dicomnode.errors import PixelDataError
from pixel_images import RAMP, with_pixels
from sources import ct_slices, mr_slices, pet_slices


def test_each_slice_has_its_own_rescale():
    """PET slices are scaled each for itself; applying the first slope to all would be wrong."""
    images = pet_slices()
    for number, image in enumerate(images):
        image.RescaleSlope = str(1 + number)
    volume = NumpyGrinder()(images)
    assert [part[0, 0] for part in volume.array] == [0, 200, 600, 1200]
    assert volume.units == "BQML"


def test_units_are_known_where_the_image_says_them():
    """HU for CT, Units of PET, RescaleType, DoseUnits; none where nothing is said."""
    assert NumpyGrinder()(ct_slices()).units == "HU"
    assert NumpyGrinder()(pet_slices()).units == "BQML"
    assert NumpyGrinder()(mr_slices()).units is None
    assert NumpyGrinder()([dcmread(get_testdata_file("rtdose.dcm"))]).units == "RELATIVE"
    assert (
        NumpyGrinder()([with_pixels(RAMP, RescaleSlope=2, RescaleIntercept=0, RescaleType="OD")]).units
        == "OD"
    )


def test_a_modality_lut_is_looked_up():
    """A table instead of slope and intercept (PS3.3 C.11.1)."""
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "OD"
    table["LUTDescriptor"].VR = "US"
    table.LUTData = [0, 100, 400, 900]
    table["LUTData"].VR = "US"
    image = with_pixels(np.array([[0, 1], [2, 3]], "u2"), ModalityLUTSequence=[table])
    volume = NumpyGrinder()([image])
    assert volume.array[0].tolist() == [[0, 100], [400, 900]]
    assert volume.units == "OD"


@pytest.mark.parametrize("slope", ["0", None])
def test_a_rescale_that_is_none_is_an_error_or_absent(slope):
    """A slope of zero would make every voxel the same; an empty one is none."""
    images = ct_slices()
    for image in images:
        image.RescaleSlope = slope
    if slope is None:
        assert NumpyGrinder()(images).array.max() > -1024
        return
    with pytest.raises(PixelDataError, match=r"RescaleSlope 0.* with intercept .* is no rescale"):
        NumpyGrinder()(images)
