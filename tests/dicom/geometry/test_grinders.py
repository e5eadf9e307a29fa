"""Grinders: volumes out of every way to store pixels, and what the other grinders give."""

import base64
import pickle
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    HTJ2K,
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode.dicom.geometry import grinders
from dicomnode.dicom.geometry.grinders import (
    DicomTreeGrinder,
    Grinder,
    ListGrinder,
    ManyGrinder,
    NumpyGrinder,
    TagGrinder,
)
from dicomnode.dicom.reading import decoding
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import GeometryError, PixelDataError
from sources import ct_slices, dose_grid, mr_slices, pet_slices

# 16 x 16 of (300 row + 7 column), 16 bits, as OpenJPH 0.26.3 writes it losslessly.
HTJ2K_CODESTREAM = base64.b64decode(
    "/0//UQApQAAAAAAQAAAAEAAAAAAAAAAAAAAAEAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAH0AAf+TwAAmCfUFB3QAAMAAEsAAEwD+AId0"
    "AGr1A4d0AMAAEsAAE4DeAAJ0ALAKqwDDVADAABPAABWA7u6gp8J1AEQliiii/sBSgey2AMAAKuAAFqAkSZLnwKenp0J4AFZasWLF"
    "ihUrVv79kIB79kIB7LoA/9k="
)


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


COMPRESSED = [JPEGLSLossless, JPEG2000Lossless, RLELossless]
RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)


# -- transfer syntaxes ------------------------------------------------------------------------------------


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


# -- photometric interpretations ----------------------------------------------------------------------------


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


# -- physical units ---------------------------------------------------------------------------------------


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


def test_images_in_different_units_make_no_volume():
    """Becquerels and standard uptake values are not to be mixed."""
    images = pet_slices()
    images[1].Units = "GML"
    with pytest.raises(PixelDataError, match=r"different units.*BQML, GML"):
        NumpyGrinder()(images)


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


# -- the array --------------------------------------------------------------------------------------------


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


def test_a_volume_knows_its_sources_in_order():
    """Source n is slice n."""
    volume = NumpyGrinder()(ct_slices()[::-1])
    heights = [image.ImagePositionPatient[2] for image in volume.sources]
    assert heights == sorted(heights)
    assert np.allclose(volume.positions[:, 2], heights)
    assert volume.FrameOfReferenceUID == volume.sources[0].FrameOfReferenceUID


def test_images_without_a_place_are_stacked_only_on_request():
    """By InstanceNumber, and the volume knows no affine."""
    images = [with_pixels(RAMP + n, InstanceNumber=9 - n, SOPInstanceUID=f"1.2.{n}") for n in range(3)]
    with pytest.raises(GeometryError, match="say where they lie nowhere"):
        NumpyGrinder()(images)
    volume = NumpyGrinder(require_geometry=False)(images)
    assert volume.affine is None
    assert volume.array[:, 0, 0].tolist() == [2, 1, 0]


def test_a_tilted_stack_is_taken_only_on_request():
    """Its affine is then a shear."""
    images = ct_slices()
    for image in images:
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y + 0.2 * z, z]
    with pytest.raises(GeometryError, match="gantry tilt"):
        NumpyGrinder()(images)
    assert NumpyGrinder(allow_tilt=True)(images).affine[1, 0] != 0


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


# -- other grinders ---------------------------------------------------------------------------------------


def test_a_list_is_in_geometric_order():
    """As far as the images have one; none make an empty list."""
    listed = ListGrinder()(ct_slices()[::-1])
    heights = [image.ImagePositionPatient[2] for image in listed]
    assert heights == sorted(heights)
    assert ListGrinder()([]) == []


def test_a_tree_holds_all_images():
    """Patients, studies, series."""
    tree = DicomTreeGrinder()([*ct_slices(), *mr_slices()])
    assert len(tree) == 9
    assert len({image.SeriesInstanceUID for image in tree}) == 2


def test_values_of_attributes_come_slice_by_slice():
    """One attribute gives values, several tuples; what is missing is None."""
    images = ct_slices()
    del images[0].InstanceNumber
    numbers = TagGrinder("InstanceNumber")(images)
    assert sorted(number for number in numbers if number is not None) == sorted(
        image.InstanceNumber for image in images[1:]
    )
    assert numbers.count(None) == 1
    assert TagGrinder("Modality", (0x0028, 0x0010))(images) == [("CT", 16)] * 5


def test_several_grinders_see_the_same_images():
    """By position a tuple, by name a dict; also from an iterator that can be read once."""
    volume, modalities = ManyGrinder(NumpyGrinder(), TagGrinder("Modality"))(iter(ct_slices()))
    assert volume.shape == (5, 16, 16)
    assert modalities == ["CT"] * 5
    named = ManyGrinder(volume=NumpyGrinder(), images=ListGrinder())(iter(ct_slices()))
    assert set(named) == {"volume", "images"}


def test_grinders_that_cannot_be_are_refused():
    """Mixed by position and name, or not callable."""
    with pytest.raises(TypeError, match="by position or by name"):
        ManyGrinder(ListGrinder(), volume=NumpyGrinder())
    with pytest.raises(TypeError, match="cannot be called"):
        ManyGrinder("volume")


GRINDERS = [
    NumpyGrinder(),
    NumpyGrinder(dtype=np.float64, allow_tilt=True),
    ListGrinder(),
    DicomTreeGrinder(),
    TagGrinder("Modality"),
    ManyGrinder(NumpyGrinder(), ListGrinder()),
    ManyGrinder(volume=NumpyGrinder()),
]


@pytest.mark.parametrize("grinder", GRINDERS, ids=repr)
def test_grinders_travel_and_compare(grinder):
    """They are pickled to a worker, equal by their settings, and hashable."""
    again = pickle.loads(pickle.dumps(grinder))
    assert again == grinder
    assert hash(again) == hash(grinder)
    assert isinstance(grinder, Grinder)
    assert sum(other == grinder for other in GRINDERS) == 1


def test_everything_public_is_exported():
    """The module's own list is complete."""
    public = {name for name, value in vars(grinders).items() if isinstance(value, type) and "Grinder" in name}
    assert public == set(grinders.__all__)
