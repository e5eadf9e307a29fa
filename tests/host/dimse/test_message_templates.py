"""C-STORE commands as bytes: the same as those of a decoder of elements, however they are made."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicomnode.host.dimse.message_templates import (
    Command,
    DecodedStoreResponse,
    StoreCommand,
    StoreTemplates,
    decode_command,
    decode_store_response,
    encode_store_request,
    encode_store_response,
)
from dicomnode.host.dimse.p_data import as_pdus
from raw_peer import MR, command, element

UIDS = st.from_regex(r"[12](\.[1-9][0-9]{0,5}){1,9}", fullmatch=True)
NUMBERS = st.integers(0, 0xFFFF)


def elements(data: bytes) -> Dataset:
    return read_dataset(BytesIO(data), True, True)


# -- requests -----------------------------------------------------------------------------------------------


@given(UIDS, UIDS, NUMBERS)
def test_a_request_is_read_as_it_was_written(sop_class: str, instance: str, number: int) -> None:
    """By us, and element by element by pydicom."""
    data = encode_store_request(sop_class, instance, number)
    assert decode_command(data) == Command(1, True, StoreCommand(number, sop_class, instance, True))
    read = elements(data)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (sop_class, instance)
    assert (read.CommandField, read.MessageID, read.Priority) == (0x0001, number, 0)
    assert read.CommandDataSetType != 0x0101
    assert read.CommandGroupLength == len(data) - 12


def test_a_command_says_what_it_is() -> None:
    """Of another command only its field and whether a data set follows are read."""
    assert decode_command(command(0x30, "1.2.840.10008.1.1", data_set=False)) == Command(0x30, False, None)
    assert decode_command(command(0x20, MR, data_set=True)) == Command(0x20, True, None)
    store = decode_command(command(1, MR, 9, data_set=False, instance="1.2.3"))
    assert store == Command(1, False, StoreCommand(9, MR, "1.2.3", False))


@pytest.mark.parametrize("number", [0x0100, 0x0110, 0x0800])
def test_a_command_without_what_every_one_has_is_broken(number: int) -> None:
    """Command Field, Message ID and Command Data Set Type, each one number of two bytes."""
    whole = {0x0002: MR.encode(), 0x0100: b"\1\0", 0x0110: b"\5\0", 0x0800: b"\1\0", 0x1000: b"1.2.3\0"}
    assert decode_command(b"".join(element(*each) for each in whole.items())) is not None
    for wrong in (None, b"", b"\1\0\1\0"):
        values = {**whole, number: wrong}
        data = b"".join(element(*each) for each in values.items() if each[1] is not None)
        assert decode_command(data) is None


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"\1" + data[1:]]
)
def test_bytes_that_are_no_command_set(change: object) -> None:
    """One that is cut off, too long, or of another group than 0000 is none."""
    data = encode_store_request(MR, "1.2.3", 1)
    assert decode_command(change(data)) is None  # type: ignore[operator]  # a callable


@given(st.binary(max_size=80))
def test_noise_is_no_command(data: bytes) -> None:
    """Whatever the bytes, they are a command or none; nothing is raised."""
    assert decode_command(data) is None or isinstance(decode_command(data), Command)
    assert decode_store_response(data) is None or isinstance(
        decode_store_response(data), DecodedStoreResponse
    )


def test_missing_uids_are_empty() -> None:
    """Whoever uses them checks them; what is not ASCII cannot be a UID."""
    data = (
        element(0x0100, b"\1\0")
        + element(0x0110, b"\1\0")
        + element(0x0800, b"\1\0")
        + element(0x1000, b"1\xff")
    )
    found = decode_command(data)
    assert found is not None
    assert found.store == StoreCommand(1, "", "1\ufffd", True)


# -- responses ----------------------------------------------------------------------------------------------


@given(UIDS, UIDS, NUMBERS, NUMBERS, st.none() | st.text(max_size=100))
def test_a_response_is_read_as_it_was_written(
    sop_class: str, instance: str, number: int, status: int, comment: str | None
) -> None:
    """The comment is printable ASCII of 64 characters at most, without a backslash; a success has none."""
    data = encode_store_response(StoreCommand(number, sop_class, instance, True), status, comment)
    answer = decode_store_response(data)
    assert answer is not None
    assert (answer.message_id, answer.status) == (number, status)
    assert len(answer.comment) <= 64
    assert all(" " <= each <= "~" and each != "\\" for each in answer.comment)
    assert not (status == 0 and answer.comment)
    read = elements(data)
    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8001, number, status)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (sop_class, instance)
    assert read.CommandDataSetType == 0x0101
    assert read.CommandGroupLength == len(data) - 12


def test_a_comment_is_told_as_far_as_it_can_be() -> None:
    """What an LO cannot hold becomes a question mark."""
    store = StoreCommand(1, MR, "1.2", True)
    answer = decode_store_response(encode_store_response(store, 0xC000, "größer\\" + "x" * 80))
    assert answer is not None
    assert answer.comment == "gr??er?" + "x" * 57


def test_what_is_no_store_response() -> None:
    """Another command, or one without status or number, is none."""
    assert decode_store_response(encode_store_request(MR, "1.2", 1)) is None
    field, status = element(0x0100, b"\1\x80"), element(0x0900, b"\0\0")
    assert decode_store_response(field + status) is None
    assert decode_store_response(field + element(0x0120, b"\1\0")) is None


# -- templates ----------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(UIDS, NUMBERS, st.sampled_from([MR, "1.2.840.10008.5.1.4.1.1.2"])), min_size=1, max_size=8
    )
)
def test_templates_decode_what_the_decoder_does(requests: list[tuple[str, int, str]]) -> None:
    """Whatever the requests before it were."""
    templates = StoreTemplates(16_384)
    for instance, number, sop_class in requests:
        data = encode_store_request(sop_class, instance, number)
        assert templates.decode(data) == decode_command(data)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_template_is_not_mistaken(at: int, flip: int) -> None:
    """A command that differs from the last one in any byte is read as what it is."""
    templates = StoreTemplates(16_384)
    data = bytearray(encode_store_request(MR, "1.2.3.4", 7))
    templates.decode(bytes(data))
    data[at % len(data)] ^= flip
    assert templates.decode(bytes(data)) == decode_command(bytes(data))


@pytest.mark.parametrize("longest", [0, 16, 16_384])
@given(st.lists(st.tuples(UIDS, NUMBERS, st.sampled_from([0, 0, 0xA700])), min_size=1, max_size=8))
def test_templates_respond_what_the_encoder_does(longest: int, answers: list[tuple[str, int, int]]) -> None:
    """In PDUs that the peer takes, for UIDs of any length, and with the comment of a failure."""
    templates = StoreTemplates(longest)
    for instance, number, status in answers:
        store = StoreCommand(number, MR, instance, True)
        whole = encode_store_response(store, status, "why")
        assert templates.respond(3, store, status, "why") == as_pdus(3, whole, longest, command=True)


def test_odd_uids_are_answered_as_they_are() -> None:
    """One that is too long or not ASCII has no template, and contexts and classes have their own."""
    templates = StoreTemplates(0)
    for instance in ("1" * 80, "1\xe9", "1.2", "1.2"):
        for context_id, sop_class in ((1, MR), (3, MR), (1, "1.2.3")):
            store = StoreCommand(5, sop_class, instance, True)
            expected = as_pdus(context_id, encode_store_response(store, 0, None), 0, command=True)
            assert templates.respond(context_id, store, 0, None) == expected


def test_templates_are_bounded() -> None:
    """A peer that sends thousands of SOP classes does not fill the memory, and is answered rightly."""
    templates = StoreTemplates(0)
    for number in range(300):
        store = StoreCommand(1, f"1.2.{number}", "1.2", True)
        assert templates.respond(1, store, 0, None).endswith(struct.pack("<I", 4) + b"1.2\0")
    assert len(templates._responses) == 256


ODD_UIDS = st.text("0123456789.", min_size=1, max_size=64)


@given(
    st.lists(st.tuples(ODD_UIDS, ODD_UIDS, st.integers(0, 65_535)), min_size=1, max_size=6),
    st.integers(0, 300),
)
def test_templates_do_what_the_general_case_does(requests: list[tuple[str, str, int]], longest: int) -> None:
    """Commands read, and answers written, from what was remembered are those of the general case."""
    templates = StoreTemplates(longest)
    for sop_class, instance, number in requests * 2:
        data = encode_store_request(sop_class, instance, number)
        read = templates.decode(data)
        assert read == decode_command(data)
        assert read is not None
        assert read.store is not None
        for status, comment in ((0, None), (0xA700, "full"), (0, "ignored")):
            general = as_pdus(5, encode_store_response(read.store, status, comment), longest, command=True)
            assert templates.respond(5, read.store, status, comment) == general


@given(st.lists(st.tuples(st.integers(0, 140), st.integers(0, 255)), max_size=3))
def test_a_damaged_command_is_read_as_it_is(damage: list[tuple[int, int]]) -> None:
    """Whatever differs from the command before, it is read as if there had been none."""
    templates = StoreTemplates(0)
    good = command(1, MR, data_set=True, instance="1.2.3.4.5.6")
    for _ in range(2):
        templates.decode(good)
    data = bytearray(good)
    for at, value in damage:
        data[at % len(data)] = value
    assert templates.decode(bytes(data)) == decode_command(bytes(data))


def test_commands_with_more_than_usual() -> None:
    """Optional elements, another order and a missing data set are no reason to guess."""
    templates = StoreTemplates(0)
    plain = command(1, MR, data_set=True, instance="1.2.3")
    originator = plain + element(0x1030, b"MOVER") + element(0x1031, struct.pack("<H", 9))
    swapped = (
        element(0x1000, b"1.2.3")
        + element(0x0110, b"\1\0")
        + element(0x0100, b"\1\0")
        + element(0x0800, b"\0\0")
    )
    none = command(1, MR, data_set=False, instance="1.2.3")
    for data in (plain, originator, swapped, none) * 3:
        assert templates.decode(data) == decode_command(data)
