"""The main program of a receiver process; :mod:`.receiver_pool` starts it. It ends when the host does."""

from __future__ import annotations

import gc
import logging
import marshal
import os
import pickle
import signal
import socket
import sys
import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import Final

from pydicom.dataset import Dataset

from dicomnode.host.dimse.pynetdicom_private import Negotiator, silence_loggers
from dicomnode.host.dimse.store_handler import Prevalidator
from dicomnode.host.dimse.tls import ServerTLS
from dicomnode.host.foundation import log_context
from dicomnode.host.foundation.error_text import type_and_line
from dicomnode.host.foundation.excepthooks import install_excepthooks
from dicomnode.host.foundation.gc_tuning import tune_gc
from dicomnode.host.receiver.connection import Connection, ConnectionContext, StopDeadline
from dicomnode.host.receiver.process_channel import ProcessChannel
from dicomnode.host.receiver.receiver_pool import READY, ProcessSettings
from dicomnode.host.receiver.store_handler_proxy import StoreHandlerProxy
from dicomnode.host.spool.spool_writer import IncomingFiles

_LOG = logging.getLogger(__name__)
_LONGEST_MESSAGE: Final = 1_048_576
_LONGEST_LINE: Final = 4096
_PEER_AND_CHANNEL: Final = 2
_SWITCH_INTERVAL: Final = 0.0005

_store_handler: ContextVar[StoreHandlerProxy] = ContextVar("_store_handler")
"""The proxy of the connection that this thread serves."""


class _HostLogHandler(logging.Handler):
    """Has the host log what is logged here."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__()
        self._control = control

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, unless the host has ended."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {type_and_line(record.exc_info[1])}"
        text = text[:_LONGEST_LINE]
        message = record.name, record.levelno, text, log_context.association.get()
        with suppress(OSError, ValueError):
            self._control.send(marshal.dumps(message))


def _take_commitment_report(calling: str, information: Dataset) -> int:
    return _store_handler.get().take_commitment_report(calling, information)


class _ReceiverProcess:
    def __init__(self, process_settings: ProcessSettings) -> None:
        settings = process_settings.settings
        negotiator = Negotiator(settings, _take_commitment_report if process_settings.commitments else None)
        self._tls = ServerTLS(settings.tls) if settings.tls is not None else None
        self._process_settings = process_settings
        self._prevalidate = self._make_prevalidator()
        self._files = IncomingFiles(process_settings.incoming_prefix, durable=process_settings.durable)
        self._negotiator = negotiator
        self._stop = StopDeadline()

    def connection(self, address: str, sock: socket.socket, channel: socket.socket) -> None:
        """Serve a connection on a thread of its own."""
        thread = threading.Thread(target=self._serve, args=(address, sock, channel), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            sock.close()
            channel.close()

    def stop_at(self, moment: float) -> None:
        """End associations, at the latest at a moment."""
        self._stop.set(moment)

    def _make_prevalidator(self) -> Prevalidator | None:
        """Load the pipelines' rules. Where they cannot be loaded here, the host asks them."""
        if self._process_settings.prevalidator_factory is None:
            return None
        try:
            return self._process_settings.prevalidator_factory()
        except Exception as error:
            _LOG.warning("the host will ask the pipelines' rules: %s", type_and_line(error))
            return None

    def _serve(self, address: str, sock: socket.socket, channel: socket.socket) -> None:
        with channel:
            store_handler = StoreHandlerProxy(
                ProcessChannel(channel), self._process_settings.wanted, self._prevalidate
            )
            _store_handler.set(store_handler)
            settings = self._process_settings.settings
            context = ConnectionContext(
                settings, store_handler, self._files, self._negotiator, store_handler, self._tls, self._stop
            )
            Connection(sock, address, context).run()


def main() -> None:
    """Serve the connections that come over the control socket."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)  # the host gets them too, and says when to stop
    control = socket.socket(fileno=int(sys.argv[1]))
    process_settings: ProcessSettings = pickle.loads(control.recv(_LONGEST_MESSAGE))  # noqa: S301 - from our own parent
    logging.basicConfig(handlers=[_HostLogHandler(control)], level=process_settings.log_level)
    install_excepthooks(debug=process_settings.log_level <= logging.DEBUG)
    silence_loggers()
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))
    tune_gc()
    process = _ReceiverProcess(process_settings)
    gc.freeze()  # what stays for good
    control.send(READY)
    while True:
        try:
            data, descriptors, _flags, _from = socket.recv_fds(control, _LONGEST_MESSAGE, 2)
        except InterruptedError:
            continue
        except ConnectionError:  # the host has ended, and had not read all that was logged here
            break
        if not data:
            break
        kind, value = marshal.loads(data)  # noqa: S302 - from our own parent
        if kind == "stop":
            process.stop_at(value)
        elif len(descriptors) == _PEER_AND_CHANNEL:
            process.connection(value, *(socket.socket(fileno=number) for number in descriptors))
        else:  # out of descriptors: the host sees the channel close
            for number in descriptors:
                os.close(number)
    # The host has ended, or closes this process: nothing could be decided any more.
    os._exit(0)


if __name__ == "__main__":
    main()
