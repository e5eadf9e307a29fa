"""How the command line speaks to a running host: one JSON object a line, over a socket in its data directory.

The directory is closed to other users, and so is the socket.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dicomnode.errors import DicomnodeError

_LOG = logging.getLogger(__name__)
_TIMEOUT = 30.0
_LONGEST = 1 << 20
_NOT_SERVED = (OSError, ValueError, TypeError, RecursionError)
"""What a connection may end with: it broke, its line is no order, or the answer is not plain data."""

Handler = Callable[[Mapping[str, Any]], Any]


class NotRunningError(DicomnodeError):
    """No host runs on this data directory."""


class ControlServer:
    """Answers orders on a thread of its own.

    Parameters
    ----------
    path : pathlib.Path
        The socket; it is made, and removed at the end.
    handlers : mapping of str to callable
        What is done for each order: it is given the order and returns plain data. A DicomnodeError or
        ValueError is told to whoever asked.
    """

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path, self._handlers = path, handlers
        self._server: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            with _short(self._path) as address:
                self._server.bind(address)
        finally:
            os.umask(mask)
        self._server.listen(8)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        if self._server is not None:
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._thread.join(_TIMEOUT)
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        server = self._server
        while server is not None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(_TIMEOUT)
                    self._serve(connection)
                except _NOT_SERVED as error:
                    _LOG.warning("an order could not be taken: %s", type(error).__name__)

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rw", encoding="utf-8") as stream:
            order = json.loads(stream.readline(_LONGEST))
            answer: dict[str, Any]
            try:
                handler = self._handlers.get(str(order.get("order")))
                if handler is None:
                    answer = {"error": f"this host knows no order {order.get('order')!r}"}
                else:
                    answer = {"answer": handler(order)}
            except (DicomnodeError, ValueError) as error:
                answer = {"error": str(error)}
            except Exception as error:
                _LOG.exception("an order failed")
                answer = {"error": f"{type(error).__name__}: {error}"}
            stream.write(json.dumps(answer) + "\n")


def ask(path: Path, order: str, **details: Any) -> Any:
    """Give a running host an order and return its answer.

    Parameters
    ----------
    path : pathlib.Path
        The host's control socket.
    order : str
        What to do.
    **details
        Plain data that belongs to it.

    Raises
    ------
    NotRunningError
        When no host runs there.
    DicomnodeError
        When it could not do it; the message says why.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_TIMEOUT)
        try:
            with _short(path) as address:
                client.connect(address)
        except OSError as error:
            msg = f"no host runs on {path.parent}"
            raise NotRunningError(msg) from error
        with client.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps({"order": order, **details}) + "\n")
            stream.flush()
            text = stream.readline()
    answer = json.loads(text) if text else {"error": "the host gave no answer"}
    if "error" in answer:
        raise DicomnodeError(answer["error"])
    return answer["answer"]


class _short:  # noqa: N801 - reads as a function in a with statement
    """A path that fits a socket address (108 bytes), however long the directory's own is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._directory = -1

    def __enter__(self) -> str:
        self._directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._directory}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)
