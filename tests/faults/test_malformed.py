"""Group A: what cannot be read, or is not what it claims to be, is never answered Success."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from faulty import Attacked, attacked
from raw_peer import ACCEPTED, EXPLICIT, MR, RawPeer, command, element, message, p_data, store_message
from receiving import dataset_bytes, encoded, small_dataset

RLE = "1.2.840.10008.1.2.5"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
UID = "1.2.3.4.5"


def good(**values: object) -> bytes:
    return encoded(small_dataset(SOPInstanceUID=UID, **values))


def without(keyword: str) -> bytes:
    dataset = small_dataset(SOPInstanceUID=UID)
    delattr(dataset, keyword)
    return encoded(dataset)


def with_pixels(change: Callable[[bytes], bytes]) -> bytes:
    dataset = small_dataset(SOPInstanceUID=UID)
    dataset.PixelData = change(dataset.PixelData)
    return encoded(dataset)


def with_length(tag: bytes, length: int) -> bytes:
    data = bytearray(good())
    at = data.index(tag)
    if bytes(data[at + 4 : at + 6]) in {b"OW", b"OB", b"SQ"}:
        data[at + 8 : at + 12] = struct.pack("<I", length)
    else:
        data[at + 6 : at + 8] = struct.pack("<H", length)
    return bytes(data)


def nested(depth: int) -> bytes:
    one = struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    ends = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = good()
    at = data.index(b"\x10\x00\x10\x00PN")
    return data[:at] + one * depth + ends * depth + data[at:]


def rle(change: Callable[[bytes], bytes]) -> bytes:
    dataset = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    dataset.SOPInstanceUID = UID
    return change(encoded(dataset))


def unclosed_item(order: str = "<", vr: bytes = b"SQ\0\0", rest: bytes = b"") -> bytes:
    """Return a data set that ends within an item of undefined length, right where another element may be."""
    sequence = struct.pack(order + "HH", 0x0008, 0x1115) + vr + b"\xff" * 4
    return sequence + struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + rest


CASES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "zeros": lambda: bytes(4096),
    "text": lambda: b"GET / HTTP/1.1\r\n" * 20,
    "cut in Pixel Data": lambda: good()[:-1000],
    "cut by one byte": lambda: good()[:-1],
    "cut in a header": lambda: good()[:601],
    "cut in the first header": lambda: good()[:5],
    "cut before Pixel Data": lambda: good()[: good().rindex(b"\xe0\x7f\x10\x00")],
    "cut before Rows": lambda: good()[: good().rindex(b"\x28\x00\x10\x00")],
    "Pixel Data shorter than rows and columns": lambda: with_pixels(lambda pixels: pixels[:-2]),
    "Pixel Data empty": lambda: with_pixels(lambda _pixels: b""),
    "Pixel Data's length too long": lambda: with_length(b"\xe0\x7f\x10\x00", 9000),
    "Pixel Data's length too short": lambda: with_length(b"\xe0\x7f\x10\x00", 4000),
    "Pixel Data's length undefined": lambda: with_length(b"\xe0\x7f\x10\x00", 0xFFFFFFFF),
    "PatientID's length too long": lambda: with_length(b"\x10\x00\x20\x00", 4000),
    "PatientID's length too short": lambda: with_length(b"\x10\x00\x20\x00", 1),
    "length of 64 kB": lambda: with_length(b"\x10\x00\x10\x00", 0xFFFF),
    "no StudyInstanceUID": lambda: without("StudyInstanceUID"),
    "no SeriesInstanceUID": lambda: without("SeriesInstanceUID"),
    "no SOPInstanceUID": lambda: without("SOPInstanceUID"),
    "no SOPClassUID": lambda: without("SOPClassUID"),
    "empty SeriesInstanceUID": lambda: good(SeriesInstanceUID=""),
    "another SOPInstanceUID": lambda: encoded(small_dataset(SOPInstanceUID="1.2.3.4.6")),
    "another SOPClassUID": lambda: good(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
    "SOPInstanceUID that is a path": lambda: good().replace(b"\x08\x00\x18\x00UI\x0a\x001.2.3.4.5\0",
                                                            b"\x08\x00\x18\x00UI\x0a\x00../../../x"),
    "SeriesInstanceUID with a NUL inside": lambda: good(SeriesInstanceUID="1.2.3.4.5.6").replace(
        b"1.2.3.4.5.6", b"1.2\x003.4.5.6"
    ),
    "SOPInstanceUID twice": lambda: good().replace(
        b"\x08\x00\x18\x00UI\x0a\x001.2.3.4.5\0", b"\x08\x00\x18\x00UI\x0a\x001.2.3.4.5\0" * 2
    ),
    "file meta information within": lambda: b"\x02\x00\x10\x00UI\x04\x001.2\0" + good(),
    "a command element within": lambda: b"\x00\x00\x10\x00UI\x04\x001.2\0" + good(),
    "an end at the begin of an item": unclosed_item,
    "an end within an item": lambda: unclosed_item(rest=b"\x08\x00\x55\x11UI\x04\x001.2\0"),
    "nested 900 deep": lambda: nested(900),
    "nested 100,000 deep": lambda: nested(100_000),
    "a whole file instead of a data set": lambda: Path(get_testdata_file("MR_small.dcm")).read_bytes(),
    "implicit VR inside explicit": lambda: encoded(small_dataset(SOPInstanceUID=UID), IMPLICIT),
    "big endian": lambda: encoded(small_dataset(SOPInstanceUID=UID), BIG),
}  # fmt: skip
RLE_CASES: dict[str, Callable[[], bytes]] = {
    "no sequence delimiter": lambda: rle(lambda data: data[:-8]),
    "cut in a fragment": lambda: rle(lambda data: data[:-500]),
    "native Pixel Data in an encapsulated syntax": good,
    "no fragment": lambda: rle(
        lambda data: data[: data.rindex(b"\xe0\x7f\x10\x00OB") + 20] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    ),
    "a fragment of undefined length": lambda: rle(
        lambda data: data[: data.rindex(b"\xfe\xff\x00\xe0") + 4] + b"\xff" * 4 + b"\0" * 400
    ),
}


def test_malformed_data_sets(tmp_path: Path) -> None:
    """Every malformed data set gets a failure status; the association and the next instance live on."""
    with attacked(tmp_path) as receiver:
        before = receiver.resources()
        right, answers = 0, {}
        for syntax, cases in ((None, CASES), (RLE, RLE_CASES)):
            with RawPeer(receiver.address) as peer:
                options = {"transfer": syntax} if syntax else {}
                assert peer.associate(MR, **options) == ACCEPTED
                for name, make in cases.items():
                    status = peer.store(UID, make())
                    answers[name] = status
                    right += status is not None and status & 0xF000 in {0xA000, 0xC000}
                if syntax is None:
                    assert peer.store(UID, good()) == 0
                else:
                    assert peer.store(UID, rle(bytes)) == 0
                peer.release()
        receiver.figures["cases right of all"] = f"{right} of {len(CASES) + len(RLE_CASES)}"
        wrong = {name: status for name, status in answers.items() if not status or status < 0xA000}
        assert not wrong
        kept = receiver.kept()
        assert [dataset_bytes(path) for _uid, path in kept] == [good(), rle(bytes)]
        assert not list((tmp_path / "spool" / "incoming").iterdir())
        receiver.settled(before)
        receiver.check_log("CompressedSamples")


def test_what_is_refused_in_the_command(tmp_path: Path) -> None:
    """A command without data set or without a valid UID is refused; one that is none ends the association."""
    with attacked(tmp_path) as receiver:
        with RawPeer(receiver.address) as peer:
            assert peer.associate() == ACCEPTED
            for instance in ("../../etc/passwd", "", "1" * 65, "1.2\\3"):
                peer.send(message(1, command(1, MR, data_set=True, instance=instance), good()))
                assert (peer.status() or 0) & 0xF000 == 0xC000
            peer.send(p_data(1, 3, command(1, MR, data_set=False, instance=UID)))
            assert (peer.status() or 0) & 0xF000 == 0xC000
            assert peer.store(UID, good()) == 0
        for broken in (b"", b"\xff" * 20, element(0x0100, b"\x01\x00"), element(0x0100, b"\x01")):
            with RawPeer(receiver.address) as peer:
                assert peer.associate() == ACCEPTED
                peer.send(p_data(1, 3, broken))
                assert peer.receive()[0] in {0, 7}
        assert len(receiver.kept()) == 1


def accepts(peer: RawPeer, syntax: str) -> bool:
    """Say whether the receiver takes the association; it closes the connection where no slot is free."""
    with suppress(ConnectionError):
        return peer.associate(MR, transfer=syntax) == ACCEPTED
    return False


@contextmanager
def all_slots(receiver: Attacked, slots: int, syntax: str) -> Iterator[list[RawPeer]]:
    """Associate as often as the receiver allows at once; wait until the associations of before are over."""
    deadline = time.monotonic() + 20
    while True:
        with ExitStack() as stack:
            peers = [stack.enter_context(RawPeer(receiver.address)) for _ in range(slots)]
            if all(accepts(peer, syntax) for peer in peers):
                yield peers
                return
        assert time.monotonic() < deadline, "a slot is not free"
        time.sleep(0.05)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_an_item_that_is_never_closed_is_answered(tmp_path: Path, syntax: str) -> None:
    """A data set that ends within an item of undefined length is refused; thread and slot are free again."""
    data = unclosed_item(">" if syntax == BIG else "<", b"" if syntax == IMPLICIT else b"SQ\0\0")
    slots = 4
    with attacked(tmp_path, max_associations=slots, max_associations_per_address=slots) as receiver:
        before = receiver.resources()
        with all_slots(receiver, slots, syntax) as peers:
            request = store_message(UID, data)
            assert len(request) < 300
            for peer in peers:
                peer.send(request)
            for peer in peers[1:]:  # the first one leaves without its answer
                assert (peer.status() or 0) & 0xF000 == 0xC000
                assert peer.echo() == 0
        with all_slots(receiver, slots, EXPLICIT) as peers:
            assert peers[0].store(UID, good()) == 0
        receiver.settled(before)


@pytest.mark.parametrize("piece", [2, 7, 1000, 16_378])
def test_odd_but_legal_fragmentation(tmp_path: Path, piece: int) -> None:
    """Fragments of any size, several in a PDU, a split command: the bytes on disk are the same."""
    data, first = good(), command(1, MR, data_set=True, instance=UID)
    pdus = b""
    for control, part in ((1, first), (0, data)):
        values = b""
        for at in range(0, len(part), piece):
            last = 2 if at + piece >= len(part) else 0
            fragment = part[at : at + piece]
            values += struct.pack(">IBB", len(fragment) + 2, 1, control | last) + fragment
            if len(values) > 8000 or last:
                pdus += struct.pack(">BxI", 4, len(values)) + values
                values = b""
    with attacked(tmp_path) as receiver:
        with RawPeer(receiver.address) as peer:
            assert peer.associate(max_length=64) == ACCEPTED
            peer.send(pdus)
            assert peer.receive()[0] == 4  # the answer comes in pieces of 64 bytes
        ((_uid, path),) = receiver.kept()
        assert hashlib.sha256(dataset_bytes(path)).digest() == hashlib.sha256(data).digest()
