"""Stored values out of Pixel Data, in whatever transfer syntax and photometric interpretation."""

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.filebase import DicomBytesIO
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from dicomnode.dicom.geometry.grinders import (
    NumpyGrinder,
)
from dicomnode.errors import PixelDataError
from pixel_images import RAMP, with_pixels
from sources import ct_slices


@pytest.mark.parametrize(
    ("syntax", "implicit", "little"),
    [
        (ImplicitVRLittleEndian, True, True),
        (ExplicitVRBigEndian, False, False),
        (DeflatedExplicitVRLittleEndian, False, True),
    ],
    ids=lambda value: getattr(value, "keyword", None),
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4"])
def test_uncompressed_syntaxes_give_the_same_values(syntax, implicit, little, dtype):
    """Implicit VR, big endian, deflated."""
    values = (np.arange(256).reshape(16, 16) * 3 % 200).astype(dtype)
    image = with_pixels(values)
    if not little:
        swapped = values.astype(values.dtype.newbyteorder(">"))
        image.PixelData = swapped.tobytes()
    image.file_meta.TransferSyntaxUID = syntax
    image._is_implicit_VR, image._is_little_endian = implicit, little
    file = DicomBytesIO()
    dcmwrite(file, image, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    file.seek(0)
    volume = NumpyGrinder(rescale=False)([dcmread(file)])
    assert (volume.array[0] == values).all()
    assert volume.array.dtype == dtype


def test_unused_bits_are_no_values():
    """What lies above BitsStored is cut off, or the sign extended (PS3.5 section 8.1.1)."""
    overlaid = with_pixels((RAMP & 0xFFF) | 0xA000, BitsStored=12, HighBit=11)
    assert (NumpyGrinder()([overlaid]).array[0] == RAMP).all()
    signed = with_pixels(np.array([[0x0FFF, 0x0801], [0x07FF, 0x0000]], "i2"), BitsStored=12, HighBit=11)
    assert NumpyGrinder()([signed]).array[0].tolist() == [[-1, -2047], [2047, 0]]


def test_pixels_that_are_cut_short_are_an_error():
    """Never a volume with an end of zeros."""
    images = ct_slices()
    images[2].PixelData = images[2].PixelData[:-2]
    with pytest.raises(PixelDataError, match=f"image {images[2].SOPInstanceUID}.* has 510 bytes.*need 512"):
        NumpyGrinder()(images)


def test_what_the_pixels_lack_is_named_at_once():
    """Every attribute that is missing, in one message."""
    image = with_pixels(RAMP)
    del image.BitsStored
    del image.Columns
    with pytest.raises(PixelDataError, match="no Columns, BitsStored"):
        NumpyGrinder()([image])


def test_monochrome1_is_named_and_not_inverted():
    """Values are values; that small ones are bright is for the display."""
    image = with_pixels(RAMP, PhotometricInterpretation="MONOCHROME1")
    volume = NumpyGrinder()([image])
    assert volume.photometric == "MONOCHROME1"
    assert (volume.array[0] == RAMP).all()


def test_images_of_different_photometry_make_no_volume():
    """Grey that runs both ways, or grey and colour."""
    images = ct_slices()
    images[1].PhotometricInterpretation = "MONOCHROME1"
    with pytest.raises(PixelDataError, match="MONOCHROME1, MONOCHROME2"):
        NumpyGrinder()(images)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_is_red_green_and_blue(planar, photometric):
    """Colour by pixel or by plane, RGB or YBR, becomes RGB with a last axis of three."""
    colour = np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = with_pixels(colour, PhotometricInterpretation=photometric, SamplesPerPixel=3)
    image.PlanarConfiguration = planar
    image.PixelData = (colour.transpose(2, 0, 1) if planar else colour).tobytes()
    volume = NumpyGrinder()([image])
    expected = colour if photometric == "RGB" else convert_color_space(colour, "YBR_FULL", "RGB")
    assert volume.colour
    assert volume.photometric == "RGB"
    assert volume.array.dtype == np.uint8
    assert (volume.array[0] == expected).all()


def test_a_palette_is_looked_up():
    """Indices become colours (PS3.3 C.7.6.3.1.5)."""
    image = with_pixels(np.array([[0, 1], [2, 0]], "u1"), PhotometricInterpretation="PALETTE COLOR")
    for colour, values in (("Red", [0, 10, 20]), ("Green", [1, 11, 21]), ("Blue", [2, 12, 22])):
        descriptor = f"{colour}PaletteColorLookupTableDescriptor"
        setattr(image, descriptor, [3, 0, 16])
        image[descriptor].VR = "US"
        setattr(image, f"{colour}PaletteColorLookupTableData", np.array(values, "<u2").tobytes())
    volume = NumpyGrinder()([image])
    assert volume.array[0].tolist() == [[[0, 1, 2], [10, 11, 12]], [[20, 21, 22], [0, 1, 2]]]


def test_a_palette_that_is_not_there_is_an_error():
    """The message names the image and the palette."""
    image = with_pixels(np.array([[0, 1], [2, 0]], "u1"), PhotometricInterpretation="PALETTE COLOR")
    with pytest.raises(PixelDataError, match="palette cannot be used"):
        NumpyGrinder()([image])
