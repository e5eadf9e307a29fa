"""Bytes of elements, file meta information and data sets are those that pydicom writes."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_dataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomnode.dicom.building.encoding import (
    add_file_meta,
    encode_dataset,
    encode_element,
    encode_elements,
    encode_file_meta,
    encode_sequence,
    encode_text,
    pixel_header,
)
from dicomnode.dicom.values.uids import IMPLEMENTATION_CLASS_UID
from dicomnode.dicom.values.value_checks import make_element
from sources import ct_slices, dose_grid, mr_slices, nm_image, pet_slices

IMAGES = {
    "CT": lambda: ct_slices()[0],
    "MR": lambda: mr_slices(1)[0],
    "PET": lambda: pet_slices(1)[0],
    "NM": nm_image,
    "RT Dose": dose_grid,
}


def by_pydicom(element, charset="ISO_IR 6"):
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_data_element(file, element, charset)
    return file.getvalue()


@pytest.mark.parametrize("name", IMAGES)
def test_elements_of_real_images_are_encoded_as_pydicom_does(name):
    """Every element, those of sequences too, in the order of tags, without group lengths."""
    image = IMAGES[name]()
    charset = image.get("SpecificCharacterSet")
    image.add_new(0x00280000, "UL", 4)  # a group length, retired outside of groups 2, 4 and 6
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, image)
    assert b"".join(encoded for _, encoded in encode_elements(image, charset)) == file.getvalue()
    assert [tag for tag, _ in encode_elements(image, charset)] == sorted(set(image.keys()) - {0x00280000})


TEXTS = st.text("abcXYZ 019_.", max_size=12)


@given(
    keyword=st.sampled_from(["StudyDescription", "SeriesDescription", "PatientComments", "StudyID"]),
    value=st.one_of(TEXTS, st.text("aüŁ画", max_size=8)),
)
def test_text_is_encoded_as_pydicom_does(keyword, value):
    """ASCII at once, anything else in the character set of the instance."""
    tag = Tag(keyword)
    element = make_element(tag, {"PatientComments": "LT", "StudyID": "SH"}.get(keyword, "LO"), value)
    charset = "ISO_IR 192"
    assert encode_element(element, charset, Dataset()) == by_pydicom(element, ["UTF8"])


@given(st.lists(st.floats(-1e5, 1e5).map(lambda number: round(number, 4)), min_size=0, max_size=5))
def test_decimal_strings_are_encoded_as_pydicom_does(values):
    """With the digits that the element has, whatever their number."""
    element = DataElement(0x3004000C, "DS", [f"{value:.10g}" for value in values] or None)
    assert encode_element(element, None, Dataset()) == by_pydicom(element)


def test_a_vr_that_depends_on_the_data_set_is_settled():
    """``US or SS`` by PixelRepresentation (PS3.5 section 8.2)."""
    owner = Dataset()
    owner.PixelRepresentation = 1
    element = DataElement(0x00280106, "US or SS", -5)
    assert encode_element(element, None, owner)[4:6] == b"SS"


@pytest.mark.parametrize("text", [b"", b"odd", b"even"])
def test_text_is_padded_to_even_length(text):
    """With a space; a UID with zero (PS3.5 section 6.2)."""
    assert encode_text(0x00100020, b"LO", text).endswith(text + b" " * (len(text) % 2))
    assert encode_text(0x00080018, b"UI", text).endswith(text + b"\0" * (len(text) % 2))
    assert len(encode_text(0x00080018, b"UI", text)) == 8 + len(text) + len(text) % 2


def test_a_sequence_is_encoded_from_the_bytes_of_its_items():
    """As pydicom writes it, with explicit lengths; also an empty one."""
    items = [Dataset(), Dataset()]
    items[0].CodeValue, items[1].CodeMeaning = "1", "one"
    element = DataElement(0x00082218, "SQ", items)
    bodies = [b"".join(encoded for _, encoded in encode_elements(item, None)) for item in items]
    assert encode_sequence(element.tag, bodies) == by_pydicom(element)
    assert encode_sequence(element.tag, []) == by_pydicom(DataElement(0x00082218, "SQ", []))


def test_file_meta_information_is_that_of_the_data_set():
    """Preamble, prefix and group 2 are the same bytes, made of two UIDs alone (PS3.10 section 7.1)."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3"
    whole = encode_dataset(add_file_meta(dataset))
    prefix = encode_file_meta(CTImageStorage, "1.2.3")
    assert whole.startswith(prefix)
    read = dcmread(BytesIO(whole)).file_meta
    assert (read.MediaStorageSOPClassUID, read.MediaStorageSOPInstanceUID) == (CTImageStorage, "1.2.3")
    assert read.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read.ImplementationClassUID == IMPLEMENTATION_CLASS_UID


@pytest.mark.parametrize(("vr", "length"), [("OW", 7), ("OB", 8), ("OF", 12)])
def test_the_header_of_bulk_data_counts_the_padding(vr, length):
    """Its value is padded to even length by whoever writes it."""
    value = bytes(length)
    expected = by_pydicom(DataElement(0x7FE00010, vr, value + b"\0" * (length % 2)))
    assert pixel_header(0x7FE00010, vr, length) == expected[:12]


def test_only_bulk_data_has_such_a_header():
    """A VR of 16 bits of length cannot hold pixels."""
    with pytest.raises(ValueError, match="US holds no bulk data"):
        pixel_header(0x7FE00010, "US", 2)
