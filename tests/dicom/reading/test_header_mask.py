"""Element headers of data sets that are laid out alike are compared as one integer."""

from __future__ import annotations

import pytest

from dicomnode.dicom.reading.header_mask import HeaderMask

# Two elements within other bytes: a header of four, a value of three, a header of two, a value of one.
DATA = b"xxHEADvalHEvyy"
HEADERS = [(2, 4), (9, 2)]


def mask() -> HeaderMask:
    """Return the mask of the ten bytes from the second on."""
    return HeaderMask.of(DATA, 2, 10, HEADERS)


def test_a_mask_matches_what_it_was_made_of() -> None:
    """The piece may lie anywhere in other data."""
    assert mask().matches(DATA, 2)
    assert mask().matches(DATA[2:], 0)
    assert not mask().matches(DATA, 1)


@pytest.mark.parametrize("at", range(2, 12))
def test_a_byte_of_a_header_counts_and_one_of_a_value_does_not(at: int) -> None:
    """Whatever byte of a header differs, the piece does not match; values may differ."""
    changed = bytearray(DATA)
    changed[at] ^= 0x80
    in_header = any(start <= at < start + length for start, length in HEADERS)
    assert mask().matches(bytes(changed), 2) is not in_header


def test_what_lies_outside_of_the_piece_does_not_count() -> None:
    """Bytes before and behind may be any."""
    assert mask().matches(b"??" + DATA[2:12] + b"????", 2)


def test_data_that_end_early_do_not_match() -> None:
    """A piece that is cut within a header is not taken for a whole one."""
    assert not mask().matches(DATA[:10], 2)
    assert not mask().matches(b"", 0)


def test_headers_may_overlap() -> None:
    """A walk may note a header twice, at first without its length."""
    once = HeaderMask.of(DATA, 2, 10, HEADERS)
    assert HeaderMask.of(DATA, 2, 10, [(2, 2), (2, 4), (9, 2)]) == once


def test_gaps_are_what_lies_between_headers() -> None:
    """Start and end within the piece, of the values in their order."""
    assert mask().gaps() == [(4, 7), (9, 10)]
    assert HeaderMask.of(DATA, 2, 4, [(2, 4)]).gaps() == []
