"""The station that fetches patients' earlier images."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from pydicom.dataset import Dataset

from dicomnode.dicom.lazy import LazyDataset
from dicomnode.errors import ConfigurationError, DeliveryError
from dicomnode.host.configuration.config import Config, PeerTable
from dicomnode.host.configuration.node import Node
from dicomnode.host.delivery.delivery_rules import BackOff
from dicomnode.host.delivery.delivery_schedule import DeliverySchedule
from dicomnode.host.delivery.peer import Peer
from dicomnode.host.events import Event, Events, Station
from dicomnode.host.gathering.pipeline_tree import PipelineTree
from dicomnode.host.history.get_scu import Receiving
from dicomnode.host.history.query_retrieve import Moved, Search, get, move
from dicomnode.host.ledger.history_ledger import (
    HistoryRecord,
    begin_history,
    end_histories,
    move_history,
    open_histories,
)
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import UnsettledDelivery
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput

_LOG = logging.getLogger(__name__)
_LONGEST_RETRY: Final = 600.0
_SORTING: Final = 10.0
"""Seconds for a pipeline that sorts its images after they were answered."""
_LAST_WAIT: Final = 2.0
_FETCHING: Final = "earlier images are asked for"


@dataclass(frozen=True, slots=True)
class _Target:
    """One input of one patient."""

    tree: PipelineTree
    container: str
    input: str

    @property
    def kind(self) -> type[HistoricAbstractInput]:
        """The input's class."""
        kind = self.tree.node.pipeline.inputs[self.input]
        if not issubclass(kind, HistoricAbstractInput):
            msg = f"input {self.input!r} fetches nothing"
            raise TypeError(msg)
        return kind


class History:
    """Fetches earlier images for the inputs that ask for them, one thread a peer.

    Parameters
    ----------
    ledger : Ledger
        Where it is kept how far each fetching is.
    trees : iterable of PipelineTree
        The pipelines' trees.
    peers : mapping of str to Peer
        Pipeline -> who is asked. A pipeline without one has nobody to ask.
    receiving : Receiving
        Where images go that come by C-GET.
    events : Events
        Who is told.
    settled : callable
        Told tree and container key when there is nothing to wait for any more: the patient may be complete.
    """

    def __init__(
        self,
        ledger: Ledger,
        trees: Iterable[PipelineTree],
        peers: Mapping[str, Peer],
        *,
        receiving: Receiving,
        events: Events,
        settled: Callable[[PipelineTree, str], None],
    ) -> None:
        self._ledger, self._events, self._settled = ledger, events, settled
        self.receiving = receiving
        self._trees = {tree.node.name: tree for tree in trees if historic_inputs(tree)}
        self._peers = dict(peers)
        self._by_name = {peer.name: peer for peer in peers.values()}
        self._fetchers = {name: _Fetcher(self, peer) for name, peer in self._by_name.items()}
        self._seen: queue.SimpleQueue[tuple[PipelineTree, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    # -- life ---------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Tell the trees what was fetched or asked for before a restart; before images are put into them."""
        for record in self._records():
            if record.pipeline in self._trees:
                self._trees[record.pipeline].set_history(record.container, record.input, record.status)

    def start(self) -> None:
        """Begin, with what a restart cut off; after images were put into the trees."""
        for record in self._records():
            tree = self._trees.get(record.pipeline)
            if tree is None or tree.quiet_for(record.container) is None:
                self._ledger.write(end_histories(record.pipeline, record.container))
                if tree is not None:
                    tree.forget_history(record.container)
            elif record.status.peer in self._fetchers:
                self._fetchers[record.status.peer].add(record)
            elif record.status.state in (HistoryState.FETCHING, HistoryState.FAILED):
                tree.forget_history(record.container)  # another peer is configured now: it is asked
        for fetcher in self._fetchers.values():
            fetcher.start()
        self._thread.start()
        for tree in self._trees.values():
            for key in tree.keys():  # noqa: SIM118 - a tree is no mapping
                self.seen(tree, key)

    def stop(self) -> None:
        """Stop. What is being fetched is broken off, and asked for again after the next start."""
        self._seen.put(None)
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

    def seen(self, tree: PipelineTree, key: str) -> None:
        """Learn that an image of a patient came; fetch what its pipeline wants, if that has not begun."""
        names = historic_inputs(tree)
        if names and any(tree.history(key, name) is None for name in names):
            self._seen.put((tree, key))

    def _run(self) -> None:
        while (seen := self._seen.get()) is not None:
            try:
                self._begin(*seen)
            except Exception as error:
                _LOG.error("earlier images could not be asked for: %s", type(error).__name__)
                _LOG.debug("the failure", exc_info=True)
        self._ledger.close_reader()

    def _begin(self, tree: PipelineTree, key: str) -> None:
        """Enter that earlier images are fetched, and have it done."""
        for name in historic_inputs(tree):
            if tree.history(key, name) is not None:
                continue
            image = tree.first_image(key)
            if image is None:
                return
            peer = self._peers.get(tree.node.name)
            status = _first_status(peer, str(image.get("PatientID", "") or ""))
            number = self._ledger.write(begin_history(tree.node.name, key, name, status))
            tree.set_history(key, name, status)
            if peer is not None and status.state is HistoryState.FETCHING:
                self._fetchers[peer.name].add(
                    HistoryRecord(number, tree.node.name, key, name, status, 0, 0.0)
                )
            else:
                self._tell(tree, f"{name}: {status.reason}", logging.WARNING)
                self._settled(tree, key)

    def _records(self) -> list[HistoryRecord]:
        with self._ledger.snapshot() as connection:
            return open_histories(connection)

    # -- what fetchers ask --------------------------------------------------------------------------------

    def target(self, record: HistoryRecord) -> _Target | None:
        """Return whom a record is about, or ``None`` where nobody waits for it any more."""
        tree = self._trees.get(record.pipeline)
        if tree is None or record.input not in historic_inputs(tree):
            return None
        known = tree.history(record.container, record.input)
        if known is None or tree.first_image(record.container) is None:
            return None
        return _Target(tree, record.container, record.input)

    def enter(
        self,
        record: HistoryRecord,
        target: _Target,
        status: HistoryStatus,
        *,
        attempts: int,
        not_before: float = 0.0,
    ) -> HistoryRecord:
        """Enter how far a fetching is, in the ledger and for the input."""
        self._ledger.write(move_history(record.id, status, attempts=attempts, not_before=not_before))
        target.tree.set_history(target.container, target.input, status)
        return replace(record, status=status, attempts=attempts, not_before=not_before)

    def give_up(self, record: HistoryRecord) -> None:
        """Enter that nobody waits for it any more."""
        self._ledger.write(end_histories(record.pipeline, record.container, record.input))

    def finish(self, target: _Target, status: HistoryStatus) -> None:
        """Tell that a fetching came to an end."""
        level = logging.WARNING if status.state is HistoryState.FAILED else logging.INFO
        self._tell(target.tree, f"{target.input}: {status.state.value}: {status.reason}", level)
        self._settled(target.tree, target.container)

    def _tell(self, tree: PipelineTree, message: str, level: int) -> None:
        self._events.tell(Event(Station.HISTORY, message, pipeline=tree.node.name, level=level))


class _Fetcher:
    """Asks one peer, for one input after the other."""

    def __init__(self, history: History, peer: Peer) -> None:
        self._history, self._peer = history, peer
        self._lock = threading.Lock()
        self._records: dict[int, HistoryRecord] = {}
        self._schedule = DeliverySchedule(_LONGEST_RETRY)
        self._stop = threading.Event()
        self._woken = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"fetch from {peer.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def stop(self) -> None:
        """Begin nothing new, and break off what is under way."""
        self._stop.set()
        self._woken.set()
        self._peer.break_off()

    def add(self, record: HistoryRecord) -> None:
        """Fetch for one more, unless it came to its end before a restart."""
        if record.status.state in (HistoryState.FETCHING, HistoryState.FAILED):
            with self._lock:
                self._records[record.id] = record
                self._plan()
            self._woken.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._woken.clear()
            with self._lock:
                due = self._schedule.due(1)
                wait = self._schedule.wait()
                record = self._records[due[0]] if due else None
            if record is None:
                self._woken.wait(wait)
                continue
            try:
                self._fetch(record)
            except Exception as error:  # the ledger cannot be written, say: it is tried again
                _LOG.error("earlier images could not be fetched: %s", type(error).__name__)
                _LOG.debug("the failure", exc_info=True)
                self._stop.wait(_LAST_WAIT)

    def _plan(self) -> None:
        """Take over the records into the schedule. The lock is held."""
        self._schedule.update(
            UnsettledDelivery(each.id, 0, each.attempts, each.not_before) for each in self._records.values()
        )

    def _fetch(self, record: HistoryRecord) -> None:
        target = self._history.target(record)
        image = None if target is None else target.tree.first_image(target.container)
        if target is None or image is None:
            self._history.give_up(record)
            self._done(record)
            return
        try:
            record, status = self._attempt(record, target, image)
        except DeliveryError as error:
            status = replace(record.status, state=HistoryState.FAILED, reason=str(error))
        if self._stop.is_set():
            return  # it was broken off, and does not count
        if status.state is HistoryState.FAILED:
            self._failed(record, target, status)
        else:
            self._history.enter(record, target, status, attempts=record.attempts + 1)
            self._done(record)
            self._history.finish(target, status)

    def _failed(self, record: HistoryRecord, target: _Target, status: HistoryStatus) -> None:
        """Count a failed attempt, and plan the next; after the last one it has failed."""
        kind, attempts = target.kind, record.attempts + 1
        last = attempts >= kind.fetch_attempts
        delay = BackOff(kind.fetch_retry, _LONGEST_RETRY).delay(attempts)
        if not last:
            reason = f"{status.reason} (attempt {attempts} of {kind.fetch_attempts})"
            status = replace(status, state=HistoryState.FETCHING, reason=reason)
        record = self._history.enter(
            record, target, status, attempts=attempts, not_before=time.time() + delay
        )
        if last and kind.when_failed == "optional" and not _held(target):
            self._done(record)
        else:
            with self._lock:
                self._records[record.id] = record
                self._plan()
        if attempts == kind.fetch_attempts:
            self._history.finish(target, status)

    def _done(self, record: HistoryRecord) -> None:
        with self._lock:
            self._records.pop(record.id, None)
            self._plan()

    # -- one attempt --------------------------------------------------------------------------------------

    def _attempt(
        self, record: HistoryRecord, target: _Target, image: LazyDataset
    ) -> tuple[HistoryRecord, HistoryStatus]:
        deadline = time.monotonic() + target.kind.fetch_timeout
        chosen = self._chosen(target, image, record.status.PatientID, deadline)
        asked_for = frozenset(_uid(each) for each in chosen)
        status = replace(record.status, state=HistoryState.FETCHING, reason=_FETCHING, asked_for=asked_for)
        if not chosen:
            return record, replace(status, state=HistoryState.NOTHING, reason=f"{self._peer.name} has none")
        # Before anything is sent: an image is recognised by what was asked for, after a restart as well. What
        # has failed stays so until it has been fetched.
        entered = replace(status, state=record.status.state)
        record = self._history.enter(record, target, entered, attempts=record.attempts)
        title = target.tree.node.ae_title
        moved = [self._sent(each, title, deadline) for each in chosen]
        return record, self._judged(target, status, moved)

    def _chosen(self, target: _Target, image: LazyDataset, patient: str, deadline: float) -> list[Dataset]:
        asking = target.kind(target.input)
        with _blaming(target, "query"):
            search = Search(self._peer, patient, dict(asking.query(image)))
            found = search.series(deadline) if asking.level == "series" else search.studies(deadline)
        with _blaming(target, "choose"):
            chosen = list(asking.choose(found, image))
            return list({_uid(each): each for each in chosen}.values())

    def _sent(self, asked: Dataset, title: str, deadline: float) -> Moved:
        """Have one thing sent, in the way that is configured."""
        if self._peer.table.retrieve == "get":
            return get(self._peer, asked, title, deadline, self._history.receiving)
        return move(self._peer, asked, title, deadline)

    def _judged(self, target: _Target, status: HistoryStatus, moved: Iterable[Moved]) -> HistoryStatus:
        """Say whether all is here that was sent: in the input, or refused by its rules."""
        moved = list(moved)
        sent, failed = sum(each.sent for each in moved), sum(each.failed for each in moved)
        sorted_already = target.tree.node.pipeline.sorts_before_answer
        deadline = time.monotonic() + (0.0 if sorted_already else _SORTING)
        while (here := _here(target)) < sent + failed and not failed and time.monotonic() < deadline:
            self._stop.wait(0.05)
        held, refused = here, 0
        if here >= sent + failed:
            held = _held(target)
            refused = here - held
            words = f"{held} images" + (f"; the input's rules refused {refused}" if refused else "")
            return replace(status, state=HistoryState.FETCHED, reason=words)
        words = (
            f"{here} of {sent + failed} images came; {self._peer.name} could not send the others, or they are"
            " inputs of a job that is not over"
        )
        return replace(status, state=HistoryState.FAILED, reason=words)


@contextmanager
def _blaming(target: _Target, method: str) -> Iterator[None]:
    """Make an attempt fail for whatever an author's method raises, or makes a query raise."""
    try:
        yield
    except DeliveryError:
        raise
    except Exception as error:
        msg = f"{target.kind.__name__}.{method}: {type(error).__name__}"
        raise DeliveryError(msg) from error


def historic_inputs(tree: PipelineTree) -> list[str]:
    """Return the names of a pipeline's inputs that fetch earlier images."""
    return _historic(tree.node)


def history_peers(config: Config, nodes: Iterable[Node]) -> dict[str, Peer]:
    """Return pipeline -> the peer that is asked for earlier images, for the pipelines that want them.

    Raises
    ------
    ConfigurationError
        When a peer cannot be used.
    """
    with_address = [name for name, table in config.peers.items() if table.address is not None]
    made: dict[str, Peer] = {}
    peers = {}
    for node in nodes:
        name = node.table.history or (with_address[0] if len(with_address) == 1 else None)
        if name is not None and _historic(node):
            made[name] = made.get(name) or Peer(name, config.peers[name], config.host.ae_title)
            peers[node.name] = made[name]
    return peers


def _historic(node: Node) -> list[str]:
    inputs: Mapping[str, type[AbstractInput]] = node.pipeline.inputs
    return [name for name, kind in inputs.items() if issubclass(kind, HistoricAbstractInput)]


def _first_status(peer: Peer | None, patient: str) -> HistoryStatus:
    if peer is None:
        reason = "no peer is named that could be asked: set history to one in the pipeline's table"
        return HistoryStatus(HistoryState.FAILED, "", reason, patient)
    if not patient:
        return HistoryStatus(
            HistoryState.NOTHING, peer.name, "the image has no Patient ID to ask for", patient
        )
    return HistoryStatus(HistoryState.FETCHING, peer.name, _FETCHING, patient)


def _held(target: _Target) -> int:
    return target.tree.ask_input(target.container, target.input, len) or 0


def _here(target: _Target) -> int:
    """Return how many of the images have come, whether the input holds them or its rules refused them."""

    def count(held: AbstractInput) -> int:
        refused = held.refused if isinstance(held, HistoricAbstractInput) else set()
        return len(held) + len(refused)

    return target.tree.ask_input(target.container, target.input, count) or 0


def _uid(asked: Dataset) -> str:
    return str(asked.get("SeriesInstanceUID", "") or asked.StudyInstanceUID)
