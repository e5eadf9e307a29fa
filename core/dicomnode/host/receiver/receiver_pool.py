"""Receiver processes: they do network, disk and structure check; the host's own process decides.

::

    host: listener accepts ---- socket and channel (SCM_RIGHTS) ----> receiver process: Connection
          ForwardedConnection <--- channel: may associate? admit? received: keep? --- StoreHandlerProxy
          log                 <--- control socket ----------------------------------- what is logged

The rules of the pipelines are asked in the receiver process, too, as far as they look at nothing but the
image; what depends on the images that wait is the host's to decide. The guarantees are those of a receiver
without processes: every decision and every final name is the host's. A receiver process that dies costs the
associations that it served; another one takes its place.
"""

from __future__ import annotations

import logging
import marshal
import pickle
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from dicomnode.host.configuration.receiver_settings import ReceiverSettings
from dicomnode.host.dimse.store_handler import PrevalidatorFactory
from dicomnode.host.spool.spool import Spool

_LOG = logging.getLogger(__name__)
_MODULE: Final = "dicomnode.host.receiver.receiver_process"
_LONGEST_MESSAGE: Final = 65_536
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_LAST_WAIT: Final = 2.0
_LONGEST_START: Final = 30.0
READY: Final = marshal.dumps(("", 0, "", ""))
"""The first message of a process."""


@dataclass(frozen=True, slots=True)
class ProcessSettings:
    """What a receiver process needs to know at its start."""

    settings: ReceiverSettings
    wanted: frozenset[int]
    incoming_prefix: str
    """Path and beginning of the names of its files."""
    durable: bool
    commitments: bool
    log_level: int
    prevalidator_factory: PrevalidatorFactory | None


class _Process:
    """One receiver process, seen from the host."""

    def __init__(self, settings: ProcessSettings) -> None:
        self.incoming_prefix = settings.incoming_prefix
        self.connections = 0
        self.alive = True
        self.ready = threading.Event()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno())]
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, start_new_session=True
            )
        self.send(pickle.dumps(settings))

    def send(self, message: bytes, *sockets: socket.socket) -> bool:
        """Send a message, with sockets; False if the process has gone."""
        try:
            socket.send_fds(self.control, [message], [sock.fileno() for sock in sockets])
        except OSError:
            return False
        return True


class ReceiverPool:
    """Starts receiver processes, hands connections over to them, and starts another when one ends.

    Parameters
    ----------
    count : int
        How many.
    settings : ReceiverSettings
    wanted : frozenset of int
        The tags that the store handler wants.
    spool : Spool
    commitments : bool
        Whether reports about storage commitment are taken.
    prevalidator_factory : callable, optional
        Makes the pipelines' rules in each process.
    """

    def __init__(
        self,
        count: int,
        settings: ReceiverSettings,
        wanted: frozenset[int],
        spool: Spool,
        *,
        commitments: bool,
        prevalidator_factory: PrevalidatorFactory | None = None,
    ) -> None:
        self._count, self._settings, self._wanted, self._spool = count, settings, wanted, spool
        self._commitments, self._prevalidator_factory = commitments, prevalidator_factory
        self._processes: list[_Process] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the processes, and wait until they are ready (a second, for Python to load)."""
        for number in range(self._count):
            process = self._start_process()
            thread = threading.Thread(
                target=self._watch, args=(process,), name=f"receiver-process-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        deadline = time.monotonic() + _LONGEST_START
        for process in list(self._processes):
            if not process.ready.wait(max(deadline - time.monotonic(), 0)):
                _LOG.error("a receiver process is not ready after %g s", _LONGEST_START)

    def hand_over(
        self, sock: socket.socket, channel: socket.socket, address: str
    ) -> Callable[[], None] | None:
        """Give a connection to the process that has the fewest; return what to call when it has ended."""
        while True:
            with self._lock:
                alive = [process for process in self._processes if process.alive]
                if not alive:
                    return None
                chosen = min(alive, key=lambda process: process.connections)
                chosen.connections += 1
            if chosen.send(marshal.dumps(("connection", address)), sock, channel):
                return lambda: self._connection_ended(chosen)
            with self._lock:
                chosen.alive = False

    def stop_at(self, moment: float) -> None:
        """Have associations end, at the latest at a moment (monotonic)."""
        self._stopping.set()
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            process.send(marshal.dumps(("stop", moment)))

    def close(self) -> None:
        """End the processes; no connection is open any more, or none is waited for."""
        self._stopping.set()
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            with suppress(OSError):
                process.control.shutdown(socket.SHUT_WR)  # it ends when it reads this
        deadline = time.monotonic() + _LAST_WAIT
        for process in processes:
            try:
                process.process.wait(max(deadline - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                process.process.kill()
        for thread in self._threads:
            thread.join()

    def _start_process(self) -> _Process:
        prefix = f"{self._spool.incoming_prefix}{secrets.token_hex(3)}-"
        level = logging.getLogger("dicomnode").getEffectiveLevel()
        process = _Process(
            ProcessSettings(
                self._settings,
                self._wanted,
                prefix,
                self._spool.durable,
                self._commitments,
                level,
                self._prevalidator_factory,
            )
        )
        with self._lock:
            self._processes.append(process)
        return process

    def _connection_ended(self, process: _Process) -> None:
        with self._lock:
            process.connections -= 1

    def _watch(self, process: _Process) -> None:
        """Log what a process logs; when it ends unasked, start another."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            self._forward_log(process)
            with self._lock:
                process.alive = False
                self._processes.remove(process)
            code = process.process.wait()
            process.control.close()
            self._spool.drop_incoming(process.incoming_prefix)
            if self._stopping.is_set():
                return
            _LOG.error("a receiver process ended (%s); another one is started", _exit_text(code))
            pause = (
                _FIRST_PAUSE if time.monotonic() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            )
            if self._stopping.wait(pause):
                return
            process = self._start_process()

    @staticmethod
    def _forward_log(process: _Process) -> None:
        while True:
            try:
                data = process.control.recv(_LONGEST_MESSAGE)
            except OSError:
                return
            if not data:
                return
            name, level, text, association = marshal.loads(data)  # noqa: S302 - our own process wrote it
            if not name:
                process.ready.set()
                continue
            logger = logging.getLogger(name)
            if logger.isEnabledFor(level):
                logger.log(level, "%s", text, extra={"association": association} if association else None)


def _exit_text(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
