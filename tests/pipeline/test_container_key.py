"""The key of a container: exact, made of stored bytes, and readable where the bytes are."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicomnode import LazyDataset
from dicomnode.dicom.values.tags import STORED_BYTES
from dicomnode.pipeline.container_key import stored_bytes, stored_key

PATIENT, ISSUER = 0x00100020, 0x00100021


def stored_key_of(made: Dataset) -> str:
    """Return the key of an image's patient."""
    return stored_key(made, PATIENT)


def image(**values: str) -> Dataset:
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


def test_any_attribute_may_make_the_key() -> None:
    """The key is the value of the attribute that is named; only a Patient ID has an issuer."""
    made = image(IssuerOfPatientID="NORTH")
    assert [stored_key(made, tag) for tag in (PATIENT, 0x0020000D)] == ["4711@NORTH", "1.2"]


def test_the_issuer_counts() -> None:
    """Two patients of one number and different issuers are two; without an issuer nothing stands there."""
    keys = {stored_key_of(image(IssuerOfPatientID=issuer)) for issuer in ("NORTH", "SOUTH", "")}
    assert keys == {"4711@NORTH", "4711@SOUTH", "4711"}


def test_bytes_that_do_not_decode() -> None:
    """Patient IDs that differ only in bytes that are invalid in their character set have two keys."""
    keys = [stored_key_of(stored(text)) for text in (b"M\xfcller-1", b"M\xf6ller-1")]
    assert keys == ["M%FCller-1", "M%F6ller-1"]


def test_padding_is_no_identity() -> None:
    """A trailing space or NUL is padding (PS3.5 section 6.2)."""
    assert {stored_key_of(stored(text)) for text in (b"4711", b"4711 ", b"4711\0", b" 4711")} == {"4711"}


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=6), st.binary(max_size=4)), min_size=2, max_size=6))
def test_equal_keys_are_equal_bytes(patients: list[tuple[bytes, bytes]]) -> None:
    """Whatever the bytes are, two keys are equal exactly where the trimmed bytes are."""
    trimmed = {(patient.strip(b" \0"), issuer.strip(b" \0")) for patient, issuer in patients}
    keys = {stored_key_of(stored(patient, issuer)) for patient, issuer in patients}
    assert len(keys - {""}) == len({each for each in trimmed if each[0]})


def test_a_separator_in_a_value_is_no_separator() -> None:
    """At sign and percent of a value are escaped: no two values make one key."""
    assert stored_key_of(image(PatientID="a/b@c%d")) == "a/b%40c%25d"


def test_an_image_without_it_has_no_key() -> None:
    """An image without a Patient ID, or with an empty one, has none, whatever its issuer is."""
    assert stored_key_of(image(PatientID="", IssuerOfPatientID="NORTH")) == ""
    assert stored_key_of(Dataset()) == ""


def test_the_index_answers_without_the_file(tmp_path: Path) -> None:
    """What the receiver indexed makes the key; the file, which is not there, is not opened."""
    index = {PATIENT | STORED_BYTES: "M\xfcller", ISSUER | STORED_BYTES: ""}
    handle = LazyDataset(tmp_path / "gone.dcm", index)
    assert stored_key_of(handle) == "M%FCller"
    assert not handle.was_read


@given(st.text(alphabet="abcäöü", min_size=1, max_size=6))
def test_a_dataset_in_memory_has_the_bytes_that_would_be_stored(text: str) -> None:
    """Text that was decoded is encoded again in the character set of its data set."""
    made = image(SpecificCharacterSet="ISO_IR 192", PatientID=text)
    assert stored_bytes(made, PATIENT) == text.encode()
