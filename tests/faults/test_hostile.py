"""Group B: hostile input is bounded in memory and time, and reaches neither file names nor the log."""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faulty import attacked
from raw_peer import (
    ABORTED,
    ACCEPTED,
    MR,
    RELEASE,
    RawPeer,
    associate_request,
    command,
    message,
    p_data,
    store_message,
)
from receiving import dataset_bytes, encoded, receiving, small_dataset

UID = "1.2.3.4.5"
DEFLATED = "1.2.840.10008.1.2.1.99"


def flood(peer: RawPeer, data: bytes, most: int) -> int:
    """Send `data` again and again; return how many bytes were taken before the connection ended."""
    sent = 0
    peer.socket.settimeout(10)
    try:
        while sent < most:
            peer.socket.sendall(data)
            sent += len(data)
    except OSError:
        pass
    return sent


@pytest.mark.parametrize("kind", [1, 4, 5, 7, 9])
@pytest.mark.parametrize("associated", [False, True])
def test_a_pdu_of_4_gib(tmp_path: Path, kind: int, associated: bool) -> None:
    """A PDU that declares 4 GiB is refused by its length: its body is not read."""
    with attacked(tmp_path) as receiver:
        before, memory = receiver.resources(), receiver.memory()
        with RawPeer(receiver.address) as peer:
            if associated:
                assert peer.associate() == ACCEPTED
            peer.send(struct.pack(">BxI", kind, 0xFFFFFFFF))
            taken = flood(peer, bytes(65_536), 400 * 2**20)
        assert taken < 50 * 2**20  # what fits into the kernel's buffers
        assert receiver.memory("VmHWM") - memory < 20
        receiver.settled(before)


def test_a_data_set_that_never_ends(tmp_path: Path) -> None:
    """The object limit ends the connection; nothing is left on disk, little was held in memory."""
    with attacked(tmp_path, max_object_size=100 * 2**20) as receiver:
        before, memory = receiver.resources(), receiver.memory()
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            peer.send(p_data(1, 3, command(1, MR, data_set=True, instance=UID)))
            taken = flood(peer, p_data(1, 0, bytes(16_000)) * 16, 400 * 2**20)
        assert 100 * 2**20 <= taken < 200 * 2**20
        receiver.figures["memory more by, MB"] = receiver.memory("VmHWM") - memory
        assert receiver.figures["memory more by, MB"] < 20
        receiver.settled(before)
        assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_commands_and_other_messages_without_end(tmp_path: Path) -> None:
    """Command sets and the data sets of other services are bounded too."""
    with attacked(tmp_path) as receiver:
        memory = receiver.memory()
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            assert flood(peer, p_data(1, 1, bytes(16_000)), 100 * 2**20) < 50 * 2**20
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            peer.send(p_data(1, 3, command(0x20, MR, data_set=True)))
            assert flood(peer, p_data(1, 0, bytes(16_000)), 100 * 2**20) < 50 * 2**20
        assert receiver.memory("VmHWM") - memory < 20


def test_a_deflate_bomb(tmp_path: Path) -> None:
    """Deflated is off by default; where it is on, 1 MB that inflates to 1 GB is refused within bounds."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(10**6)) for _ in range(1000)) + packer.flush()
    with attacked(tmp_path / "off") as receiver, RawPeer(receiver.address) as peer:
        assert peer.associate(MR, DEFLATED) == ACCEPTED
        assert peer.store(UID, bomb) is None  # the context was not accepted
    with attacked(tmp_path / "on", deflated=True) as receiver, RawPeer(receiver.address) as peer:
        memory = receiver.memory()
        assert peer.associate(MR, DEFLATED) == ACCEPTED
        assert (peer.store(UID, bomb) or 0) & 0xF000 == 0xC000
        plain = encoded(small_dataset(SOPInstanceUID=UID))
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        assert peer.store(UID, packer.compress(plain) + packer.flush()) == 0
        receiver.figures["memory more by, MB"] = receiver.memory("VmHWM") - memory
        assert receiver.figures["memory more by, MB"] < 600


EVIL = ["../../../../evil", "/evil", "a\0b", "line\nERROR forged", "\x1b[31mred\x1b[0m", "x" * 10_000]


def test_text_never_becomes_a_path_or_a_log_line(tmp_path: Path) -> None:
    """PatientIDs that are paths, control bytes or endless are stored as they are, and appear nowhere else."""
    with attacked(tmp_path) as receiver:
        with RawPeer(receiver.address) as peer:
            assert peer.associate(calling=b"EV\x1b[31mIL\n", called=b"DICOMNODE") in {ACCEPTED, ABORTED, 0}
        with RawPeer(receiver.address) as peer:
            assert peer.associate(calling=b"../../EVIL") == ACCEPTED
            sent = []
            for number, evil in enumerate(EVIL):
                placeholder = "Q" * len(evil)
                data = encoded(small_dataset(SOPInstanceUID=f"1.2.{number}", PatientID=placeholder))
                data = data.replace(placeholder.encode(), evil.encode())
                assert peer.store(f"1.2.{number}", data) == 0
                sent.append(data)
            peer.release()
        with RawPeer(receiver.address) as peer:
            assert peer.associate(called=b"\x1b[31m\nEVIL") in {3, 0, 7}
        outside = [p for p in tmp_path.rglob("*") if not p.is_relative_to(tmp_path / "spool")]
        assert outside == [tmp_path / "log"]
        assert [dataset_bytes(path) for _uid, path in receiver.kept()] == sent
        receiver.check_log("forged", "[31m", "xxxx")


BAD_PDUS = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "release first": RELEASE,
    "data first": p_data(1, 3, command(0x30, "1.2.840.10008.1.1", data_set=False)),
    "request twice": associate_request({1: (MR, "1.2.840.10008.1.2")}) * 2,
    "no contexts": associate_request({}),
    "items that reach past the end": associate_request(
        {1: (MR, "1.2.840.10008.1.2")}, extra=b"\x20\0\xff\xff"
    ),
    "many tiny items": associate_request({1: (MR, "1.2.840.10008.1.2")}, extra=b"\x60\0\0\0" * 50_000),
    "AE titles of NULs": associate_request({1: (MR, "1.2.840.10008.1.2")}, bytes(16), bytes(16)),
    "AE titles of bytes": associate_request({1: (MR, "1.2.840.10008.1.2")}, b"\xff" * 16, b"\xfe" * 16),
    "abort": b"\x07\0\0\0\0\4\0\0\0\0",
}


def test_broken_association_requests(tmp_path: Path) -> None:
    """Whatever is said instead of an association request, the connection ends and the next peer is served."""
    with attacked(tmp_path, acse_timeout=1.0) as receiver:
        before = receiver.resources()
        for pdu in BAD_PDUS.values():
            with RawPeer(receiver.address) as peer:
                peer.send(pdu)
                peer.socket.shutdown(socket.SHUT_WR)
                while peer.receive()[0]:
                    pass
        receiver.settled(before)
        receiver.check_log()


GOOD = encoded(small_dataset(SOPInstanceUID=UID))
BAD_MESSAGES = {
    "empty P-DATA then value of length 0": struct.pack(">BxI", 4, 0) + struct.pack(">BxII", 4, 4, 0),
    "value that reaches past its PDU": struct.pack(">BxIIBB", 4, 10, 999, 1, 3) + bytes(4),
    "data without a command": p_data(1, 2, GOOD[:100]),
    "data in another context": p_data(1, 3, command(1, MR, data_set=True, instance=UID)) + p_data(3, 2, GOOD),
    "a context that was not accepted": store_message(UID, GOOD, context=5),
    "a command within a data set": p_data(1, 3, command(1, MR, data_set=True, instance=UID))
    + p_data(1, 3, command(1, MR, data_set=True, instance=UID)),
    "a response nobody asked for": p_data(1, 3, command(0x8001, MR, data_set=False)),
    "an unknown command": p_data(1, 3, command(0x7777, MR, data_set=False)),
    "a cancel": p_data(1, 3, command(0x0FFF, MR, data_set=False)),
    "a query in a storage context": message(1, command(0x20, MR, data_set=True), GOOD[:100]),
    "a normalised action": p_data(1, 3, command(0x130, MR, data_set=False)),
    "a release within a data set": p_data(1, 3, command(1, MR, data_set=True, instance=UID)) + RELEASE,
    "an association request": associate_request({1: (MR, "1.2.840.10008.1.2")}),
    "a PDU of an unknown type": b"\x42\0\0\0\0\4abcd",
}


def test_broken_messages(tmp_path: Path) -> None:
    """Whatever is said within an association, nothing is kept of it and the next peer is served."""
    with attacked(tmp_path) as receiver:
        before = receiver.resources()
        for name, pdus in BAD_MESSAGES.items():
            with RawPeer(receiver.address) as peer:
                assert peer.associate() == ACCEPTED, name
                peer.send(pdus)
                peer.socket.shutdown(socket.SHUT_WR)
                while (answer := peer.receive())[0]:
                    assert answer[0] in {4, 7}, name
        receiver.settled(before)
        assert receiver.kept() == []
        assert not any(receiver.ask("ended")[1:])  # the first was a good one
        receiver.check_log()


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One receiver for all examples of the fuzzer."""
    with receiving(tmp_path_factory.mktemp("fuzzed"), acse_timeout=2.0, pdu_timeout=1.0) as (
        receiver,
        store_handler,
        _,
    ):
        yield receiver, store_handler


ASSOCIATION = associate_request(
    {1: (MR, "1.2.840.10008.1.2.1"), 3: ("1.2.840.10008.1.1", "1.2.840.10008.1.2")}
)
CONVERSATION = ASSOCIATION + store_message(UID, GOOD) + RELEASE
_mutations = st.lists(
    st.tuples(st.integers(0, len(ASSOCIATION) + 400), st.binary(max_size=8), st.integers(0, 8)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(_mutations)
def test_fuzzed_conversations(listening: Any, mutations: list[tuple[int, bytes, int]]) -> None:
    """A conversation with bytes replaced, added and removed never hangs the receiver nor forges an image."""
    receiver, store_handler = listening
    data = bytearray(CONVERSATION)
    for at, put, drop in mutations:
        data[at : at + drop] = put
    with RawPeer(receiver.address) as peer:
        peer.send(bytes(data))
        peer.socket.shutdown(socket.SHUT_WR)
        while peer.receive()[0]:
            pass
    for _request, _index, path in store_handler.kept:
        stored = dataset_bytes(path)
        assert stored == GOOD or len(stored) == len(GOOD)
    store_handler.kept.clear()
    assert threading.active_count() < 20
