"""Elements picked out of the header of a file, with a memory of layouts."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.reading import header_reader
from dicomnode.dicom.values.encodings import BIG, EXPLICIT, IMPLICIT


@pytest.mark.parametrize("length", [b"\4\0\0\0", b"\0\1\0\0"])
def test_a_transfer_syntax_that_is_no_text_is_not_plain(length):
    """The error is the one that is declared, whether or not the group length is right."""
    meta = b"\2\0\0\0UL\4\0" + length + b"\2\0\x10\0UI\4\x001.\xff2"
    with pytest.raises(header_reader.UnsupportedHeaderError):
        header_reader.skip_file_meta(header_reader.HeaderBytes(BytesIO(bytes(128) + b"DICM" + meta)))


def test_layouts_of_different_structure_are_not_taken_for_each_other():
    """An undefined length looks like the tag FFFF,FFFF: two heads that differ in that only are both read."""

    def delimiter(tag, length):
        return tag.to_bytes(4, "little") + length.to_bytes(4, "little")

    private, other, ends, undefined = 0x10010009, 0xFFFFFFFF, 0xE0DDFFFE, 0xFFFFFFFF
    pixels = delimiter(0x00107FE0, 2) + b"\0\0"
    whole = delimiter(private, undefined)
    plain = delimiter(private, 0) + delimiter(other, 0)
    first = whole + delimiter(private, undefined) + delimiter(ends, 0) + plain + delimiter(ends, 0) + pixels
    second = whole + plain + delimiter(ends, 0) + delimiter(private, undefined) + delimiter(ends, 0) + pixels
    reader = header_reader.HeaderReader(frozenset(), frozenset())
    for data in (first, second) * 3:
        assert reader.read(header_reader.HeaderBytes(BytesIO(data)), 0, IMPLICIT) == (
            [],
            (0x7FE00010, len(data) - 2, 2),
        )


def element(tag, vr, value):
    """Return an element in Explicit VR Little Endian."""
    header = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in ("OW", "OB", "SQ", "UN"):
        return header + struct.pack("<HI", 0, len(value)) + value
    return header + struct.pack("<H", len(value)) + value


def file_of(*elements, pixels=b"\1\2"):
    return b"".join(elements) + element(0x7FE00010, "OW", pixels)


def read(reader, data, encoding=EXPLICIT):
    return reader.read(header_reader.HeaderBytes(BytesIO(data)), 0, encoding)


WANTED = frozenset({0x00080060, 0x00200013, 0x00280010})
MODALITY, ROWS = element(0x00080060, "CS", b"CT"), element(0x00280010, "US", b"\5\0")


def number(text):
    return element(0x00200013, "IS", text.encode())


def test_wanted_values_come_in_the_order_of_tags_and_pixels_are_located():
    """Whether a layout is known or not; what is not wanted is passed over."""
    reader = header_reader.HeaderReader(WANTED, frozenset())
    data = file_of(MODALITY, element(0x00100010, "PN", b"Doe^Jane"), number("7 "), ROWS)
    for _ in range(3):
        values, pixels = read(reader, data)
        assert values == [
            (0x00080060, "CS", b"CT"),
            (0x00200013, "IS", b"7 "),
            (0x00280010, "US", b"\5\0"),
        ]
        assert (pixels.keyword, pixels.offset, pixels.length) == ("PixelData", len(data) - 2, 2)


@given(
    st.lists(
        st.text("0123456789", min_size=1, max_size=12).map(lambda t: t + " " * (len(t) % 2)), max_size=12
    )
)
def test_lengths_that_differ_are_learnt_and_change_no_value(numbers):
    """File after file, each gives what it gives alone, and few are walked over."""
    reader, walks = header_reader.HeaderReader(WANTED, frozenset()), []
    walk = reader._walk
    reader._walk = lambda *arguments: walks.append(1) or walk(*arguments)
    for text in numbers:
        data = file_of(MODALITY, number(text), ROWS)
        alone = read(header_reader.HeaderReader(WANTED, frozenset()), data)
        assert read(reader, data) == alone
        assert alone[0][1] == (0x00200013, "IS", text.encode())
    assert len(walks) <= 2


def test_sequences_are_passed_over_and_their_elements_are_not_wanted():
    """Of defined and of undefined length (PS3.5 section 7.5)."""
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(number("9 "))) + number("9 ")
    ends = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    open_ended = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item + ends
    for sequence in (element(0x00081140, "SQ", item), open_ended):
        reader = header_reader.HeaderReader(WANTED, frozenset())
        for _ in range(2):
            values, _pixels = read(reader, file_of(MODALITY, sequence, number("7 ")))
            assert values == [(0x00080060, "CS", b"CT"), (0x00200013, "IS", b"7 ")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MODALITY,  # no pixels
        file_of(MODALITY)[:-4],
        file_of(element(0x00280010, "OW", b"\5\0")),  # a wanted element of another VR
        file_of(element(0x00280010, "XX", b"\5\0")),  # no VR
        file_of(element(0x00081140, "SQ", b"")),  # an unwanted sequence
        file_of(struct.pack("<HHI", 0xFFFE, 0xE00D, 0)),  # an end of nothing
        file_of(struct.pack("<HH2sHI", 0x0008, 0x0060, b"UN", 0, 0xFFFFFFFF)),
    ],
    ids=["empty", "no pixels", "cut", "other VR", "no VR", "sequence", "delimiter", "undefined length"],
)
def test_what_is_unusual_is_left_to_the_dataset(data):
    """Nothing is guessed, and nothing else is raised."""
    reader = header_reader.HeaderReader(WANTED, frozenset({0x00081140}))
    with pytest.raises(header_reader.UnsupportedHeaderError):
        read(reader, data)


def test_big_endian_is_left_to_the_dataset():
    """It is retired, and the layouts compare little endian lengths."""
    reader = header_reader.HeaderReader(WANTED, frozenset())
    with pytest.raises(header_reader.UnsupportedHeaderError):
        read(reader, file_of(MODALITY), BIG)


def test_a_bounded_number_of_layouts_is_kept():
    """Files of many kinds do not fill the memory."""
    reader = header_reader.HeaderReader(WANTED, frozenset())
    for group in range(0x0011, 0x0011 + 100, 2):
        assert read(reader, file_of(MODALITY, element(group << 16 | 0x0010, "LO", b"ACME")))
    assert len(reader._layouts[True]) <= 16


def test_no_more_of_a_file_is_read_than_the_header_takes():
    """The pixels of a volume stay on disk; what a broken length asks for is bounded."""
    file = BytesIO(file_of(MODALITY, pixels=bytes(1 << 22)))
    header_reader.HeaderReader(WANTED, frozenset()).read(header_reader.HeaderBytes(file), 0, EXPLICIT)
    assert file.tell() == header_reader.FIRST_READ
    header = header_reader.HeaderBytes(BytesIO(bytes(1 << 21)))
    assert header.extend_to(1 << 20)
    assert not header.extend_to((1 << 20) + 1)
