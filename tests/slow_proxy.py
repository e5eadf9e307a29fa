"""A TCP proxy that is slow, cuts connections, loses answers or holds them back: a bad network."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

A_ASSOCIATE_AC, P_DATA = 2, 4


@dataclass
class Proxy:
    """The proxy's ways. They may be changed while it runs.

    Attributes
    ----------
    target : int
        The port, on 127.0.0.1, to which it connects.
    rate : float, optional
        Bytes a second towards the target, of all connections.
    delay : float
        Seconds before anything passes, in each direction.
    lose_answers : int
        How many more connections lose their first P-DATA-TF from the target: the connection is cut instead.
    hold_at : int, optional
        Which answer of the target is the first that is held back, of all connections: 0 is the first
        A-ASSOCIATE-AC, 1 the first C-STORE-RSP then. Changed by :meth:`hold`.
    """

    target: int
    rate: float | None = None
    delay: float = 0.0
    lose_answers: int = 0
    hold_at: int | None = None
    port: int = 0
    connections: int = 0
    passed: int = 0
    _open: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _answers: int = -1
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def hold(self, hold_at: int | None) -> None:
        """Let answers pass up to another one; all of them if none is given."""
        with self._changed:
            self.hold_at = hold_at
            self._changed.notify_all()

    def wait_held(self, seconds: float = 60) -> None:
        """Wait until an answer is held back: the target has done what was asked, and the other waits."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._answers == self.hold_at, seconds)

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def serve(self, listener: socket.socket) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                near, _address = listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                near.close()
                continue
            threading.Thread(target=self._connect, args=(near, far), daemon=True).start()

    def _connect(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            with self._lock:
                self._open += [near, far]
            back = threading.Thread(target=self._pass, args=(far, near, self._back), daemon=True)
            back.start()
            self._pass(near, far, self._there)
            back.join()
            with self._lock:
                self._open.remove(near)
                self._open.remove(far)

    def _pass(self, source: socket.socket, sink: socket.socket, wanted: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(self.delay)
                if not wanted(data):
                    break
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _there(self, data: bytes) -> bool:
        self.passed += len(data)
        if self.rate is not None:
            time.sleep(len(data) / self.rate)
        return True

    def _back(self, data: bytes) -> bool:
        if data[0] == P_DATA and self.lose_answers > 0:
            self.lose_answers -= 1
            return False
        if data[0] in {A_ASSOCIATE_AC, P_DATA}:
            with self._changed:
                self._answers += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.hold_at is None or self._answers < self.hold_at)
        return True


@contextmanager
def slow_proxy(target: int, **ways: float) -> Iterator[Proxy]:
    """Run a proxy before a port of 127.0.0.1."""
    proxy = Proxy(target, **ways)  # type: ignore[arg-type]  # fields by name
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            proxy.hold(None)
            proxy.cut()
            thread.join(5)
