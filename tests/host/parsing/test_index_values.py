"""Raw values as plain data: what LazyDataset takes without knowing how they were encoded."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicomnode.dicom.values.tags import ABSENT
from dicomnode.host.parsing.index_values import (
    decoded_value,
    encodings_of,
    index_of,
    indexed_vr,
    text_of,
    vr_of,
)
from dicomnode.host.parsing.structure import BytesSource, Findings, RawValue, WalkLimits, walk
from receiving import encoded

LATIN = ("iso8859",)


def value(vr: str, raw: bytes, encodings: tuple[str, ...] = LATIN, *, little: bool = True) -> Any:
    return decoded_value(vr, raw, encodings, little)


def findings(character_set: bytes | None) -> Findings:
    data = b""
    if character_set is not None:
        data = b"\x08\0\x05\0CS" + struct.pack("<H", len(character_set)) + character_set
    wanted = frozenset({0x00080005})
    return walk(BytesSource(data), 0, len(data), "1.2.840.10008.1.2.1", wanted, WalkLimits())


@pytest.mark.parametrize(
    ("vr", "raw", "expected"),
    [
        ("LO", b"one\\two ", ["one", "two"]),
        ("LO", b" one ", "one"),
        ("LO", b"", None),
        ("LO", b"  ", None),
        ("LO", b"a\\\\b", ["a", None, "b"]),
        ("UT", b" one\\two  ", " one\\two"),
        ("UI", b"1.2.3\0", "1.2.3"),
        ("CS", b"DERIVED\\PRIMARY", ["DERIVED", "PRIMARY"]),
        ("IS", b" 12 ", 12),
        ("IS", b"-3\\x", [-3, "x"]),
        ("IS", b"", None),
        ("DS", b"1.5\\-2e3", [1.5, -2000.0]),
        ("DS", b"nan", "nan"),
        ("DS", b"1e999", "1e999"),
        ("DS", b"1,5", "1,5"),
        ("US", b"\1\0", 1),
        ("US", b"\1\0\2\0", [1, 2]),
        ("US", b"\1", None),
        ("US", b"\1\0\2", 1),
        ("SS", b"\xff\xff", -1),
        ("UL", b"\1\0\0\0", 1),
        ("SL", b"\xff\xff\xff\xff", -1),
        ("UV", b"\1\0\0\0\0\0\0\0", 1),
        ("SV", b"\xff\xff\xff\xff\xff\xff\xff\xff", -1),
        ("FL", struct.pack("<f", 0.5), 0.5),
        ("FD", struct.pack("<2d", 0.5, 2.0), [0.5, 2.0]),
        ("AT", b"\x28\0\x10\0", 0x00280010),
        ("AT", b"\x28\0\x10\0\x28\0\x11\0", [0x00280010, 0x00280011]),
        ("AT", b"\x28\0", None),
        ("AT", b"", None),
    ],
)
def test_values_by_their_vr(vr: str, raw: bytes, expected: object) -> None:
    """Text is stripped and split, numbers are numbers, nothing is None; what makes no sense stays text."""
    assert value(vr, raw) == expected


def test_numbers_of_big_endian_data_sets() -> None:
    """Bytes are taken in the order in which they came."""
    assert value("US", b"\0\1", little=False) == 1
    assert value("AT", b"\0\x28\0\x10", little=False) == 0x00280010
    assert value("FD", struct.pack(">d", 0.5), little=False) == 0.5


def test_text_is_decoded_by_the_character_set() -> None:
    """Only of those VRs that it holds for; what cannot be decoded is replaced."""
    assert value("LO", "größer".encode(), ("utf8",)) == "größer"
    assert value("LO", "größer".encode("latin1")) == "größer"
    assert value("LO", b"\xff", ("utf8",)) == "\ufffd"
    assert value("CS", "größer".encode(), ("utf8",)) == "gr\ufffd\ufffd\ufffd\ufffder"
    assert value("LO", b"a\x1bb") == "a\x1bb"


def test_code_extensions() -> None:
    """Several character sets are told apart by their escapes (PS3.5 section 6.1.2.5)."""
    both = ("iso8859", "iso_ir_126")
    read = value("PN", b"Smith=\x1b\x2d\x46\xc4\xe9\xef\xed", both)
    assert read == "Smith=Διον"


@given(
    st.binary(max_size=40),
    st.sampled_from(["LO", "PN", "UT", "IS", "DS", "US", "FD", "AT", "UI", "DA", "SV"]),
)
def test_any_bytes_are_plain_data(raw: bytes, vr: str) -> None:
    """Whatever is in the element, its value is one that JSON has, and it comes back as it went."""
    read = value(vr, raw)
    assert json.loads(json.dumps(read)) == read


def test_a_list_is_nobody_elses() -> None:
    """The same bytes are decoded once, and everybody has a list of their own."""
    first = value("US", b"\1\0\2\0")
    first.append(3)
    assert value("US", b"\1\0\2\0") == [1, 2]


def test_which_vr_counts() -> None:
    """The data set's own, else the dictionary's; what that does not know is unknown."""
    assert (vr_of(0x00100010), vr_of(0x00280106), vr_of(0x00091001)) == ("PN", "US", "UN")
    assert indexed_vr("LO", 0x00100010) == "LO"
    assert indexed_vr("UN", 0x00100010) == indexed_vr(None, 0x00100010) == "PN"


def test_an_index_has_what_is_wanted_and_no_more() -> None:
    """Sequences, bulk data and what is not wanted are left out; what is not there is told to be absent."""
    dataset = Dataset()
    dataset.PatientID, dataset.Rows, dataset.Modality = "P1", 64, "CT"
    dataset.ReferencedStudySequence = [Dataset()]
    dataset.add_new(0x00091001, "UN", b"ab")
    dataset.add_new(0x7FE00010, "OW", bytes(8))
    data = encoded(dataset)
    wanted = frozenset({0x00100020, 0x00280010, 0x00081110, 0x00091001, 0x00100010, 0x7FE00010})
    found = walk(BytesSource(data), 0, len(data), "1.2.840.10008.1.2.1", wanted | {0x00080060}, WalkLimits())
    assert index_of(found, wanted) == {0x00100020: "P1", 0x00280010: 64, 0x00100010 | ABSENT: 1}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, LATIN),
        (b"", LATIN),
        (b" \0", LATIN),
        (b"ISO_IR 192", ("utf8",)),
        (b"ISO_IR 100 ", ("latin_1",)),
        (b"Smith^John", LATIN),
    ],
)
def test_character_sets(
    raw: bytes | None, expected: tuple[str, ...], recwarn: pytest.WarningsRecorder
) -> None:
    """By Python's names; one that nobody knows is as good as none, and nobody is warned by its value."""
    assert tuple(name.lower() for name in encodings_of(findings(raw))) == expected
    assert not [each for each in recwarn if "Smith" in str(each.message)]


def test_one_plain_value() -> None:
    """A UID without its padding; empty where it is not there."""
    values = {0x00080018: RawValue("UI", b"1.2.3\0")}
    assert text_of(values, 0x00080018) == "1.2.3"
    assert text_of(values, 0x00080016) == ""
