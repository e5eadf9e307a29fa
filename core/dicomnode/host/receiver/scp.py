"""The receiver: listens, receives instances into the spool, asks the store handler, answers.

::

    listener                 accepts; caps and allow-list; a thread for each connection
      connection             TLS handshake, negotiation, release
        bounded_reader       PDUs out of the socket, within limits of length and time
        c_store_handler      C-STORE: P-DATA into the spool, the answer
          structure          is it readable? which values are indexed?
          spool              durable
          StoreHandler       is it wanted?
        pynetdicom_private   negotiation, C-ECHO and everything else
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial

from dicomnode.host.configuration.receiver_settings import AllowedPeer, ReceiverSettings, is_loopback
from dicomnode.host.dimse.pynetdicom_private import CommitmentHandler, Negotiator, silence_loggers
from dicomnode.host.dimse.store_handler import PrevalidatorFactory, StoreHandler
from dicomnode.host.dimse.tls import ServerTLS
from dicomnode.host.receiver.allowed_peers import AllowedPeers
from dicomnode.host.receiver.connection import Connection, ConnectionContext
from dicomnode.host.receiver.forwarded_connection import ForwardedConnection, HostDecisions
from dicomnode.host.receiver.listener import Listener, Runnable
from dicomnode.host.receiver.receiver_pool import ReceiverPool
from dicomnode.host.spool.spool import Spool

_LOG = logging.getLogger(__name__)
_LAST_WAIT = 5.0
_SWITCH_INTERVAL = 0.0005


class Receiver:
    """Listens for associations and receives instances.

    Parameters
    ----------
    settings : ReceiverSettings
    store_handler : StoreHandler
        Decides about associations and instances.
    spool : Spool
        Where the bytes go.
    commitments : callable, optional
        Takes reports about storage commitment; without it they are not accepted.
    prevalidator_factory : callable, optional
        Makes the pipelines' rules in each receiver process; without it, the store handler asks all of them.

    Raises
    ------
    ConfigurationError
        If the TLS files cannot be used.
    """

    def __init__(
        self,
        settings: ReceiverSettings,
        store_handler: StoreHandler,
        spool: Spool,
        commitments: CommitmentHandler | None = None,
        prevalidator_factory: PrevalidatorFactory | None = None,
    ) -> None:
        silence_loggers()
        negotiator = Negotiator(settings, commitments)
        allowed = AllowedPeers(settings.peers)
        tls = ServerTLS(settings.tls) if settings.tls is not None else None
        self._settings = settings
        # Where files are synced, connections wait for the disk most of the time, and best do so together.
        fairness_lock = None if spool.durable else threading.Lock()
        self._context = ConnectionContext(
            settings, store_handler, spool, negotiator, allowed, tls, fairness_lock=fairness_lock
        )
        self._allowed = allowed
        self._decisions = HostDecisions(store_handler, spool, allowed, commitments)
        self._pool = (
            ReceiverPool(
                settings.receivers,
                settings,
                store_handler.wanted,
                spool,
                commitments=commitments is not None,
                prevalidator_factory=prevalidator_factory,
            )
            if settings.receivers > 1
            else None
        )
        self._listener = Listener(settings, allowed, self._connection)

    @property
    def address(self) -> tuple[str, int]:
        """Where the receiver listens: host and port."""
        return self._listener.address

    def start(self) -> None:
        """Bind and listen.

        Raises
        ------
        OSError
            If the address cannot be bound (the port is in use).
        """
        # A thread that waits for the interpreter asks for it after this time. A peer that keeps one thread
        # busy would make another's association, which waits some fifty times, last that many intervals.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL))
        if self._pool is not None:
            self._pool.start()
        try:
            self._listener.start()
        except BaseException:
            if self._pool is not None:
                self._pool.close()
            raise
        settings = self._settings
        if settings.insecure and not is_loopback(settings.host):
            _LOG.warning("listening on %s:%d for everybody (insecure)", *self.address)
        if not self._context.spool.durable:
            _LOG.warning('durability is "process": a power cut loses what was acknowledged just before')
        _LOG.info("listening on %s:%d", *self.address)

    def allow(self, peers: Sequence[AllowedPeer]) -> None:
        """Allow other peers from now on (as :attr:`ReceiverSettings.peers`). Open associations go on."""
        self._allowed.replace(peers)

    def stop(self, grace: float = 10.0) -> None:
        """Accept no more, let associations in the midst of sending go on for `grace` seconds, then end them.

        Returns when all connections have ended; the store handler has learned of each.
        """
        moment = time.monotonic() + grace
        self._context.stop.set(moment)
        if self._pool is not None:
            self._pool.stop_at(moment)
        self._listener.close()
        if not self._listener.wait(grace + _LAST_WAIT):
            self._listener.break_all()
            self._listener.wait(_LAST_WAIT)
        if self._pool is not None:
            self._pool.close()

    def _connection(self, sock: socket.socket, address: str) -> Runnable:
        if self._pool is None:
            return Connection(sock, address, self._context)
        return ForwardedConnection(sock, partial(self._pool.hand_over, address=address), self._decisions)
