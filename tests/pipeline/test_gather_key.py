"""The key of a container: exact, made of stored bytes, and readable where the bytes are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicomnode import LazyDataset
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.errors import ConfigurationError
from dicomnode.pipeline.gather_key import Grouping, stored_bytes

PATIENT, ISSUER = 0x00100020, 0x00100021


def image(**values: object) -> Dataset:
    """Return an image of a patient."""
    made = Dataset()
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = "4711", "1.2", "1.2.3"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def stored(patient: bytes, issuer: bytes = b"", charset: str = "ISO_IR 192") -> Dataset:
    """Return an image whose Patient ID is stored as these bytes."""
    made = image(SpecificCharacterSet=charset)
    for tag, value in ((PATIENT, patient), (ISSUER, issuer)):
        made._dict[Tag(tag)] = RawDataElement(Tag(tag), "LO", len(value), value, 0, False, True)
    return made


@pytest.mark.parametrize(
    ("gather_by", "key"),
    [
        ("patient", "4711"),
        ("study", "4711/1.2"),
        ("series", "4711/1.2/1.2.3"),
        ("StudyInstanceUID", "1.2"),
        (["PatientID", "SeriesInstanceUID"], "4711/1.2.3"),
    ],
)
def test_what_one_job_is(gather_by: str | list[str], key: str) -> None:
    """The key names patient, study and series as far as gather_by asks, or attributes by keyword."""
    assert Grouping.of(gather_by).key(image()) == key


def test_the_issuer_counts() -> None:
    """Two patients of one number and different issuers are two; without an issuer nothing stands there."""
    grouping = Grouping.of("patient")
    keys = {grouping.key(image(IssuerOfPatientID=issuer)) for issuer in ("NORTH", "SOUTH", "")}
    assert keys == {"4711@NORTH", "4711@SOUTH", "4711"}


def test_bytes_that_do_not_decode() -> None:
    """Patient IDs that differ only in bytes that are invalid in their character set have two keys."""
    grouping = Grouping.of("patient")
    keys = [grouping.key(stored(text)) for text in (b"M\xfcller-1", b"M\xf6ller-1")]
    assert keys == ["M%FCller-1", "M%F6ller-1"]


def test_padding_is_no_identity() -> None:
    """A trailing space or NUL is padding (PS3.5 section 6.2)."""
    grouping = Grouping.of("patient")
    assert {grouping.key(stored(text)) for text in (b"4711", b"4711 ", b"4711\0", b" 4711")} == {"4711"}


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=6), st.binary(max_size=4)), min_size=2, max_size=6))
def test_equal_keys_are_equal_bytes(patients: list[tuple[bytes, bytes]]) -> None:
    """Whatever the bytes are, two keys are equal exactly where the trimmed bytes are."""
    grouping = Grouping.of("patient")
    trimmed = {(patient.strip(b" \0"), issuer.strip(b" \0")) for patient, issuer in patients}
    keys = {grouping.key(stored(patient, issuer)) for patient, issuer in patients}
    assert len(keys - {""}) == len({each for each in trimmed if each[0]})


def test_a_separator_in_a_value_is_no_separator() -> None:
    """Slash, at sign and percent of a value are escaped: no two values make one key."""
    assert Grouping.of("patient").key(image(PatientID="a/b@c%d")) == "a%2Fb%40c%25d"


def test_what_is_missing_is_named() -> None:
    """An image without what makes the key has none, and the attribute is named with its tag."""
    grouping = Grouping.of("patient")
    assert grouping.key(image(PatientID="")) == ""
    assert grouping.lacking(image(PatientID="")) == "PatientID (0010,0020)"


def test_an_attribute_that_dicom_does_not_have() -> None:
    """A misspelt keyword is told, with what may stand there."""
    with pytest.raises(ConfigurationError, match=r"'PatientIdd'.*'series', 'study', 'patient'"):
        Grouping.of("PatientIdd")
    with pytest.raises(ConfigurationError, match="nothing"):
        Grouping.of([])


def test_an_attribute_that_is_no_text() -> None:
    """Trimmed like text, binary numbers 2 and 512 would make one key: they are told to be no text."""
    with pytest.raises(ConfigurationError, match=r"'Rows' \(US\), 'PixelData' \(OB or OW\): .* are text"):
        Grouping.of(["PatientID", "Rows", "PixelData"])


def test_a_number_that_is_zero() -> None:
    """A number of value 0 is a value, in memory as in a file."""
    made = image(AcquisitionNumber=0)
    assert Grouping.of(["PatientID", "AcquisitionNumber"]).key(made) == "4711/0"


def test_the_index_answers_without_the_file(tmp_path: Path) -> None:
    """What the receiver indexed makes the key; the file, which is not there, is not opened."""
    index = {PATIENT | STORED_BYTES: "M\xfcller", ISSUER | STORED_BYTES: ""}
    handle = LazyDataset(tmp_path / "gone.dcm", index)
    assert Grouping.of("patient").key(handle) == "M%FCller"
    assert not handle.was_read


@given(st.text(alphabet="abcäöü", min_size=1, max_size=6))
def test_a_dataset_in_memory_has_the_bytes_that_would_be_stored(text: str) -> None:
    """Text that was decoded is encoded again in the character set of its data set."""
    made = image(SpecificCharacterSet="ISO_IR 192", PatientID=text)
    assert stored_bytes(made, PATIENT) == text.encode()


def test_keywords_keep_issuers_apart() -> None:
    """Two hospitals have the same numbers; an issuer that is named is a part of its own."""
    grouping = Grouping.of(["AccessionNumber", "PatientID"])
    assert grouping.name == "AccessionNumber, PatientID"
    one, other, neither = Dataset(), Dataset(), Dataset()
    for image in (one, other, neither):
        image.AccessionNumber, image.PatientID = "A1", "4711"
    one.IssuerOfPatientID, other.IssuerOfPatientID = "HOSP1", "HOSP2"
    assert [grouping.key(each) for each in (one, other, neither)] == [
        "A1/4711@HOSP1",
        "A1/4711@HOSP2",
        "A1/4711",
    ]
    named = Grouping.of(["PatientID", "IssuerOfPatientID"])
    assert [named.key(each) for each in (one, neither)] == ["4711/HOSP1", "4711/"]
