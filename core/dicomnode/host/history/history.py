"""Fetching patients' earlier images: what is begun, recorded, and taken up again after a restart."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from dicomnode.errors import ConfigurationError
from dicomnode.host.configuration.config import Config, PeerTable
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.notifier import Notifier
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.history.fetcher import REQUESTED, Fetcher, FetchTarget
from dicomnode.host.history.get_scu import RetrieveReception
from dicomnode.host.ledger.history_ledger import (
    HistoryRecord,
    begin_history,
    end_histories,
    open_histories,
    transition_history,
)
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput

_LOG = logging.getLogger(__name__)
_LAST_WAIT: Final = 2.0


class History:
    """Fetches earlier images for the inputs that ask for them, one thread a peer.

    Parameters
    ----------
    ledger : Ledger
        Where it is kept how far each fetching is.
    trees : iterable of WaitingImages
        The pipelines' trees.
    peers : mapping of str to Peer
        Pipeline -> who is asked. A pipeline without one fetches nothing.
    reception : RetrieveReception
        Where images go that come by C-GET.
    events : Events
        Where it is reported.
    settled : callable
        Called with tree and container key when there is nothing to wait for any more: the patient may be
        complete.
    image_entered : Notifier of WaitingImages and str
        What says that an image is in a container.
    """

    def __init__(
        self,
        ledger: Ledger,
        trees: Iterable[WaitingImages],
        peers: Mapping[str, Peer],
        *,
        reception: RetrieveReception,
        events: Events,
        settled: Callable[[WaitingImages, str], None],
        image_entered: Notifier[WaitingImages, str],
    ) -> None:
        self._ledger, self._events, self._settled = ledger, events, settled
        self.reception = reception
        self._trees = {tree.configured.name: tree for tree in trees if historic_inputs(tree)}
        self._peers = dict(peers)
        self._by_name = {peer.name: peer for peer in peers.values()}
        self._fetchers = {name: Fetcher(self, peer) for name, peer in self._by_name.items()}
        self._to_begin: queue.SimpleQueue[tuple[WaitingImages, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        image_entered.subscribe(self.image_entered)

    # -- life ---------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Set in the trees what was fetched or requested before a restart; before images enter them."""
        for record in self._records():
            if record.pipeline in self._trees:
                self._trees[record.pipeline].set_history(record.container_key, record.input, record.status)

    def start(self) -> None:
        """Begin, with what a restart cut off; after images were put into the trees."""
        for record in self._records():
            tree = self._trees.get(record.pipeline)
            if tree is None or tree.quiet_for(record.container_key) is None:
                self._ledger.write(end_histories(record.pipeline, record.container_key))
                if tree is not None:
                    tree.forget_history(record.container_key)
            elif record.status.peer in self._fetchers:
                self._fetchers[record.status.peer].add(record)
            elif record.status.state in (HistoryState.FETCHING, HistoryState.FAILED):
                tree.forget_history(record.container_key)  # another peer is configured now: it is asked
        for fetcher in self._fetchers.values():
            fetcher.start()
        self._thread.start()
        for tree in self._trees.values():
            for container_key in tree.keys():  # noqa: SIM118 - a tree is no mapping
                self.image_entered(tree, container_key)

    def stop(self) -> None:
        """Stop. What is being fetched is broken off, and asked for again after the next start."""
        self._to_begin.put(None)
        for fetcher in self._fetchers.values():
            fetcher.stop()
        for thread in (self._thread, *(fetcher.thread for fetcher in self._fetchers.values())):
            if thread.ident is not None:
                thread.join(_LAST_WAIT)

    def reconfigure(self, tables: Mapping[str, PeerTable]) -> None:
        """Take other configurations of the peers; they count from the next association.

        Raises
        ------
        ConfigurationError
            When a peer that is asked has gone, or cannot be used so.
        """
        for name, peer in self._by_name.items():
            if name not in tables:
                msg = f"peers.{name} has gone from the configuration, and earlier images are asked of it"
                raise ConfigurationError(msg)
            peer.reconfigure(tables[name])

    def image_entered(self, tree: WaitingImages, container_key: str) -> None:
        """Learn that an image of a patient came; fetch what its pipeline wants, if that has not begun."""
        names = historic_inputs(tree)
        if names and any(tree.history(container_key, name) is None for name in names):
            self._to_begin.put((tree, container_key))

    def _run(self) -> None:
        while (container := self._to_begin.get()) is not None:
            try:
                self._begin(*container)
            except Exception as error:
                _LOG.error("earlier images could not be asked for: %s", type(error).__name__)
                _LOG.debug("the failure", exc_info=True)
        self._ledger.close_reader()

    def _begin(self, tree: WaitingImages, container_key: str) -> None:
        """Enter that earlier images are fetched, and have it done."""
        for name in historic_inputs(tree):
            if tree.history(container_key, name) is not None:
                continue
            image = tree.first_image(container_key)
            if image is None:
                return
            peer = self._peers.get(tree.configured.name)
            status = _first_status(peer, str(image.get("PatientID", "") or ""))
            number = self._ledger.write(begin_history(tree.configured.name, container_key, name, status))
            tree.set_history(container_key, name, status)
            if peer is not None and status.state is HistoryState.FETCHING:
                self._fetchers[peer.name].add(
                    HistoryRecord(number, tree.configured.name, container_key, name, status, 0, 0.0)
                )
            else:
                self._report(tree, f"{name}: {status.reason}", logging.WARNING)
                self._settled(tree, container_key)

    def _records(self) -> list[HistoryRecord]:
        with self._ledger.snapshot() as connection:
            return open_histories(connection)

    # -- for the fetchers ---------------------------------------------------------------------------------

    def target(self, record: HistoryRecord) -> FetchTarget | None:
        """Return what a record is about, or ``None`` where no container waits for it any more."""
        tree = self._trees.get(record.pipeline)
        if tree is None or record.input not in historic_inputs(tree):
            return None
        known = tree.history(record.container_key, record.input)
        if known is None or tree.first_image(record.container_key) is None:
            return None
        return FetchTarget(tree, record.container_key, record.input)

    def record_status(
        self,
        record: HistoryRecord,
        target: FetchTarget,
        status: HistoryStatus,
        *,
        attempts: int,
        not_before: float = 0.0,
    ) -> HistoryRecord:
        """Enter how far a fetching is, in the ledger and for the input."""
        self._ledger.write(transition_history(record.id, status, attempts=attempts, not_before=not_before))
        target.tree.set_history(target.container_key, target.input, status)
        return replace(record, status=status, attempts=attempts, not_before=not_before)

    def drop(self, record: HistoryRecord) -> None:
        """Record that no container waits for it any more."""
        self._ledger.write(end_histories(record.pipeline, record.container_key, record.input))

    def finish(self, target: FetchTarget, status: HistoryStatus, log_reason: str = "") -> None:
        """Report that a fetching is over; `log_reason` is for the log, where that is another."""
        level = logging.WARNING if status.state is HistoryState.FAILED else logging.INFO
        message = f"{target.input}: {status.state.value}: {log_reason or status.reason}"
        self._report(target.tree, message, level, status.reason if log_reason else "")
        self._settled(target.tree, target.container_key)

    def _report(self, tree: WaitingImages, message: str, level: int, detail: str = "") -> None:
        name = tree.configured.name
        self._events.tell(Event(Station.HISTORY, message, pipeline=name, detail=detail, level=level))


def historic_inputs(tree: WaitingImages) -> list[str]:
    """Return the names of a pipeline's inputs that fetch earlier images."""
    return _historic(tree.configured)


def history_peers(config: Config, configured_pipelines: Iterable[ConfiguredPipeline]) -> dict[str, Peer]:
    """Return pipeline -> the peer that is asked for earlier images, for the pipelines that want them.

    Raises
    ------
    ConfigurationError
        When a peer cannot be used.
    """
    with_address = [name for name, table in config.peers.items() if table.address is not None]
    made: dict[str, Peer] = {}
    peers = {}
    for configured in configured_pipelines:
        name = configured.table.history or (with_address[0] if len(with_address) == 1 else None)
        if name is not None and _historic(configured):
            made[name] = made.get(name) or Peer(name, config.peers[name], config.host.ae_title)
            peers[configured.name] = made[name]
    return peers


def _historic(configured: ConfiguredPipeline) -> list[str]:
    inputs: Mapping[str, type[AbstractInput]] = configured.pipeline.inputs
    return [name for name, kind in inputs.items() if issubclass(kind, HistoricAbstractInput)]


def _first_status(peer: Peer | None, patient: str) -> HistoryStatus:
    if peer is None:
        reason = "no peer is named that could be asked: set history to one in the pipeline's table"
        return HistoryStatus(HistoryState.FAILED, "", reason, patient)
    if not patient:
        return HistoryStatus(
            HistoryState.NOTHING, peer.name, "the image has no Patient ID to ask for", patient
        )
    return HistoryStatus(HistoryState.FETCHING, peer.name, REQUESTED, patient)
