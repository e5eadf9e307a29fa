"""A DICOM peer that says exactly what it is told to, right or wrong, byte by byte."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from typing import Any, Self

VERIFICATION = "1.2.840.10008.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
RELEASE = b"\x05\0\0\0\0\4\0\0\0\0"
ABORT = b"\x07\0\0\0\0\4\0\0\0\0"
ACCEPTED, REJECTED, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_request(
    contexts: dict[int, tuple[str, str]],
    called: bytes = b"DICOMNODE",
    calling: bytes = b"RAW",
    max_length: int = 16_384,
    extra: bytes = b"",
) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""
    body = struct.pack(">HH", 1, 0) + called.ljust(16)[:16] + calling.ljust(16)[:16] + bytes(32)
    body += _item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, (abstract, transfer) in contexts.items():
        syntaxes = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
        body += _item(0x20, bytes([number, 0, 0, 0]) + syntaxes)
    user = _item(0x51, struct.pack(">I", max_length)) + _item(0x52, b"1.2.3.4")
    body += _item(0x50, user) + extra
    return struct.pack(">BxI", 1, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    """Return one element of a command set."""
    if len(value) % 2:
        value += b"\0"
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(field: int, sop_class: str, message_id: int = 1, *, data_set: bool, instance: str = "") -> bytes:
    """Return a command set."""
    body = element(0x0002, sop_class.encode()) + element(0x0100, struct.pack("<H", field))
    body += element(0x0110, struct.pack("<H", message_id)) + element(0x0700, b"\0\0")
    body += element(0x0800, b"\0\0" if data_set else b"\x01\x01")
    if instance:
        body += element(0x1000, instance.encode())
    return element(0x0000, struct.pack("<I", len(body))) + body


def p_data(context: int, control: int, data: bytes) -> bytes:
    """Return a P-DATA-TF with one fragment; `control` is 1 for a command, 2 for the last fragment."""
    return struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, context, control) + data


def message(context: int, first: bytes, data: bytes, piece: int = 16_000) -> bytes:
    """Return command and data set as P-DATA-TFs of at most `piece` bytes."""
    pdus = [p_data(context, 3, first)]
    for at in range(0, max(len(data), 1), piece):
        pdus.append(p_data(context, 2 if at + piece >= len(data) else 0, data[at : at + piece]))
    return b"".join(pdus)


def store_message(
    instance: str, data: bytes, context: int = 1, sop_class: str = MR, number: int = 1
) -> bytes:
    """Return a whole C-STORE-RQ."""
    return message(context, command(1, sop_class, number, data_set=True, instance=instance), data)


@dataclass
class RawPeer:
    """A connection to the receiver from an address of our choice."""

    address: tuple[str, int]
    source: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    timeout: float = 15.0
    socket: Any = field(init=False)

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(self.address, self.timeout, (self.source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; type 0 when the connection was closed."""
        try:
            head = self._exactly(6)
            kind, length = struct.unpack(">BxI", head)
            return kind, self._exactly(length)
        except (EOFError, ConnectionError, ssl.SSLError):
            return 0, b""

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def associate(self, sop_class: str = MR, transfer: str = EXPLICIT, **options: Any) -> int:
        """Associate with contexts 1 (storage) and 3 (verification); return the type of the answer."""
        self.send(associate_request({1: (sop_class, transfer), 3: (VERIFICATION, EXPLICIT)}, **options))
        return self.receive()[0]

    def status(self) -> int | None:
        """Return the status of the next answer; None when there comes none."""
        kind, body = self.receive()
        if kind != DATA:
            return None
        at = 6
        while at < len(body):
            _group, number, length = struct.unpack_from("<HHI", body, at)
            if number == 0x0900:
                return int(struct.unpack_from("<H", body, at + 8)[0])
            at += 8 + length
        return None

    def store(self, instance: str, data: bytes, **options: Any) -> int | None:
        """Send a C-STORE and return its status; None when the connection ended instead."""
        try:
            self.send(store_message(instance, data, **options))
        except OSError:
            return None
        return self.status()

    def echo(self) -> int | None:
        """Send a C-ECHO and return its status."""
        self.send(p_data(3, 3, command(0x30, VERIFICATION, data_set=False)))
        return self.status()

    @property
    def is_open(self) -> bool:
        """Whether nothing has come, not even the end of the connection."""
        return not select.select([self.socket], [], [], 0)[0]

    def release(self) -> int:
        """Release; return the type of the answer."""
        self.send(RELEASE)
        return self.receive()[0]


def check_echo(
    address: tuple[str, int], source: str = "127.0.0.3", tls: ssl.SSLContext | None = None
) -> None:
    """Assert that another peer can connect, associate, send a C-ECHO and release."""
    with RawPeer(address, source, tls) as peer:
        assert peer.associate() == ACCEPTED
        assert peer.echo() == 0
        assert peer.release() == RELEASED


def echo_time(
    address: tuple[str, int], source: str = "127.0.0.3", tls: ssl.SSLContext | None = None
) -> float:
    """Return the seconds that :func:`check_echo` takes: a figure to print, nothing to assert."""
    begin = time.monotonic()
    check_echo(address, source, tls)
    return time.monotonic() - begin
