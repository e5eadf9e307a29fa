"""The walk: everything readable passes, everything else is refused, in bounded time and memory."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from dicomnode.errors import StructureError
from dicomnode.host.parsing.file_meta import decode_prefix
from dicomnode.host.parsing.inspection import inspect
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.parsing.structure import BytesSource, WalkLimits, walk
from receiving import encoded, small_dataset

EXPLICIT = ExplicitVRLittleEndian
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
WANTED = frozenset({0x00080018, 0x00100010, 0x00100020, 0x0020000D, 0x0020000E, 0x00280010})


class Trickle:
    """Gives no byte more than it is asked for, so that every boundary is crossed."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def window(self, position: int, at_least: int) -> bytes:
        """Return what was asked for, no more."""
        return self.data[position : position + at_least]


def check(data: bytes, syntax: str = EXPLICIT, **limits: int) -> Any:
    whole = walk(BytesSource(data), 0, len(data), syntax, WANTED, WalkLimits(**limits))
    trickled = walk(Trickle(data), 0, len(data), syntax, WANTED, WalkLimits(**limits))
    assert trickled == whole
    return whole


def element(tag: int, vr: str, value: bytes) -> bytes:
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in {"OB", "OW", "SQ", "UN", "UT"}:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


@pytest.mark.parametrize("syntax", NATIVE)
def test_values_are_those_that_pydicom_reads(syntax: str) -> None:
    """Wanted top-level values are found, in every native transfer syntax."""
    dataset = small_dataset()
    found = check(encoded(dataset, syntax), syntax)
    assert found.values[0x00080018].value.rstrip(b"\0").decode() == dataset.SOPInstanceUID
    assert found.values[0x00100010].value.rstrip().decode() == dataset.PatientName
    assert int.from_bytes(found.values[0x00280010].value, "little" if found.little_endian else "big") == 64
    assert found.pixel_data_length == len(dataset.PixelData)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "JPEG2000.dcm", "rtplan.dcm", "rtdose.dcm", "reportsi.dcm"]
)
def test_real_files_pass(name: str) -> None:
    """Encapsulated pixels, nested sequences and reports from the wild are readable."""
    data = Path(get_testdata_file(name)).read_bytes()
    meta, offset = decode_prefix(data)
    assert check(data[offset:], meta.TransferSyntaxUID).values


def test_every_truncation_is_noticed() -> None:
    """A data set cut anywhere but between two top-level elements cannot be read."""
    dataset = small_dataset()
    dataset.ReferencedStudySequence = Sequence([Dataset(), Dataset()])
    dataset.ReferencedStudySequence[1].ReferencedSOPInstanceUID = "1.2.3"
    data = encoded(dataset)
    boundaries, at = {0}, 0
    for piece in dataset:
        one = Dataset()
        one.add(piece)
        at += len(encoded(one))
        boundaries.add(at)
    assert at == len(data)
    for length in range(1, 1400):
        if length not in boundaries:
            with pytest.raises(StructureError):
                check(data[:length])
    with pytest.raises(StructureError):
        check(data[:-200])


@pytest.mark.parametrize("depth", [900, 100_000])
@pytest.mark.parametrize("undefined", [False, True])
def test_nesting_is_bounded_without_recursion(depth: int, undefined: bool) -> None:
    """Sequences nested 100,000 deep are refused, in no time and without a RecursionError."""
    if undefined:
        one = struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF)
        data = (one + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth
    else:
        whole = 20 * depth
        data = b"".join(
            struct.pack("<HH2sHI", 8, 0x1115, b"SQ", 0, whole - 20 * n - 12)
            + struct.pack("<HHI", 0xFFFE, 0xE000, whole - 20 * n - 20)
            for n in range(depth)
        )
    with pytest.raises(StructureError, match="nested deeper than 64"):
        check(data)


def test_nesting_within_the_limit_passes() -> None:
    """What stays within the limit is walked."""
    data = element(0x00080018, "UI", b"1.2.3\0")
    for _ in range(60):
        data = element(0x00081115, "SQ", item(data))
    assert check(data, depth=60).elements >= 60
    with pytest.raises(StructureError):
        check(data, depth=59)


def test_the_number_of_elements_is_bounded() -> None:
    """A data set of a million empty elements is refused at the limit."""
    data = element(0x00091001, "LO", b"") * 1000
    assert check(data).elements == 1000
    assert check(data, elements=1000).elements == 1000
    with pytest.raises(StructureError, match="more than 999 elements"):
        check(data, elements=999)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (element(0x00080018, "UI", b"1.2\0") * 2, "twice"),
        (element(0x00080018, "ZZ", b"1.2\0"), "unknown value representation"),
        (element(0x00020010, "UI", b"1.2\0"), "group"),
        (bytes(64), "group"),
        (element(0x00080018, "UI", b"1.2\0")[:-1], "past the end"),
        (element(0x00081115, "SQ", item(b"")[:-1]), "within a sequence"),
        (element(0x00081115, "SQ", element(0x00080018, "UI", b"")), "no item"),
        (element(0x00081115, "SQ", item(element(0x00080018, "UI", b"12")[:-1])), "past the end"),
        (element(0x00081115, "SQ", b"")[:-4] + b"\xff\xff\xff\x7f", "past the end"),
        (element(0x00080018, "UN", b"")[:-4] + b"\xff\xff\xff\xff", "within"),
        (element(0x00081115, "SQ", b"")[:-4] + b"\xff" * 4 + item(b"")[:-4] + b"\xff" * 4, "within"),
        (element(0x00081115, "SQ", item(b"")[:-4] + b"\xff" * 4), "within"),
        (element(0x00080018, "OB", b"")[:-4] + b"\xff\xff\xff\xff", "undefined length"),
        (item(b""), "group"),
    ],
)
def test_broken_structures_are_named(data: bytes, message: str) -> None:
    """Every break is refused with a message that says what and where, without a value."""
    with pytest.raises(StructureError, match=message):
        check(data)


def test_encapsulated_pixels_must_end() -> None:
    """Fragments without a sequence delimiter, or reaching past the end, are refused."""
    source = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    data = encoded(source)
    assert check(data, RLELossless).fragments == 1
    end = data.rindex(struct.pack("<HH", 0xFFFE, 0xE0DD))
    for broken in (data[:end], data[: end + 4], data[: end - 10]):
        with pytest.raises(StructureError):
            check(broken, RLELossless)


def test_un_of_undefined_length_is_implicit_inside() -> None:
    """PS3.5 section 6.2.2 note 1."""
    inner = struct.pack("<HHI", 0x0010, 0x0020, 4) + b"1234"
    data = (
        element(0x00091010, "UN", b"")[:-4]
        + b"\xff\xff\xff\xff"
        + item(inner)
        + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    )
    assert check(data).elements == 4
    with pytest.raises(StructureError):
        check(data.replace(inner, inner[:-5] + b"\xff123"[:5]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([*NATIVE, RLELossless]))
def test_noise_never_does_anything_but_pass_or_be_refused(data: bytes, syntax: str) -> None:
    """Whatever the bytes, the walk ends, with findings or a StructureError."""
    try:
        check(data, syntax)
    except StructureError as error:
        message = str(error)
    else:
        message = ""
    assert len(message) < 200


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1400), st.binary(min_size=1, max_size=6), st.sampled_from(NATIVE))
def test_a_damaged_header_passes_only_if_pydicom_reads_it(at: int, damage: bytes, syntax: str) -> None:
    """Bytes of a real header overwritten: what the walk passes, pydicom reads to its end too."""
    data = bytearray(encoded(small_dataset(SOPInstanceUID="1.2.3"), syntax))
    data[at : at + len(damage)] = damage
    try:
        check(bytes(data), syntax)
    except StructureError:
        return
    stream = pydicom.filebase.DicomBytesIO(bytes(data))
    implicit = syntax == ImplicitVRLittleEndian
    read = pydicom.filereader.read_dataset(stream, implicit, syntax != ExplicitVRBigEndian)
    assert stream.tell() == len(data)
    assert len(read) > 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), st.booleans())
def test_a_remembered_layout_finds_what_a_walk_finds(damage: list[tuple[int, int]], nested: bool) -> None:
    """With or without a layout that came before, the outcome is the same, whatever bytes differ."""
    dataset = small_dataset(SOPInstanceUID="1.2.3")
    if nested:
        dataset.ReferencedStudySequence = Sequence([Dataset()])
        dataset.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.3"
    good = encoded(dataset)
    layouts = LayoutCache()
    for _ in range(3):
        layouts.walk(BytesSource(good), 0, len(good), EXPLICIT, WANTED, WalkLimits())
    assert layouts.hits == 1
    data = bytearray(good)
    for at, value in damage:
        data[at] = value
    outcomes = []
    for walker in (walk, layouts.walk):
        try:
            outcomes.append(walker(BytesSource(bytes(data)), 0, len(data), EXPLICIT, WANTED, WalkLimits()))
        except StructureError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_values_of_a_remembered_layout_are_the_new_ones() -> None:
    """The layout is remembered, the values are not."""
    layouts = LayoutCache()
    seen = []
    for number in range(5):
        data = encoded(small_dataset(SOPInstanceUID=f"1.2.{number}", InstanceNumber=number))
        index = inspect(BytesSource(data), 0, len(data), EXPLICIT, frozenset({0x00200013}), layouts=layouts)
        seen.append((index[0x00080018], index[0x00200013]))
    assert seen == [(f"1.2.{n}", n) for n in range(5)]
    assert layouts.hits == 3
