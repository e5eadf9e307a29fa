"""What reads bytes that others wrote, each as a function that raises only where the reader is at fault.

The first byte of an input says how the rest is read. A target catches what its reader declares, and nothing
else; where two ways of reading must agree, it compares them.
"""

from __future__ import annotations

import functools
import random
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

import scanner_seeds as seeds
from dicomnode.dicom.reading.header_reader import (
    HeaderBytes,
    HeaderReader,
    UnsupportedHeaderError,
    skip_file_meta,
)
from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.lazy_reading import read_without_pixels
from dicomnode.dicom.reading.sorting_header import SORTING_KEYWORDS, read_sorting_header
from dicomnode.dicom.values.encodings import encoding_of
from dicomnode.errors import DeliveryError, StructureError
from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.association_request import Proposal, decode_rejection
from dicomnode.host.dimse.bounded_reader import P_DATA, BoundedReader, ConnectionEndedError
from dicomnode.host.dimse.c_store_handler import AssociationContext, CStoreHandler
from dicomnode.host.dimse.dimse_scu import DimseAssociation
from dicomnode.host.dimse.message_templates import StoreTemplates, decode_command, decode_store_response
from dicomnode.host.dimse.pynetdicom_private import Negotiator
from dicomnode.host.dimse.requested_association import RequestedAssociation
from dicomnode.host.dimse.store_handler import AssociationInfo
from dicomnode.host.dimse.store_scu import StoreAssociation
from dicomnode.host.history.get_scu import STUDY_ROOT_GET, GetAssociation, RetrieveReception
from dicomnode.host.parsing.file_meta import decode_prefix
from dicomnode.host.parsing.index_values import decoded_value, encodings_of
from dicomnode.host.parsing.inspection import InspectionLimits, RefusedDataSetError, inspect
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.parsing.structure import ByteSource, BytesSource, Findings, RawValue
from dicomnode.host.spool.spool import Spool
from encoded_data_sets import EXPLICIT, IMPLICIT
from raw_peer import MR, VERIFICATION, associate_request
from receiving import RecordingStoreHandler

WANTED: Final = frozenset(
    {0x00080008, 0x00080060, 0x00100010, 0x00100020, 0x00200013, 0x00200032, 0x00091001}
)
EXPECTED: Final = MR, seeds.INSTANCE
_LIMITS: Final = InspectionLimits(inflated=1_000_000)
_VRS: Final = [
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "SL",
    "SS",
    "ST",
    "SV",
    "TM",
    "UC",
    "UI",
    "UL",
    "UR",
    "US",
    "UT",
    "UV",
    "OF",
]
_CHARSETS: Final = tuple(python_encoding)


class OneByteMore:
    """A source that gives no byte more than it is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def window(self, position: int, at_least: int) -> bytes:
        """Return what was asked for, or a byte where nothing was."""
        return self.data[position : position + max(at_least, 1)]


@dataclass(frozen=True)
class Target:
    """A reader to fuzz: what an input does, and what sound inputs look like."""

    run: Callable[[bytes], None]
    seed: Callable[[random.Random], bytes]


TARGETS: dict[str, Target] = {}


def target(
    seed: Callable[[random.Random], bytes],
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Register a function as the target of its name."""

    def registered(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[run.__name__] = Target(run, seed)
        return run

    return registered


# -- data sets ------------------------------------------------------------------------------------------


def _syntax_and_data_set(random_: random.Random) -> bytes:
    number = random_.randrange(len(seeds.SYNTAXES))
    return bytes([number]) + seeds.data_set(random_, seeds.SYNTAXES[number])


def _inspected(source: ByteSource, length: int, syntax: str, layouts: LayoutCache | None = None) -> object:
    try:
        return inspect(source, 0, length, syntax, WANTED, _LIMITS, expected=EXPECTED, layouts=layouts)
    except RefusedDataSetError as refused:
        return refused.response.status


@target(_syntax_and_data_set)
def walk(data: bytes) -> None:
    """Inspect a data set: at once, byte by byte, and after others like it, with one outcome."""
    syntax, body = seeds.SYNTAXES[data[0] % len(seeds.SYNTAXES)] if data else EXPLICIT, data[1:]
    layouts = LayoutCache()
    outcomes = [_inspected(BytesSource(body), len(body), syntax, layouts) for _ in range(4)]
    outcomes.append(_inspected(BytesSource(body), len(body), syntax))
    outcomes.append(_inspected(OneByteMore(body), len(body), syntax))
    if outcomes[1:] != outcomes[:-1]:
        raise AssertionError(f"not one outcome: {outcomes}")


_GOOD: Final = functools.cache(lambda number: seeds.mr_small(seeds.SYNTAXES[number]))


@target(lambda random_: bytes([random_.randrange(3)]) + random_.randbytes(3 * random_.randrange(1, 6)))
def recall(data: bytes) -> None:
    """Overwrite bytes of an image that comes after its like: the outcome is that of the image alone."""
    number = data[0] % 3 if data else 0
    good, syntax, layouts = _GOOD(number), seeds.SYNTAXES[number], LayoutCache()
    for _ in range(4):
        _inspected(BytesSource(good), len(good), syntax, layouts)
    body = bytearray(good)
    for at in range(1, len(data) - 2, 3):
        body[int.from_bytes(data[at : at + 2]) % len(body)] = data[at + 2]
    alone = _inspected(BytesSource(bytes(body)), len(body), syntax)
    remembered = _inspected(BytesSource(bytes(body)), len(body), syntax, layouts)
    if alone != remembered:
        raise AssertionError(f"{alone} by itself, {remembered} after its like")


@target(
    lambda random_: (
        random_.randbytes(3) + random_.choice((b"\x1b$B0!", b"1\\2.5\\x", b"\xc3\xa9^A=B", b"\0 "))
    )
)
def index(data: bytes) -> None:
    """Decode any value as any VR in any character set: text or numbers come of it."""
    numbers, value = data[:3].ljust(3, b"\0"), data[3:]
    names = [_CHARSETS[number % len(_CHARSETS)] for number in numbers[1:]][: 1 + numbers[0] % 2]
    findings = Findings({0x00080005: RawValue("CS", "\\".join(names).encode())})
    little = bool(numbers[0] & 2)
    decoded_value(_VRS[numbers[0] % len(_VRS)], value, encodings_of(findings), little_endian=little)
    findings.values[0x00080005] = RawValue("CS", value)
    encodings_of(findings)


# -- files ----------------------------------------------------------------------------------------------


def _two_files(random_: random.Random) -> bytes:
    syntax = random_.choice((IMPLICIT, EXPLICIT))
    state = random_.getstate()
    first = seeds.file(random_, syntax)
    if random_.random() < 0.7:
        random_.setstate(state)
    second = seeds.damaged(random_, seeds.file(random_, syntax))
    return struct.pack(">H", len(first)) + first + second


def _header_read(reader: HeaderReader, data: bytes) -> object:
    try:
        header_bytes = HeaderBytes(BytesIO(data))
        at, syntax = skip_file_meta(header_bytes)
        return reader.read(header_bytes, at, encoding_of(syntax))
    except UnsupportedHeaderError:
        return None


@target(_two_files)
def header(data: bytes) -> None:
    """Read the headers of two files one after the other: each gives what it gives alone."""
    length = int.from_bytes(data[:2])
    files = data[2 : 2 + length], data[2 + length :]
    wanted, sequences = frozenset({0x00080060, 0x00100010, 0x00280010, 0x00280008}), frozenset({0x00081140})
    alone = [_header_read(HeaderReader(wanted, sequences), each) for each in files]
    reader = HeaderReader(wanted, sequences)
    remembered = [_header_read(reader, each) for each in files * 3]
    if remembered != alone * 3:
        raise AssertionError(f"{alone} alone, {remembered} one after the other")


@target(lambda random_: seeds.file(random_, random_.choice(seeds.SYNTAXES)))
def sorting_header(data: bytes) -> None:
    """Look at a file as sorting does: it gives values or nothing, and raises nothing."""
    path = _FOLDER / "sorted.dcm"
    path.write_bytes(data)
    seen = read_sorting_header(LazyDataset(path))
    if seen is not None:
        for keyword in SORTING_KEYWORDS:
            hash(seen.values.get(keyword))
        if seen.bytes_available > len(data):
            raise AssertionError("more bytes of pixels than the file has")


@target(lambda random_: seeds.file(random_, random_.choice(seeds.SYNTAXES)))
def lazy_reading(data: bytes) -> None:
    """Read a file as a job does: a data set, or StructureError."""
    path = _FOLDER / "read.dcm"
    path.write_bytes(data)
    with suppress(StructureError):
        read_without_pixels(str(path))


@target(lambda random_: seeds.file_meta(random_, EXPLICIT))
def file_meta(data: bytes) -> None:
    """Read file meta information: it is read, or StructureError says why not."""
    with suppress(StructureError):
        _meta, end = decode_prefix(data)
        if end > len(data):
            raise AssertionError("beyond the end")


# -- messages -------------------------------------------------------------------------------------------


@contextmanager
def _peer_that_sent(data: bytes) -> Iterator[socket.socket]:
    """Yield a connection whose other end has sent `data` and will send nothing more."""
    theirs = socket.create_connection(_SERVER.getsockname())
    ours, _address = _SERVER.accept()
    for sock in (ours, theirs):  # closing resets the connection: no port waits for late segments
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with ours, theirs:
        theirs.sendall(data[:60_000])
        theirs.shutdown(socket.SHUT_WR)
        yield ours


@contextmanager
def _answered(association: RequestedAssociation, accepted: dict[int, str], data: bytes) -> Iterator[None]:
    """Open an association with a peer that accepts contexts and then sends `data`, whatever is asked."""
    with _peer_that_sent(seeds.association_accept(accepted) + data) as ours:
        association._connect = lambda: ours  # type: ignore[method-assign]  # no time to connect each time
        association.open()
        with suppress(DeliveryError):
            yield
    association.abort()


def _info() -> AssociationInfo:
    return AssociationInfo("id", "CALLING", "CALLED", "127.0.0.1", datetime.now(UTC))


def _first_command(pdus: bytes) -> bytes:
    return pdus[12 : 6 + int.from_bytes(pdus[2:6])]


@target(lambda random_: bytes([random_.randrange(200)]) + _first_command(seeds.requests(random_)))
def command(data: bytes) -> None:
    """Read command sets one after the other: templates read what the general case reads."""
    templates = StoreTemplates(data[0] if data else 0)
    for one in (data[1:], data[1:], data[:0:-1]):
        decode_store_response(one)
        read = templates.decode(one)
        if read != decode_command(one):
            raise AssertionError("another command")
        if read is not None and read.store is not None:
            templates.respond(1, read.store, 0xC000 if len(one) % 2 else 0, "comment")


@target(seeds.requests)
def reader(data: bytes) -> None:
    """Read PDUs: each lies within the buffer, and the connection ends."""
    with _peer_that_sent(data) as ours:
        pdus = BoundedReader(ours, 4096, 5.0, lambda: None)
        pdus.established()
        with suppress(ConnectionEndedError):
            while True:
                _kind, begin, end = pdus.next_pdu(float("inf"))
                if not 0 <= begin <= end <= len(pdus.buffer):
                    raise AssertionError("a PDU beyond the buffer")


@target(seeds.requests)
def store_handler(data: bytes) -> None:
    """Receive instances: they are answered, or the connection ends."""
    with _peer_that_sent(data) as ours:
        pdus = BoundedReader(ours, 16_384, 5.0, lambda: None)
        pdus.established()
        contexts = {1: (MR, EXPLICIT), 3: (VERIFICATION, EXPLICIT)}
        common = AssociationContext(_info(), contexts, _Discard(), _SPOOL, ReceiverSettings(), 16_384)
        handler = CStoreHandler(pdus, common, lambda _pdus: True)
        try:
            while True:
                kind, begin, end = pdus.next_pdu(float("inf"))
                if kind == P_DATA:
                    handler.handle_p_data(begin, end)
        except ConnectionEndedError:
            pass
        finally:
            handler.close()


@target(lambda random_: seeds.responses(random_, 0x8001))
def store_scu(data: bytes) -> None:
    """Wait for the answer to a C-STORE: a status, nothing, or DeliveryError."""
    association = StoreAssociation("peer", 104, "PEER", "NODE", [(MR, EXPLICIT)], timeout=5.0)
    with _answered(association, {1: EXPLICIT, 3: IMPLICIT}, data):
        association.send(_IMAGE, MR, seeds.INSTANCE, EXPLICIT)
        association.release()


@target(lambda random_: seeds.event_report(random_) + seeds.responses(random_, 0x8020))
def dimse_scu(data: bytes) -> None:
    """Wait for the responses to a C-FIND, and take what a peer asks meanwhile: DeliveryError, or an end."""
    association = DimseAssociation(
        "peer", 104, "PEER", "NODE", seeds.FIND, timeout=5.0, handler=lambda message: message.status
    )
    command = {"CommandField": 0x0020, "AffectedSOPClassUID": seeds.FIND, "Priority": 0}
    with _answered(association, {1: EXPLICIT}, data):
        for message in association.request(command, Dataset()):
            str((message.status, message.comment, message.field))
            with suppress(DeliveryError):
                answer = message.dataset()
                str([answer.get(keyword) for keyword in ("PatientID", "StudyInstanceUID", "Modality")])
        association.serve(5.0, lambda: False)


@target(lambda random_: _in_context(seeds.requests(random_), 3) + seeds.responses(random_, 0x8010))
def get_scu(data: bytes) -> None:
    """Retrieve by C-GET: the last response, or DeliveryError."""
    received = [(MR, EXPLICIT)]
    association = GetAssociation("peer", 104, "PEER", "NODE", STUDY_ROOT_GET, timeout=5.0, received=received)
    target_ = RetrieveReception(_Discard(), _SPOOL, ReceiverSettings())
    command = {"CommandField": 0x0010, "AffectedSOPClassUID": STUDY_ROOT_GET, "Priority": 0}
    with _answered(association, {1: EXPLICIT, 3: EXPLICIT}, data):
        association.retrieve(command, Dataset(), _info(), target_, time.monotonic() + 5)


def _in_context(pdus: bytes, number: int) -> bytes:
    out, at = bytearray(pdus), 0
    while at < len(out):
        out[at + 10] = number
        at += 6 + int.from_bytes(out[at + 2 : at + 6])
    return bytes(out)


@target(lambda random_: seeds.association_accept({1: EXPLICIT, 3: random_.choice((IMPLICIT, "1.2.3"))}))
def association_accept(data: bytes) -> None:
    """Read the answer to an association request: contexts, or DeliveryError."""
    decode_rejection(data)
    proposal = Proposal([(MR, EXPLICIT)])
    with suppress(DeliveryError):
        acceptance = proposal.decode_acceptance(data)
        for sop_class, syntax in acceptance.accepted_contexts().values():
            acceptance.context_for(sop_class, syntax)


@target(
    lambda random_: associate_request(
        {1: (MR, EXPLICIT), 3: (VERIFICATION, random_.choice((IMPLICIT, "1.2")))}
    )
)
def association_request(data: bytes) -> None:
    """Read an association request: it ends. The connection catches whatever pynetdicom raises."""
    with _peer_that_sent(b"") as ours, suppress(Exception):
        association = _NEGOTIATOR.association(ours, lambda _data: None)
        request = association.decode_request(data)
        if request is not None:
            association.accept(request)


class _Discard(RecordingStoreHandler):
    """Takes an instance and keeps nothing."""

    def received(self, *_arguments: object, **_named: object) -> object:  # type: ignore[override]  # whatever it is given
        return self.answer


def _image() -> Path:
    path = _FOLDER / "image.dcm"
    random_ = random.Random(1)  # has a group length
    path.write_bytes(seeds.file_meta(random_, EXPLICIT) + seeds.data_set(random_, EXPLICIT))
    return path


_DIRECTORY = tempfile.TemporaryDirectory(prefix="fuzz")
_FOLDER: Final = Path(_DIRECTORY.name)
_SERVER: Final = socket.create_server(("127.0.0.1", 0))
_SPOOL: Final = Spool(_FOLDER / "spool", "process")
_NEGOTIATOR: Final = Negotiator(ReceiverSettings(ae_title="NODE", max_pdu_length=16_384))
_IMAGE: Final = _image()
