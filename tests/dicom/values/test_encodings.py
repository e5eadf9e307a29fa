"""How elements are encoded in each transfer syntax, held against pydicom's dictionary and writer."""

from io import BytesIO

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_data_element
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from dicomnode.dicom.values.encodings import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    encoding_of,
)

ENCODINGS = [IMPLICIT, EXPLICIT, BIG]


def encoded(element, encoding):
    """Return an element as pydicom writes it."""
    file = DicomFileLike(BytesIO())
    file.is_implicit_VR, file.is_little_endian = not encoding.explicit, encoding.little
    write_data_element(file, element)
    return file.parent.getvalue()


@pytest.mark.parametrize(
    ("syntax", "encoding"),
    [
        (ImplicitVRLittleEndian, IMPLICIT),
        (ExplicitVRLittleEndian, EXPLICIT),
        (ExplicitVRBigEndian, BIG),
        (DeflatedExplicitVRLittleEndian, EXPLICIT),
        (JPEG2000Lossless, EXPLICIT),
        ("1.2.3", EXPLICIT),
    ],
)
def test_all_but_two_syntaxes_are_explicit_little_endian(syntax, encoding):
    """PS3.5 annex A."""
    assert encoding_of(syntax) is encoding


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["implicit", "explicit", "big endian"])
@pytest.mark.parametrize(
    "element",
    [
        DataElement(0x00100020, "LO", "ID"),
        DataElement(0x00420011, "OB", b"PDF!"),
        DataElement(0x00280010, "US", 5),
    ],
    ids=["LO", "OB", "US"],
)
def test_the_header_of_an_element_is_read(encoding, element):
    """Tag, VR and length of what pydicom wrote."""
    data = encoded(element, encoding)
    key, *rest = encoding.header(data, 0)
    assert encoding.tag(key) == element.tag
    assert encoding.key(element.tag) == key
    if not encoding.explicit:
        assert rest == [len(data) - 8]
        return
    code, length = rest
    assert encoding.vr_name(code) == element.VR
    assert encoding.vr_code(element.VR) == code
    if element.VR == "OB":
        assert code in encoding.long_vrs
        assert encoding.u32(data, 8) == (len(data) - 12,)
    else:
        assert code in encoding.short_vrs
        assert length == len(data) - 8


@pytest.mark.parametrize("encoding", [EXPLICIT, BIG], ids=["explicit", "big endian"])
def test_every_vr_is_short_or_long_as_pydicom_says(encoding):
    """PS3.5 section 7.1.2; SQ is apart."""
    short = {encoding.vr_name(code) for code in encoding.short_vrs}
    long = {encoding.vr_name(code) for code in encoding.long_vrs}
    assert short == {str(vr) for vr in EXPLICIT_VR_LENGTH_16}
    assert long | {"SQ"} == {str(vr) for vr in EXPLICIT_VR_LENGTH_32}
    assert encoding.vr_name(encoding.sq) == "SQ"


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["implicit", "explicit", "big endian"])
def test_sequences_and_delimiters_are_known(encoding):
    """Those that pydicom writes around items of undefined length (PS3.5 section 7.5)."""
    item = Dataset()
    item.PatientID = "1"
    item.is_undefined_length_sequence_item = True
    element = DataElement(0x00081140, "SQ", [item])
    element.is_undefined_length = True
    data = encoded(element, encoding)
    start = 12 if encoding.explicit else 8
    assert encoding.key(0x00081140) in encoding.sequence_keys
    assert encoding.key(0x00100020) not in encoding.sequence_keys
    assert encoding.u32(data, start - 4) == (UNDEFINED_LENGTH,)
    keys = [encoding.u32(data, at)[0] for at in (start, len(data) - 16, len(data) - 8)]
    assert keys == [encoding.item, encoding.item_end, encoding.sequence_end]
    assert list(map(encoding.tag, keys)) == [ITEM, ITEM_END, SEQUENCE_END]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["implicit", "explicit", "big endian"])
@pytest.mark.parametrize(
    ("tag", "forbidden"),
    [(0x00020010, True), (0x00000000, True), (ITEM, True), (0x00080005, False), (0x00090010, False)],
)
def test_groups_that_no_data_set_has(encoding, tag, forbidden):
    """Commands, file meta information and delimiters; a private group is an ordinary one."""
    assert (encoding.key(tag) & encoding.group_mask in encoding.forbidden_groups) is forbidden
