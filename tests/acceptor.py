"""An acceptor of associations that does exactly what a test tells it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from raw_peer import element, p_data

RELEASE_RP = b"\x06\0\0\0\0\4\0\0\0\0"


class Acceptor:
    """Reads and answers as a test tells it, on a thread of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.contexts: list[int] = []

    def pdu(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def accept(self, max_length: int = 16_384, result: int = 0, syntax: str | None = None) -> None:
        """Answer the request with an A-ASSOCIATE-AC, the same result for each context."""
        kind, body = self.pdu()
        assert kind == 1
        answer = body[:68] + _item(0x10, b"1.2.840.10008.3.1.1.1")
        at = 68
        while at < len(body):
            item, length = struct.unpack_from(">BxH", body, at)
            if item == 0x20:
                self.contexts.append(body[at + 4])
                name = (syntax or _first_syntax(body[at + 8 : at + 4 + length])).encode()
                answer += _item(0x21, bytes([body[at + 4], 0, result, 0]) + _item(0x40, name))
            at += 4 + length
        user = _item(0x51, struct.pack(">I", max_length)) + _item(0x52, b"1.2.3")
        answer += _item(0x50, user)
        self.socket.sendall(struct.pack(">BxI", 2, len(answer)) + answer)

    def message(self) -> tuple[bytes, bytes]:
        """Return command and data set of the next message."""
        parts = [b"", b""]
        while True:
            kind, body = self.pdu()
            assert kind == 4
            at = 0
            while at < len(body):
                length, _context, control = struct.unpack_from(">IBB", body, at)
                is_data = not control & 1
                parts[is_data] += body[at + 6 : at + 4 + length]
                at += 4 + length
                if is_data and control & 2:
                    return parts[0], parts[1]

    def answer(self, status: int, message_id: int = 1, extra: bytes = b"") -> None:
        body = element(0x0100, b"\x01\x80") + element(0x0120, struct.pack("<H", message_id))
        body += element(0x0800, b"\x01\x01") + element(0x0900, struct.pack("<H", status)) + extra
        self.socket.sendall(p_data(1, 3, element(0, struct.pack("<I", len(body))) + body))

    def release(self) -> None:
        assert self.pdu()[0] == 5
        self.socket.sendall(RELEASE_RP)


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _first_syntax(items: bytes) -> str:
    at = 0
    while items[at] != 0x40:
        at += 4 + struct.unpack_from(">H", items, at + 2)[0]
    return items[at + 4 : at + 4 + struct.unpack_from(">H", items, at + 2)[0]].decode()


def store(count: int = 1) -> Callable[[Acceptor], None]:
    """Return a script that takes so many instances."""

    def script(pacs: Acceptor) -> None:
        pacs.accept()
        for number in range(1, count + 1):
            pacs.message()
            pacs.answer(0, number)
        pacs.release()

    return script


def in_turn(*scripts: Callable[[Acceptor], None]) -> Callable[[Acceptor], None]:
    """Return a script that runs another one with each connection."""
    following = iter(scripts)

    def script(pacs: Acceptor) -> None:
        next(following)(pacs)

    return script


@contextmanager
def acceptor(script: Callable[[Acceptor], None], connections: int = 1) -> Iterator[int]:
    """Accept one connection (or some, one after the other), run a script with each; yield the port."""
    failures: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            try:
                for _ in range(connections):
                    sock, _address = server.accept()
                    sock.settimeout(20)
                    with sock:
                        script(Acceptor(sock))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(20)
    if failures:
        raise failures[0]
