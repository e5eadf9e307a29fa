"""Compressed frames are decoded, in this process or in helpers."""

import base64
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode.dicom.geometry.grinders import (
    NumpyGrinder,
)
from dicomnode.dicom.reading import decoding
from dicomnode.errors import PixelDataError
from pixel_images import RAMP, again, with_pixels
from sources import dose_grid, mr_slices

# 16 x 16 of (300 row + 7 column), 16 bits, as OpenJPH 0.26.3 writes it losslessly.
HTJ2K_CODESTREAM = base64.b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAH0AAf+TwAAmCfUFB3QAAMAAEsAAEwD+AId0"
    "AGr1A4d0AMAAEsAAE4DeAAJ0ALAKqwDDVADAABPAABWA7u6gp8J1AEQliiii/sBSgey2AMAAKuAAFqAkSZLnwKenp0J4AFZasWLF"
    "ihUrVv79kIB79kIB7LoA/9k="
)


COMPRESSED = [JPEGLSLossless, JPEG2000Lossless, RLELossless]


@pytest.mark.parametrize(
    "syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.keyword
)
@pytest.mark.parametrize("workers", [1, 2, None])
def test_lossless_compression_changes_nothing(syntax, workers):
    """The volume of compressed slices is that of the plain ones, however many processes may decode."""
    images = mr_slices()
    expected = NumpyGrinder()(mr_slices()).array
    for image in images:
        image.compress(syntax, generate_instance_uid=False)
    volume = NumpyGrinder(workers=workers)([again(image) for image in images])
    assert (volume.array == expected).all()


@pytest.mark.parametrize(
    "syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.keyword
)
def test_frames_of_a_compressed_image_are_decoded_in_order(syntax):
    """Each in its place, from whichever codec."""
    dose = dose_grid()
    frames = (np.arange(15 * 64 * 64) * 7 % 60000).astype(np.uint16)
    dose.Rows, dose.Columns, dose.PixelData = 64, 64, frames.tobytes()
    dose.BitsAllocated, dose.BitsStored, dose.HighBit = 16, 16, 15
    expected = NumpyGrinder(workers=1)([dose]).array
    dose.compress(syntax, generate_instance_uid=False)
    for workers in (1, 2, 5):
        assert (NumpyGrinder(workers=workers)([again(dose)]).array == expected).all()


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K], ids=lambda uid: uid.keyword)
def test_high_throughput_jpeg_2000_is_decoded(syntax):
    """A codestream of another encoder (OpenJPH), in each of its transfer syntaxes."""
    row, column = np.mgrid[:16, :16]
    image = with_pixels(RAMP)
    image.PixelData = encapsulate([HTJ2K_CODESTREAM])
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax
    assert (NumpyGrinder()([again(image)]).array[0] == 300 * row + 7 * column).all()


def test_a_syntax_that_nobody_decodes_is_named():
    """A video is no volume; the message says what it is."""
    image = with_pixels(RAMP)
    image.PixelData = encapsulate([b"\0\0\1\xb3" * 8])
    image.file_meta.TransferSyntaxUID = MPEG2MPML
    with pytest.raises(PixelDataError, match="MPEG2"):
        NumpyGrinder()([image])


@pytest.fixture
def with_helpers(monkeypatch):
    """Have even a few frames decoded in helper processes."""
    monkeypatch.setattr(decoding, "_WORTH_HELPERS", -1.0)
    yield
    assert not [child for child in _children() if b"decoding" in child]


def _children():
    """Return the command lines of this process's children."""
    own = Path("/proc/self/task")
    numbers = {n for task in own.iterdir() for n in (task / "children").read_text().split()}
    return [Path(f"/proc/{number}/cmdline").read_bytes() for number in numbers]


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.keyword)
def test_helper_processes_decode_the_same(syntax, with_helpers):
    """Frames of many images and of one, in their places, whoever decoded them."""
    images = mr_slices(12)
    for number, image in enumerate(images):
        image.PixelData = (image.pixel_array + number).tobytes()
    expected = NumpyGrinder()(images).array
    for image in images:
        image.compress(syntax, generate_instance_uid=False)
    assert (NumpyGrinder(workers=3)(images).array == expected).all()
    colour = dcmread(get_testdata_file("SC_rgb_rle_2frame.dcm"))
    assert (NumpyGrinder(workers=2)([colour]).array == colour.pixel_array).all()


def test_a_frame_that_no_helper_can_decode_is_named(with_helpers):
    """The message is the one that this process would have given."""
    images = mr_slices(6)
    for image in images:
        image.compress(JPEG2000Lossless, generate_instance_uid=False)
    broken = images[4]
    broken.PixelData = broken.PixelData[:60] + b"\0" * 20 + broken.PixelData[80:]
    with pytest.raises(PixelDataError, match=f"image {broken.SOPInstanceUID}.*cannot be decoded"):
        NumpyGrinder(workers=2)(images)


def test_a_decoder_that_dies_is_an_error_and_not_the_end(with_helpers, monkeypatch):
    """A crash in a codec is reported with the image that it was at."""
    images = mr_slices(4)
    for image in images:
        image.compress(JPEGLSLossless, generate_instance_uid=False)
    popen = decoding.subprocess.Popen
    dies = [decoding.sys.executable, "-c", "import os; os.read(0, 8); os._exit(9)"]
    monkeypatch.setattr(decoding.subprocess, "Popen", lambda _, **options: popen(dies, **options))
    with pytest.raises(PixelDataError, match=r"image [\d.]+: the process that decoded it ended without"):
        NumpyGrinder(workers=2)(images)


def test_a_broken_codestream_is_an_error_of_one_line():
    """What the decoders say is kept, and which image it was."""
    image = mr_slices(1)[0]
    image.compress(JPEG2000Lossless, generate_instance_uid=False)
    image.PixelData = image.PixelData[:60] + b"\0" * 20 + image.PixelData[80:]
    with pytest.raises(PixelDataError, match=f"image {image.SOPInstanceUID}.*cannot be decoded") as caught:
        NumpyGrinder()([image])
    assert "\n" not in str(caught.value)


def test_without_a_decoder_the_extra_is_named(monkeypatch):
    """The message says what to install."""
    image = mr_slices(1)[0]
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "available_plugins", property(lambda self: ()))
    monkeypatch.setattr(
        Decoder, "_available", property(lambda self: {}, lambda self, value: None), raising=False
    )
    with pytest.raises(PixelDataError, match=r"dicomnode-host\[codecs\]"):
        NumpyGrinder()([image])
