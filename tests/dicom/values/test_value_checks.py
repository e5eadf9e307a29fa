"""Values against their value representations (PS3.5 section 6.2)."""

import datetime as dt
import io
import math
from decimal import Decimal
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat, PersonName

from dicomnode.dicom.values.tags import dictionary_vr
from dicomnode.dicom.values.value_checks import allows_multiplicity, make_element
from dicomnode.errors import InvalidValueError


def made(keyword, value, vr=None):
    tag = Tag(tag_for_keyword(keyword))
    return make_element(tag, vr or dictionary_vr(tag), value).value


def written_and_read(keyword, value):
    dataset = Dataset()
    tag = Tag(tag_for_keyword(keyword))
    dataset.add(make_element(tag, dictionary_vr(tag), value))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dcmwrite(file, dataset, implicit_vr=False, little_endian=True)
    file.seek(0)
    return dcmread(file, force=True)[tag].value


@pytest.mark.parametrize(
    ("keyword", "value", "why"),
    [
        ("Modality", "ct", "upper-case"),
        ("Modality", "A" * 17, "17 characters, at most 16"),
        ("Modality", 3, "is not text"),
        ("SeriesDescription", "x" * 65, "65 characters, at most 64"),
        ("SeriesDescription", "a\nb", "control character"),
        ("SeriesDescription", "a\\b", "2 values given, the multiplicity is 1"),
        ("SeriesDescription", ["a\\b"], "backslash"),
        ("PatientName", "A" * 65, "65 characters, at most 64"),
        ("PatientName", "a=b=c=d", "4 component groups"),
        ("PatientName", "a^b^c^d^e^f", "more than 5 components"),
        ("StudyDate", "20260231", "not a day of the calendar"),
        ("StudyDate", "2026-02-01", "not a date YYYYMMDD"),
        ("StudyDate", "20260101-20260102", "range"),
        ("StudyDate", "20260101-", "range"),
        ("StudyTime", "1000-1100", "range"),
        ("StudyTime", "25", "not a time"),
        ("AcquisitionDateTime", "20261301", "not a date and time"),
        ("PatientAge", "42", "042Y"),
        ("StudyInstanceUID", "1.02.3", "leading zero"),
        ("StudyInstanceUID", "1." * 40 + "1", "81 characters, at most 64"),
        ("SliceThickness", float("nan"), "no NaN"),
        ("SliceThickness", math.inf, "no NaN or infinity"),
        ("SliceThickness", "1.23456789012345678", "at most 16 characters"),
        ("SliceThickness", "thick", "decimal number"),
        ("SliceThickness", True, "not a number"),
        ("SeriesNumber", 1.5, "not a whole number"),
        ("SeriesNumber", 2**31, "outside"),
        ("SeriesNumber", "one", "not a whole number"),
        ("Rows", -1, "outside 0 to 65535"),
        ("Rows", 70000, "outside 0 to 65535"),
        ("ImagePositionPatient", [1, 2], "2 values given, the multiplicity is 3"),
        ("PixelSpacing", 1.0, "1 value given, the multiplicity is 2"),
        ("AnatomicRegionSequence", "brain", "not a dataset"),
        ("AnatomicRegionSequence", [{"CodeValue": "1"}], "not a pydicom Dataset"),
        ("EncapsulatedDocument", "text", "not bytes"),
        ("FrameIncrementPointer", "nonsense", "not a tag"),
        ("RetrieveAETitle", "ÄÖÜ", "printable ASCII"),
        ("StudyComments", "a\x00b", "control character"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_keyword_and_reason(keyword, value, why):
    """The error names the attribute and what is wrong with the value."""
    with pytest.raises(InvalidValueError) as caught:
        made(keyword, value)
    assert keyword in str(caught.value)
    assert why in str(caught.value)


class Colour(Enum):
    """An enumeration as plugin authors use them."""

    GREY = "MONOCHROME2"


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("StudyDate", dt.date(2026, 1, 2), "20260102"),
        ("StudyTime", dt.time(10, 11, 12), "101112.000000"),
        ("StudyDate", dt.datetime(2026, 1, 2, 3), "20260102"),
        ("AcquisitionDateTime", dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "20260102030000.000000+0000"),
        ("PhotometricInterpretation", Colour.GREY, "MONOCHROME2"),
        ("ImageType", ("DERIVED", "PRIMARY"), ["DERIVED", "PRIMARY"]),
        ("ImageType", "DERIVED\\PRIMARY", ["DERIVED", "PRIMARY"]),
        ("Rows", np.uint16(7), 7),
        ("PixelSpacing", np.array([0.5, 0.25]), [0.5, 0.25]),
        ("SliceThickness", Decimal("2.5"), 2.5),
        ("SliceThickness", DSfloat("2.500000"), 2.5),
        ("SeriesNumber", 3.0, 3),
        ("PatientName", PersonName("Doe^Jane"), "Doe^Jane"),
        ("StudyComments", "two\r\nlines \\ one value", "two\r\nlines \\ one value"),
        ("EncapsulatedDocument", bytearray(b"%PDF"), b"%PDF"),
        ("FrameIncrementPointer", 0x00540010, 0x00540010),
        ("SmallestImagePixelValue", -5, -5),
    ],
)
def test_what_python_offers_is_converted(keyword, value, expected):
    """Dates, numbers of numpy, tuples and enumerations need no conversion by the author."""
    assert made(keyword, value) == expected


@pytest.mark.parametrize("value", [None, "", []])
def test_nothing_makes_an_empty_element(value):
    """``None`` and empty text are the empty value of Type 2 attributes."""
    assert not made("PatientID", value)
    assert not made("AnatomicRegionSequence", value or None)


def test_ambiguous_vrs_are_decided_by_the_value_or_asked_for():
    """US or SS follows the sign; where nothing decides the message asks for the VR."""
    tag = Tag("SmallestImagePixelValue")
    assert make_element(tag, "US or SS", 5).VR == "US"
    assert make_element(tag, "US or SS", -5).VR == "SS"
    with pytest.raises(InvalidValueError, match="say which"):
        make_element(Tag("PixelData"), "OB or OW", b"\0\0")


def test_a_sequence_shares_nothing_with_what_was_given():
    """Editing the given dataset later does not edit the element."""
    item = Dataset()
    item.CodeValue = "1"
    sequence = made("AnatomicRegionSequence", [item])
    item.CodeValue = "2"
    assert sequence[0].CodeValue == "1"


@given(st.floats(-1e300, 1e300))
def test_any_finite_number_fits_a_decimal_string(number):
    """A DS never exceeds 16 characters and is as near as that allows (PS3.5 section 6.2)."""
    read = written_and_read("SliceThickness", number)
    assert len(str(read)) <= 16
    assert float(read) == pytest.approx(number, rel=1e-8, abs=1e-300)


def test_a_number_that_rounds_out_of_range_is_refused():
    """The largest doubles have no 16 characters near them that are still finite."""
    with pytest.raises(InvalidValueError, match="cannot be written in 16 characters"):
        made("SliceThickness", 1.7976931345e308)


@given(st.integers(-(2**31), 2**31 - 1))
def test_any_integer_of_32_bits_survives_an_integer_string(number):
    """An IS holds every signed 32-bit integer."""
    assert written_and_read("SeriesNumber", number) == number


@given(
    st.text(st.characters(codec="ascii", exclude_characters="\\\x7f", exclude_categories=["Cc"]), max_size=64)
)
def test_any_text_of_the_right_length_is_accepted(text):
    """What the VR allows is accepted, trailing spaces aside."""
    assert written_and_read("SeriesDescription", text) in (text.rstrip(" "), text.rstrip(" ") or None, "")


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        ("1", [1], [2]),
        ("1-3", [1, 3], [4]),
        ("2-2n", [2, 4], [1, 3]),
        ("3-3n", [3, 6], [4]),
        ("1-n", [1, 9], [0]),
    ],
)
def test_multiplicities_are_read_as_the_dictionary_writes_them(wanted, good, bad):
    """Fixed, bounded and open multiplicities, and multiples."""
    assert all(allows_multiplicity(wanted, count) for count in good)
    assert not any(allows_multiplicity(wanted, count) for count in bad)


def test_items_of_a_sequence_are_copied_with_their_private_blocks():
    """Nothing that is done to the element reaches the data sets it was made of."""
    item = Dataset()
    item.private_block(0x0029, "ACME", create=True).add_new(1, "LO", "given")
    element = make_element(Tag("AnatomicRegionSequence"), "SQ", [item])
    element.value[0].private_block(0x0029, "ACME")[1].value = "changed"
    assert item.private_block(0x0029, "ACME")[1].value == "given"
