"""The sender against acceptors that do exactly what they are told, and against our own receiver."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from acceptor import Acceptor, acceptor
from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.association_request import (
    NoAcceptedContextError,
)
from dicomnode.host.dimse.message_templates import (
    encode_store_request,
)
from dicomnode.host.dimse.store_scu import AssociationEndedError, StoreAssociation, UnfitFileError
from raw_peer import MR, element, p_data
from receiving import dataset_bytes, receiving, small_dataset

EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
CONTEXTS = [(MR, EXPLICIT)]


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, str]:
    """Return the file of a small image, and its UID."""
    dataset = small_dataset()
    dataset.save_as(tmp_path / "image.dcm")
    return tmp_path / "image.dcm", str(dataset.SOPInstanceUID)


def opened(port: int, contexts: list[tuple[str, str]] = CONTEXTS, timeout: float = 10) -> StoreAssociation:
    association = StoreAssociation("127.0.0.1", port, "PACS", "NODE", contexts, timeout=timeout)
    association.open()
    return association


@pytest.mark.parametrize("max_length", [0, 128, 4096, 16_384, 131_072, 2**31])
def test_the_bytes_are_sent_as_they_lie(tmp_path: Path, max_length: int) -> None:
    """Whatever PDU length the peer takes, the data set arrives as it lies in the file, within that length."""
    dataset = small_dataset(Rows=1000, Columns=1000, PixelData=bytes(range(250)) * 8000)
    path = tmp_path / "image.dcm"
    dataset.save_as(path)
    received = []

    def script(peer: Acceptor) -> None:
        peer.accept(max_length)
        original = peer.pdu

        def pdu() -> tuple[int, bytes]:
            kind, body = original()
            assert not max_length or len(body) <= max_length
            return kind, body

        peer.pdu = pdu  # type: ignore[method-assign]  # looks at each PDU
        for number in (1, 2):
            received.append(peer.message())
            peer.answer(0, number)
        peer.release()

    with acceptor(script) as port:
        association = opened(port)
        for _ in range(2):
            assert association.send(path, MR, dataset.SOPInstanceUID, EXPLICIT) == 0
        association.release()
    assert [data for _command, data in received] == [dataset_bytes(path)] * 2
    assert received[0][0] == encode_store_request(MR, dataset.SOPInstanceUID, 1)


@pytest.mark.parametrize("status", [0, 0xA700, 0xB000, 0xC123, 0x0124])
def test_the_status_is_returned(image: tuple[Path, str], status: int) -> None:
    """Whatever the peer answers is returned, its comment beside it, and the association goes on."""

    def script(peer: Acceptor) -> None:
        peer.accept()
        for number in (1, 2):
            peer.message()
            peer.answer(status, number, element(0x0902, b"because"))
        peer.release()

    with (
        acceptor(script) as port,
        StoreAssociation("127.0.0.1", port, "PACS", "NODE", CONTEXTS) as association,
    ):
        for _ in range(2):
            assert association.send(image[0], MR, image[1], EXPLICIT) == status
            assert association.error_comment == "because"


def closes(peer: Acceptor) -> None:
    peer.message()


def aborts(peer: Acceptor) -> None:
    peer.message()
    peer.socket.sendall(b"\x07\0\0\0\0\4\0\0\2\0")
    peer.socket.recv(100)


def aborts_early(peer: Acceptor) -> None:
    peer.pdu()
    peer.socket.sendall(b"\x07\0\0\0\0\4\0\0\2\0")


def resets(peer: Acceptor) -> None:
    peer.pdu()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_silent(peer: Acceptor) -> None:
    peer.message()
    peer.socket.recv(100)


def does_not_read(peer: Acceptor) -> None:
    time.sleep(2)


def trickles(peer: Acceptor) -> None:
    peer.message()
    for byte in p_data(1, 3, bytes(60)):
        try:
            peer.socket.sendall(bytes([byte]))
        except OSError:
            return
        time.sleep(0.05)


def answers_another(peer: Acceptor) -> None:
    peer.message()
    peer.answer(0, 77)
    peer.socket.recv(100)


def answers_nonsense(peer: Acceptor) -> None:
    peer.message()
    peer.socket.sendall(p_data(1, 3, b"\xff" * 40))
    peer.socket.recv(100)


def answers_4_gib(peer: Acceptor) -> None:
    peer.message()
    peer.socket.sendall(b"\x04\0\xff\xff\xff\xff")
    peer.socket.recv(100)


def answers_a_data_set(peer: Acceptor) -> None:
    peer.message()
    peer.socket.sendall(p_data(1, 2, bytes(40)))
    peer.socket.recv(100)


def sends_nothing_for_ever(peer: Acceptor) -> None:
    peer.message()
    with suppress(OSError):
        while True:
            peer.socket.sendall(p_data(1, 1, b"") * 100)


def sends_empty_pdus_for_ever(peer: Acceptor) -> None:
    peer.message()
    with suppress(OSError):
        while True:
            peer.socket.sendall(b"\x04\0\0\0\0\0" * 100)


def releases(peer: Acceptor) -> None:
    peer.message()
    peer.socket.sendall(b"\x05\0\0\0\0\4\0\0\0\0")
    peer.socket.recv(100)


ODD = [
    closes, aborts, aborts_early, resets, is_silent, does_not_read, trickles, answers_another,
    answers_nonsense, answers_4_gib, answers_a_data_set, sends_nothing_for_ever, sends_empty_pdus_for_ever,
    releases,
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda script: script.__name__)
def test_no_answer_is_an_unknown_outcome(tmp_path: Path, odd: Callable[[Acceptor], None]) -> None:
    """Whatever a peer does instead of answering, the outcome is None; the association is over."""
    dataset = small_dataset(Rows=2000, Columns=2000, PixelData=bytes(8_000_000))
    path = tmp_path / "image.dcm"
    dataset.save_as(path)

    def script(peer: Acceptor) -> None:
        peer.accept()
        odd(peer)

    with acceptor(script) as port:
        association = opened(port, timeout=1)
        assert association.send(path, MR, dataset.SOPInstanceUID, EXPLICIT) is None
        assert not association.established
        with pytest.raises(AssociationEndedError):
            association.send(path, MR, dataset.SOPInstanceUID, EXPLICIT)
        association.release()
        association.abort()


def test_no_accepted_context_is_said(image: tuple[Path, str]) -> None:
    """Nothing is sent where the peer accepts no context for it; the association goes on."""

    def script(peer: Acceptor) -> None:
        peer.accept(result=4)
        peer.release()

    with acceptor(script) as port:
        association = opened(port)
        with pytest.raises(NoAcceptedContextError, match=r"MR Image Storage in Explicit.*transfer syntax"):
            association.send(image[0], MR, image[1], EXPLICIT)
        with pytest.raises(NoAcceptedContextError, match="not proposed"):
            association.send(image[0], "1.2.3", image[1], EXPLICIT)
        assert association.established
        association.release()


@pytest.mark.parametrize("source", [EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.1.99"])
def test_an_uncompressed_file_is_converted_for_a_peer(tmp_path: Path, source: str) -> None:
    """A peer that takes another uncompressed transfer syntax only gets that, with the same values."""
    original = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    original.add_new(0x00280106, "US", 3)
    original.add_new(0x00280120, "SS", -3)
    original.PixelRepresentation = 1
    path = tmp_path / "image.dcm"
    original.file_meta.TransferSyntaxUID = source
    pydicom.dcmwrite(path, original, implicit_vr=source == IMPLICIT, little_endian=True)
    for target in (IMPLICIT, EXPLICIT):
        data = dataset_bytes(path) if source == target else b""
        sent = []

        def script(peer: Acceptor, target: str = target, sent: list[bytes] = sent) -> None:
            peer.accept(syntax=target)
            sent.append(peer.message()[1])
            peer.answer(0)
            peer.release()

        with acceptor(script) as port:
            association = opened(port, [(MR, source)])
            assert association.send(path, MR, original.SOPInstanceUID, source) == 0
            association.release()
        assert not data or sent[0] == data
        stream = pydicom.filebase.DicomBytesIO(sent[0])
        read = pydicom.filereader.read_dataset(stream, target == IMPLICIT, True)
        assert read.PixelData == original.PixelData
        assert (read[0x00280106].value, read[0x00280120].value) == (3, -3)
        assert read.PatientName == original.PatientName


def test_a_compressed_file_is_not_converted(tmp_path: Path) -> None:
    """A peer that does not take the compressed transfer syntax is sent nothing."""
    path = Path(get_testdata_file("MR_small_RLE.dcm"))
    uid = pydicom.dcmread(path).SOPInstanceUID
    rle = "1.2.840.10008.1.2.5"

    def script(peer: Acceptor) -> None:
        peer.accept(syntax=IMPLICIT)
        peer.release()

    with acceptor(script) as port:
        association = opened(port, [(MR, rle), (MR, EXPLICIT)])
        with pytest.raises(NoAcceptedContextError, match="RLE"):
            association.send(path, MR, uid, rle)
        association.release()


def test_files_that_are_not_what_they_should_be(tmp_path: Path, image: tuple[Path, str]) -> None:
    """A file that is missing, no DICOM, another instance, or without a data set is not sent."""
    path, uid = image
    whole = path.read_bytes()
    (tmp_path / "text").write_text("no DICOM" * 100)
    (tmp_path / "meta").write_bytes(whole[: 144 + int.from_bytes(whole[140:144], "little")])
    (tmp_path / "cut").write_bytes(whole[:150])

    def script(peer: Acceptor) -> None:
        peer.accept()
        peer.message()
        peer.answer(0)
        peer.release()

    with acceptor(script) as port:
        association = opened(port)
        for name in ("missing", "text", "meta", "cut"):
            with pytest.raises(UnfitFileError, match=name):
                association.send(tmp_path / name, MR, uid, EXPLICIT)
        with pytest.raises(UnfitFileError, match="another instance"):
            association.send(path, MR, "1.2.3", EXPLICIT)
        assert association.send(path, MR, uid, EXPLICIT) == 0
        association.release()


def test_breaking_off_from_another_thread(image: tuple[Path, str]) -> None:
    """A send that waits for its answer ends at once, with an unknown outcome; opening again fails."""
    waiting = threading.Event()

    def script(peer: Acceptor) -> None:
        peer.accept()
        peer.message()
        waiting.set()
        peer.socket.recv(100)

    with acceptor(script) as port:
        association = opened(port, timeout=1000)
        breaker = threading.Thread(target=lambda: waiting.wait(10) and association.break_off())
        breaker.start()
        assert association.send(image[0], MR, image[1], EXPLICIT) is None
        breaker.join()
    with acceptor(lambda peer: None) as port:
        association._port = port
        with pytest.raises(DeliveryError, match="broken off"):
            association.open()


def test_the_deadlines_do_not_mind_the_wall_clock(
    image: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that jumps by a year neither ends a send nor keeps it waiting."""
    now = time.time

    def script(peer: Acceptor) -> None:
        peer.accept()
        peer.message()
        monkeypatch.setattr(time, "time", lambda: now() + 365 * 86_400)
        time.sleep(0.7)
        peer.answer(0)
        peer.message()
        peer.socket.recv(100)

    with acceptor(script) as port:
        association = opened(port, timeout=1.5)
        assert association.send(image[0], MR, image[1], EXPLICIT) == 0
        assert association.send(image[0], MR, image[1], EXPLICIT) is None


def test_our_own_receiver(tmp_path: Path, image: tuple[Path, str]) -> None:
    """What is sent to our own receiver arrives byte for byte."""
    with receiving(tmp_path / "node") as (receiver, store_handler, _spool):
        association = StoreAssociation(*receiver.address, "DICOMNODE", "SENDER", CONTEXTS)
        association.open()
        assert association.send(image[0], MR, image[1], EXPLICIT) == 0
        association.release()
        store_handler.wait_for_end()
    assert dataset_bytes(store_handler.kept[0][2]) == dataset_bytes(image[0])
    assert store_handler.ended[0][1]
