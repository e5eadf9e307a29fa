"""Images with pixels of every kind, for the tests of reading."""

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO


def again(image):
    """Write and read an image."""
    file = DicomBytesIO()
    dcmwrite(file, image, enforce_file_format=True)
    file.seek(0)
    return dcmread(file)


def with_pixels(array, **attributes):
    """Return an image with other pixels: no place, no rescale."""
    image = dcmread(get_testdata_file("CT_small.dcm"))
    for keyword in ("RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "SmallestImagePixelValue"):
        image.pop(keyword, None)
    image.Modality = "OT"
    image.Rows, image.Columns = array.shape[:2]
    image.BitsAllocated = image.BitsStored = 8 * array.dtype.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(array.dtype.kind == "i")
    image.PixelData = array.tobytes()
    image["PixelData"].VR = "OB" if array.dtype.itemsize == 1 else "OW"
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    return image


RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
