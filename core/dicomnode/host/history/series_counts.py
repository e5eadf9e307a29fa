"""Asks peers how many images a series has: C-FIND of Number of Series Related Instances (0020,1209)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from dicomnode.errors import DeliveryError
from dicomnode.host.configuration.config import Config
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.foundation.error_text import delivery_reason
from dicomnode.host.history.query_retrieve import find_series

_LAST_WAIT: Final = 2.0


Answered = Callable[["int | None", str], None]
"""Is told the number of images, or ``None`` and why there is none, in words that name no patient."""


class SeriesCounts:
    """Asks peers one question after the other, on a thread of its own.

    Parameters
    ----------
    peers : mapping of str to Peer
        Those that have an address, by name.
    """

    def __init__(self, peers: Mapping[str, Peer]) -> None:
        self._peers = dict(peers)
        self._questions: queue.SimpleQueue[tuple[str, str, str, Answered] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="series-counts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a question that is under way is broken off."""
        self._questions.put(None)
        for peer in self._peers.values():
            peer.break_off()
        if self._thread.ident is not None:
            self._thread.join(_LAST_WAIT)

    def reconfigure(self, peers: Mapping[str, Peer]) -> None:
        """Ask other peers from now on; a question that is under way ends as it began."""
        self._peers = dict(peers)

    def ask(self, peer: str, StudyInstanceUID: str, SeriesInstanceUID: str, answered: Answered) -> None:  # noqa: N803 - DICOM's own spelling
        """Ask, and tell the answer later, on another thread.

        Parameters
        ----------
        peer : str
            The peer's name in the configuration, or an AE title; a name comes first.
        StudyInstanceUID, SeriesInstanceUID : str
            Which series.
        answered : callable
            Is told the number.
        """
        self._questions.put((peer, StudyInstanceUID, SeriesInstanceUID, answered))

    def _run(self) -> None:
        while (each := self._questions.get()) is not None:
            *question, answered = each
            try:
                count, reason = self._count(*question)
            except DeliveryError as error:
                count, reason = None, delivery_reason(error)
            except Exception as error:  # what a peer answers may be anything
                count, reason = None, f"the answer cannot be read: {type(error).__name__}"
            answered(count, reason)

    def _count(self, name: str, study: str, series: str) -> tuple[int | None, str]:
        peer = self._peer(name)
        if peer is None:
            return None, f"no peer with an address is called {name!r} in the configuration"
        found = find_series(peer, study, series, time.monotonic() + peer.table.timeout)
        if found is None:
            return None, f"{peer.name} does not know the series"
        count = found.get("NumberOfSeriesRelatedInstances")
        if count is None:
            return None, f"{peer.name} does not say how many images a series has"
        return int(count), ""

    def _peer(self, name: str) -> Peer | None:
        if name in self._peers:
            return self._peers[name]
        return next((peer for peer in self._peers.values() if peer.table.ae_title == name), None)


def peers_with_address(config: Config) -> dict[str, Peer]:
    """Return the peers that can be asked, by name.

    Raises
    ------
    ConfigurationError
        When a peer cannot be used.
    """
    title = config.host.ae_title
    return {
        name: Peer(name, table, title) for name, table in config.peers.items() if table.address is not None
    }
