"""A data set from a file as PDUs: every byte once, in order, however it is read and sent."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.host.dimse.data_set_pdus import DataSetPDUs


def send(
    path: Path, longest: int, skip: int, size: int, *, command: bytes = b"", pdus: DataSetPDUs | None = None
) -> list[bytes]:
    """Send a part of a file, and return what was given to the socket, call by call."""
    sent: list[bytes] = []
    with path.open("rb") as file:
        made = pdus or DataSetPDUs(longest)
        made.send(file.fileno(), skip, skip + size, 5, command, lambda data: sent.append(bytes(data)))
    return sent


def fragments(sent: bytes, longest: int = 0) -> tuple[bytes, list[int]]:
    """Return the bytes of all PDUs, and their message control headers."""
    at, found, controls = 0, bytearray(), []
    while at < len(sent):
        kind, length, pdv, context, control = struct.unpack_from(">BxIIBB", sent, at)
        assert (kind, pdv, context) == (4, length - 4, 5)
        assert not longest or length <= longest
        found += sent[at + 12 : at + 6 + length]
        controls.append(control)
        at += 6 + length
    return bytes(found), controls


def content(path: Path, size: int) -> bytes:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    path.write_bytes(data)
    return data


@settings(max_examples=60)
@given(st.integers(1, 3_000_000), st.sampled_from([0, 64, 1000, 16_384, 131_072]), st.integers(0, 500))
def test_frames_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, size: int, longest: int, skip: int
) -> None:
    """PDUs hold every byte of the data set once, in order, and the last one says so."""
    path = tmp_path_factory.getbasetemp() / "pdus"
    data = content(path, skip + size)
    found, controls = fragments(b"".join(send(path, longest, skip, size)), longest)
    assert found == data[skip:]
    assert controls == [0] * (len(controls) - 1) + [2]


def test_one_object_sends_data_set_after_data_set(tmp_path: Path) -> None:
    """What was sent before leaves no mark in what is sent next."""
    data = content(tmp_path / "a", 70_000)
    pdus = DataSetPDUs(16_384)
    for size in (70_000, 5, 16_378, 16_379, 70_000):
        found, controls = fragments(b"".join(send(tmp_path / "a", 0, 0, size, pdus=pdus)), 16_384)
        assert found == data[:size]
        assert controls == [0] * (len(controls) - 1) + [2]


@pytest.mark.parametrize("length", [0, 100, 1024, 1025, 5000])
def test_the_command_goes_first(tmp_path: Path, length: int) -> None:
    """In the same call as the data set where there is room for it, else in one before."""
    data = content(tmp_path / "a", 1000)
    command = bytes(reversed(range(256))) * (length // 256) + b"c" * (length % 256)
    sent = send(tmp_path / "a", 0, 0, 1000, command=command)
    assert len(sent) == (1 if length <= 1024 else 2)
    assert b"".join(sent)[: len(command)] == command
    assert fragments(b"".join(sent)[len(command) :])[0] == data


def test_a_megabyte_takes_few_calls(tmp_path: Path) -> None:
    """Many PDUs are sent at once, and no call sends much more than a megabyte."""
    content(tmp_path / "a", 3 * 2**20)
    sent = send(tmp_path / "a", 16_384, 0, 3 * 2**20)
    assert len(sent) <= 5
    assert max(map(len, sent)) <= 2**20 + 2**16


def test_a_read_that_is_cut_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may interrupt a long read: the rest is read by the next."""
    data = content(tmp_path / "a", 100_000)
    preadv = os.preadv

    def short(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        return preadv(descriptor, [buffers[0][:5001], *buffers[1:]][: 1 if offset % 2 else 2], offset)

    monkeypatch.setattr(os, "preadv", short)
    assert fragments(b"".join(send(tmp_path / "a", 4096, 0, 100_000)))[0] == data


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    """It is an error, and the object can be used again."""
    data = content(tmp_path / "a", 1000)
    pdus = DataSetPDUs(256)
    with pytest.raises(OSError, match="has become shorter"):
        send(tmp_path / "a", 0, 500, 1000, pdus=pdus)
    assert fragments(b"".join(send(tmp_path / "a", 0, 0, 1000, pdus=pdus)))[0] == data
