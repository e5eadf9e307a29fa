"""Accepts connections: allow-list and caps, then a thread for each. It never reads: no peer can stop it."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.receiver.allowed_peers import AllowedPeers, plain_address

_LOG = logging.getLogger(__name__)
_BACKLOG = 256
_PAUSE = 0.05


class Runnable(Protocol):
    """A connection as the listener sees it."""

    def run(self) -> None:
        """Serve until it ends, and close the socket."""
        ...

    def close(self) -> None:
        """Break it, from another thread."""
        ...


class Listener:
    """Listens, and runs a connection for each peer that may connect.

    Parameters
    ----------
    settings : ReceiverSettings
    allowed : AllowedPeers
    make : callable
        Makes the connection from socket and peer's address; must not read from the socket.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        allowed: AllowedPeers,
        make: Callable[[socket.socket, str], Runnable],
    ) -> None:
        self._settings, self._allowed, self._make = settings, allowed, make
        self._lock = threading.Condition()
        self._by_address: Counter[str] = Counter()
        self._open: dict[Runnable, threading.Thread] = {}
        self._closed = threading.Event()
        self._server: socket.socket | None = None
        self._address: tuple[str, int] | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, or did until it was closed."""
        if self._address is None:
            raise RuntimeError("the receiver was not started")
        return self._address

    def start(self) -> None:
        """Bind and accept.

        Raises
        ------
        OSError
            If the address cannot be bound.
        """
        settings = self._settings
        family, _kind, _protocol, _name, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._server = socket.create_server(
            (str(address[0]), int(address[1])), family=family, backlog=_BACKLOG, reuse_port=False
        )
        host, port = self._server.getsockname()[:2]
        self._address = str(host), int(port)
        self._thread = threading.Thread(target=self._accept, name="receiver-listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Accept no more. Connections go on."""
        self._closed.set()
        if self._server is not None:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # wakes accept()
        if self._thread is not None:
            self._thread.join()
        if self._server is not None:
            self._server.close()

    def wait(self, timeout: float) -> bool:
        """Wait until all connections have ended; False if some have not after `timeout` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._open, timeout)

    def break_all(self) -> None:
        """Break the connections that are left."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.close()

    def _accept(self) -> None:
        server = self._server
        while server is not None and not self._closed.is_set():
            try:
                sock, peer = server.accept()
            except OSError as error:
                if not self._closed.is_set():
                    # Out of descriptors, most likely: those that are open must end first.
                    _LOG.warning("a connection could not be accepted: %s", error.strerror)
                    self._closed.wait(_PAUSE)
                continue
            self._accepted(sock, plain_address(str(peer[0])))

    def _accepted(self, sock: socket.socket, address: str) -> None:
        refusal = self._refusal(address)
        if refusal is not None:
            _LOG.warning("connection from %s closed: %s", address, refusal)
            sock.close()
            return
        connection = self._make(sock, address)
        thread = threading.Thread(
            target=self._run, args=(connection, address), name=f"receiver-{address}", daemon=True
        )
        with self._lock:
            self._open[connection] = thread
            self._by_address[address] += 1
        try:
            thread.start()
        except RuntimeError:
            _LOG.error("connection from %s closed: no thread can be started", address)
            self._forget(connection, address)
            sock.close()

    def _refusal(self, address: str) -> str | None:
        if not self._allowed.may_connect(address):
            return "not on the list of peers"
        with self._lock:
            if len(self._open) >= self._settings.max_associations:
                return f"there are {len(self._open)} already"
            if self._by_address[address] >= self._settings.max_associations_per_address:
                return f"there are {self._by_address[address]} from there already"
        return None

    def _run(self, connection: Runnable, address: str) -> None:
        try:
            connection.run()
        finally:
            self._forget(connection, address)

    def _forget(self, connection: Runnable, address: str) -> None:
        with self._lock:
            self._open.pop(connection, None)
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
            self._lock.notify_all()
