"""A sorting header says what the dataset of the file would say, or there is none."""

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    generate_uid,
)

from dicomnode.dicom.geometry.grinders import NumpyGrinder
from dicomnode.dicom.reading import header_reader
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.sorting_header import SORTING_KEYWORDS, SortingHeader, read_sorting_header
from dicomnode.errors import FileGoneError, PixelDataError
from sources import ct_slices, mr_slices

WHEEL = sorted(path for path in (Path(pydicom.__file__).parent / "data").rglob("*") if path.suffix == ".dcm")


def plain(value):
    """Return a value of a dataset as a sorting header gives it."""
    if isinstance(value, pydicom.multival.MultiValue):
        return tuple(plain(part) for part in value)
    if isinstance(value, float):
        return float(value)
    return int(value) if isinstance(value, int) else value if value is None else str(value)


def agrees(path):
    """Assert that a sorting header and pydicom agree, and return whether there was anything to see."""
    seen = read_sorting_header(LazyDataset(path))
    if seen is None:
        return False
    image = dcmread(path, force=True)
    for keyword in SORTING_KEYWORDS:
        expected = plain(image.get(keyword))
        assert (seen.get(keyword) or None) == (expected or None) or seen.get(keyword) == expected, keyword
        assert (keyword in seen) == (keyword in image), keyword
    where = seen.pixels
    assert where.keyword in image
    if where.length is not None:
        with path.open("rb") as file:
            file.seek(where.offset)
            assert file.read(where.length) == image[where.keyword].value
    assert seen.transfer_syntax == image.file_meta.TransferSyntaxUID
    return True


@pytest.mark.parametrize("path", WHEEL, ids=lambda path: path.name)
def test_a_sorting_header_has_what_pydicom_reads(path):
    """Of every file in pydicom's wheel: the same values, or nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agrees(path)


def test_ordinary_images_have_a_sorting_header():
    """Otherwise the test above would hold for nothing."""
    seen = sum(read_sorting_header(LazyDataset(path)) is not None for path in WHEEL)
    assert seen >= 60


_texts = st.text("abc XYZ0123456789", max_size=20)
_numbers = st.lists(st.floats(-1e4, 1e4).map(lambda number: round(number, 3)), min_size=3, max_size=3)


@st.composite
def datasets(draw):
    """Draw a dataset as scanners write them: optional elements, private ones, sequences in sequences."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
    image.ImageType = draw(st.sampled_from([["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY", "M", "ND"]]))
    image.InstanceNumber = draw(st.integers(1, 12345))
    image.ImagePositionPatient = draw(_numbers)
    image.PatientName = draw(_texts)
    if draw(st.booleans()):
        image.EchoTime = draw(st.one_of(st.none(), st.floats(0, 100).map(lambda number: round(number, 2))))
    if draw(st.booleans()):
        image.TriggerTime = 12.5
    if draw(st.booleans()):
        block = image.private_block(0x0019, "ACME", create=True)
        block.add_new(1, "OB", draw(st.binary(max_size=40)))
        block.add_new(2, "UN", draw(st.binary(max_size=40)))
        block.add_new(3, "LO", draw(_texts))
    for keyword in draw(st.lists(st.sampled_from(["ReferencedImageSequence", "RequestAttributesSequence"]))):
        setattr(image, keyword, draw(_sequences(2)))
    image.Rows, image.Columns, image.SamplesPerPixel = 2, 3, 1
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = draw(st.binary(min_size=12, max_size=12))
    image["PixelData"].VR = "OW"
    return image


@st.composite
def _sequences(draw, depth):
    items = []
    for _ in range(draw(st.integers(0, 3))):
        item = Dataset()
        # tags that would be wanted at the top level, and bytes that look like headers
        item.InstanceNumber, item.Rows = draw(st.integers(1, 99999)), draw(st.integers(0, 65535))
        item.PatientComments = draw(st.sampled_from(["", "x", "\x28\x00\x10\x00US\x02\x00\x01\x00"]))
        if depth and draw(st.booleans()):
            item.ReferencedImageSequence = draw(_sequences(depth - 1))
        item.is_undefined_length_sequence_item = draw(st.booleans())
        items.append(item)
    sequence = Sequence(items)
    sequence.is_undefined_length = draw(st.booleans())
    return sequence


def write(path, image, syntax):
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    for element in image:
        if element.VR == "SQ":
            element.is_undefined_length = element.value.is_undefined_length
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(path, image, enforce_file_format=True)


@settings(deadline=None, max_examples=40)
@given(images=st.lists(datasets(), min_size=1, max_size=4), data=st.data())
def test_whatever_is_around_them_values_are_those_of_the_dataset(tmp_path_factory, images, data):
    """In files that are laid out alike and otherwise, one after the other, implicit and explicit."""
    path = tmp_path_factory.getbasetemp() / "sorted.dcm"
    for image in images:
        write(path, image, data.draw(st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian])))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert agrees(path)


def test_files_laid_out_alike_are_not_walked(tmp_path, monkeypatch):
    """Two are learnt from where lengths differ; after that headers are compared."""
    for number in range(1, 40):
        image = mr_slices(1)[0]
        image.ImagePositionPatient = [0, 0, 1.25 * number]
        image.InstanceNumber = 10**5 * number
        dcmwrite(tmp_path / f"{number}.dcm", image)
    walks = []
    walk = header_reader.HeaderReader._walk
    monkeypatch.setattr(
        header_reader.HeaderReader, "_walk", lambda *arguments: walks.append(1) or walk(*arguments)
    )
    for path in sorted(tmp_path.iterdir()):
        assert agrees(path)
    assert len(walks) <= 4


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_that_is_cut_anywhere_does_no_harm(tmp_path, syntax):
    """Nothing is raised by reading a sorting header: what is wrong is reported when the dataset is read."""
    image = mr_slices(1)[0]
    image.file_meta.TransferSyntaxUID = syntax
    whole, cut = tmp_path / "whole.dcm", tmp_path / "cut.dcm"
    dcmwrite(whole, image, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    data = whole.read_bytes()
    at = data.rindex(b"\xe0\x7f\x10\x00")
    for length in [*range(0, 400), *range(400, at, 37), at, at + 4, at + 7]:
        cut.write_bytes(data[:length])
        assert read_sorting_header(LazyDataset(cut)) is None, length
    assert agrees(whole)
    cut.write_bytes(data[: at + 1000])
    with pytest.raises(PixelDataError, match="Pixel Data has 9"):
        NumpyGrinder()([LazyDataset(cut)])


@settings(deadline=None, max_examples=150)
@given(changes=st.lists(st.tuples(st.integers(132, 2000), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_file_with_broken_bytes_does_no_harm(tmp_path_factory, changes):
    """A sorting header gives values or nothing, whatever the bytes."""
    data = bytearray(Path(get_testdata_file("MR_small.dcm")).read_bytes())
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "broken.dcm"
    path.write_bytes(data)
    read = read_sorting_header(LazyDataset(path))
    assert read is None or isinstance(read, SortingHeader)


@pytest.mark.parametrize("broken", [b"\x40\0\x40", b"\x40"])
def test_numbers_of_odd_length_are_left_to_the_dataset(tmp_path, broken):
    """A value that is no whole number of numbers makes a sorting header give nothing; it raises nothing."""
    data = Path(get_testdata_file("MR_small.dcm")).read_bytes()
    rows = b"\x28\0\x10\0US\2\0\x40\0"
    assert data.count(rows) == 1
    path = tmp_path / "odd.dcm"
    path.write_bytes(data.replace(rows, rows[:6] + bytes([len(broken), 0]) + broken))
    assert read_sorting_header(LazyDataset(path)) is None


def test_what_is_not_plain_is_left_to_the_dataset(tmp_path):
    """Big endian, functional groups, a Modality LUT; a head of more than a megabyte; a file that has gone."""
    assert read_sorting_header(LazyDataset(get_testdata_file("MR_small_bigendian.dcm"))) is None
    assert read_sorting_header(LazyDataset(tmp_path / "gone.dcm")) is None
    assert read_sorting_header(ct_slices()[0]) is None
    read = LazyDataset(get_testdata_file("CT_small.dcm"))
    assert read.Rows == 128
    assert read_sorting_header(read) is None
    for keyword in ("SharedFunctionalGroupsSequence", "ModalityLUTSequence"):
        image = mr_slices(1)[0]
        setattr(image, keyword, [Dataset()])
        dcmwrite(tmp_path / "nested.dcm", image)
        assert read_sorting_header(LazyDataset(tmp_path / "nested.dcm")) is None
    image = mr_slices(1)[0]
    image.private_block(0x0009, "ACME", create=True).add_new(1, "OB", bytes(1 << 21))
    dcmwrite(tmp_path / "long.dcm", image)
    assert read_sorting_header(LazyDataset(tmp_path / "long.dcm")) is None
    assert NumpyGrinder()([LazyDataset(tmp_path / "long.dcm")]).shape == (1, 64, 64)


def test_long_heads_are_read_as_far_as_they_go(tmp_path):
    """A scanner's private data of some hundred kilobytes is not in the way."""
    image = mr_slices(1)[0]
    image.private_block(0x0009, "ACME", create=True).add_new(1, "OB", bytes(300_000))
    dcmwrite(tmp_path / "long.dcm", image)
    assert agrees(tmp_path / "long.dcm")


def test_compressed_images_are_seen_too(tmp_path):
    """Their pixels have no length, and are decoded from the dataset."""
    image = mr_slices(1)[0]
    image.compress(JPEGLSLossless, generate_instance_uid=False)
    dcmwrite(tmp_path / "packed.dcm", image)
    assert read_sorting_header(LazyDataset(tmp_path / "packed.dcm")).pixels.length is None


def test_a_file_that_changed_meanwhile_is_an_error(tmp_path, monkeypatch):
    """Another file under the same path is not read with the layout of the first."""
    path = tmp_path / "image.dcm"
    image = mr_slices(1)[0]
    dcmwrite(path, image)
    handle = LazyDataset(path)
    seen = read_sorting_header(handle)
    os.utime(path, ns=(1, 1))
    with handle.opened() as file, pytest.raises(FileGoneError, match="has been changed or replaced"):
        seen.read_into(file, 0, np.empty(4096, np.int16))


def test_other_attributes_are_asked_from_the_dataset(tmp_path):
    """A sorting header that does not know answers with what the file says."""
    seen = read_sorting_header(LazyDataset(get_testdata_file("CT_small.dcm")))
    assert seen.get("PatientID") == "1CT1"
    assert "PatientID" in seen
    assert seen.get("PatientSpeciesDescription", "none") == "none"
    assert seen.transfer_syntax == ExplicitVRLittleEndian != ExplicitVRBigEndian
