"""P-DATA-TF PDUs: what is divided is read again, and nothing is read past its PDU."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.dimse.bounded_reader import ConnectionEndedError
from dicomnode.host.dimse.p_data import COMMAND, LAST, PDV_HEADER, as_pdus, read_pdv


def fragments(pdus: bytes) -> list[tuple[int, int, bytes]]:
    """Return context ID, message control header and bytes of every fragment, read as the receiver reads."""
    found = []
    view, at = memoryview(pdus), 0
    while at < len(pdus):
        kind, length = struct.unpack_from(">BxI", pdus, at)
        assert kind == 4
        begin, end = at + 6, at + 6 + length
        while begin < end:
            context_id, control, after = read_pdv(view, begin, end)
            found.append((context_id, control, bytes(view[begin + PDV_HEADER : after])))
            begin = after
        at = end
    return found


@given(
    st.binary(max_size=300),
    st.one_of(st.just(0), st.integers(7, 400)),
    st.booleans(),
    st.integers(0, 127).map(lambda number: 2 * number + 1),
)
def test_what_is_divided_is_read_again(data: bytes, longest: int, command: bool, context_id: int) -> None:
    """The fragments are the bytes, in order; the last is marked so, and only it may have an odd length."""
    pdus = as_pdus(context_id, data, longest, command=command)
    read = fragments(pdus)
    assert b"".join(piece for _, _, piece in read) == data
    assert {number for number, _, _ in read} == {context_id}
    assert [control for _, control, _ in read] == [
        (COMMAND if command else 0) | (LAST if piece == len(read) - 1 else 0) for piece in range(len(read))
    ]
    assert all(len(piece) % 2 == 0 for _, _, piece in read[:-1])
    if longest >= PDV_HEADER + 2:
        assert all(len(piece) + PDV_HEADER <= longest for _, _, piece in read)


@pytest.mark.parametrize("missing", range(1, 9))
def test_a_pdv_ends_within_its_pdu(missing: int) -> None:
    """A PDU that ends in the header or in the fragment of a PDV breaks the association with its reason."""
    pdu = as_pdus(1, b"ab", 0, command=True)[6:]
    with pytest.raises(ConnectionEndedError) as broken:
        read_pdv(memoryview(pdu), 0, len(pdu) - missing)
    assert broken.value.abort_reason == 0x06


@pytest.mark.parametrize("length", [0, 1, 0xFFFFFFFF])
def test_a_length_that_cannot_be(length: int) -> None:
    """An item length without room for context ID and control, or far past the PDU, is refused."""
    with pytest.raises(ConnectionEndedError, match="presentation data value"):
        read_pdv(memoryview(struct.pack(">IBB", length, 1, 3) + b"abcd"), 0, 10)
