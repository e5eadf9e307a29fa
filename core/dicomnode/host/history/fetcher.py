"""Asks one peer for earlier images, for one input of one patient after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from pydicom.dataset import Dataset

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import DeliveryError
from dicomnode.host.dimse.peer import Peer
from dicomnode.host.foundation.backoff import BackOff
from dicomnode.host.foundation.error_text import delivery_reason
from dicomnode.host.foundation.retry_schedule import RetrySchedule
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.history.get_scu import RetrieveReception
from dicomnode.host.history.query_retrieve import PatientSearch, RetrieveResult, c_get, c_move
from dicomnode.host.ledger.history_ledger import HistoryRecord
from dicomnode.pipeline.historic import HistoricAbstractInput
from dicomnode.pipeline.history_state import HistoryState, HistoryStatus
from dicomnode.pipeline.inputs import AbstractInput

_LOG = logging.getLogger(__name__)
_LONGEST_RETRY: Final = 600.0
_SORTING: Final = 10.0
"""Seconds for a pipeline that sorts its images after they were answered."""
_PAUSE: Final = 2.0
REQUESTED: Final = "earlier images are asked for"


@dataclass(frozen=True, slots=True)
class FetchTarget:
    """One input of one patient."""

    tree: WaitingImages
    container_key: str
    input: str

    @property
    def input_class(self) -> type[HistoricAbstractInput]:
        """The input's class."""
        kind = self.tree.configured.pipeline.inputs[self.input]
        if not issubclass(kind, HistoricAbstractInput):
            msg = f"input {self.input!r} fetches nothing"
            raise TypeError(msg)
        return kind


class FetchRecorder(Protocol):
    """Records how far each fetching is."""

    reception: RetrieveReception

    def target(self, record: HistoryRecord) -> FetchTarget | None:
        """Return what a record is about, or ``None`` where no container waits for it any more."""

    def record_status(
        self,
        record: HistoryRecord,
        target: FetchTarget,
        status: HistoryStatus,
        *,
        attempts: int,
        not_before: float = 0.0,
    ) -> HistoryRecord:
        """Record how far a fetching is; return the changed record."""

    def drop(self, record: HistoryRecord) -> None:
        """Record that no container waits for it any more."""

    def finish(self, target: FetchTarget, status: HistoryStatus, log_reason: str = "") -> None:
        """Report that a fetching is over; `log_reason` is for the log, where that is another."""


class Fetcher:
    """Asks one peer, for one input after the other."""

    def __init__(self, recorder: FetchRecorder, peer: Peer) -> None:
        self._recorder, self._peer = recorder, peer
        self._lock = threading.Lock()
        self._records: dict[int, HistoryRecord] = {}
        self._schedule = RetrySchedule(_LONGEST_RETRY)
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
            except Exception as error:  # the ledger cannot be written, for instance: it is tried again
                _LOG.error("earlier images could not be fetched: %s", type(error).__name__)
                _LOG.debug("the failure", exc_info=True)
                self._stop.wait(_PAUSE)

    def _plan(self) -> None:
        """Take over the records into the schedule. The lock is held."""
        self._schedule.update((each.id, 0, each.attempts, each.not_before) for each in self._records.values())

    def _fetch(self, record: HistoryRecord) -> None:
        target = self._recorder.target(record)
        image = None if target is None else target.tree.first_image(target.container_key)
        if target is None or image is None:
            self._recorder.drop(record)
            self._forget(record)
            return
        log_reason = ""
        try:
            record, status = self._attempt(record, target, image)
        except DeliveryError as error:
            log_reason = delivery_reason(error)
            status = replace(record.status, state=HistoryState.FAILED, reason=str(error))
        if self._stop.is_set():
            return  # it was broken off, and does not count
        if status.state is HistoryState.FAILED:
            self._retry_or_fail(record, target, status, log_reason)
        else:
            self._recorder.record_status(record, target, status, attempts=record.attempts + 1)
            self._forget(record)
            self._recorder.finish(target, status)

    def _retry_or_fail(
        self, record: HistoryRecord, target: FetchTarget, status: HistoryStatus, log_reason: str
    ) -> None:
        """Count a failed attempt, and plan the next; after the last one it has failed."""
        input_class, attempts = target.input_class, record.attempts + 1
        last = attempts >= input_class.fetch_attempts
        delay = BackOff(input_class.fetch_retry, _LONGEST_RETRY).delay(attempts)
        if not last:
            reason = f"{status.reason} (attempt {attempts} of {input_class.fetch_attempts})"
            status = replace(status, state=HistoryState.FETCHING, reason=reason)
        record = self._recorder.record_status(
            record, target, status, attempts=attempts, not_before=time.time() + delay
        )
        if last and input_class.when_failed == "optional" and not _held_count(target):
            self._forget(record)
        else:
            with self._lock:
                self._records[record.id] = record
                self._plan()
        if attempts == input_class.fetch_attempts:
            self._recorder.finish(target, status, log_reason)

    def _forget(self, record: HistoryRecord) -> None:
        with self._lock:
            self._records.pop(record.id, None)
            self._plan()

    # -- one attempt --------------------------------------------------------------------------------------

    def _attempt(
        self, record: HistoryRecord, target: FetchTarget, image: LazyDataset
    ) -> tuple[HistoryRecord, HistoryStatus]:
        deadline = time.monotonic() + target.input_class.fetch_timeout
        chosen = self._choose(target, image, record.status.PatientID, deadline)
        asked_for = frozenset(_uid(each) for each in chosen)
        status = replace(record.status, state=HistoryState.FETCHING, reason=REQUESTED, asked_for=asked_for)
        if not chosen:
            return record, replace(status, state=HistoryState.NOTHING, reason=f"{self._peer.name} has none")
        # Before anything is sent: an image is recognised by what was asked for, after a restart as well. What
        # has failed stays so until it has been fetched.
        entered = replace(status, state=record.status.state)
        record = self._recorder.record_status(record, target, entered, attempts=record.attempts)
        title = target.tree.configured.ae_title
        results = [self._retrieve(each, title, deadline) for each in chosen]
        return record, self._status_of(target, status, results)

    def _choose(
        self, target: FetchTarget, image: LazyDataset, patient: str, deadline: float
    ) -> list[Dataset]:
        historic_input = target.input_class(target.input)
        with _errors_of(target, "query"):
            search = PatientSearch(self._peer, patient, dict(historic_input.query(image)))
            found = search.series(deadline) if historic_input.level == "series" else search.studies(deadline)
        with _errors_of(target, "choose"):
            chosen = list(historic_input.choose(found, image))
            return list({_uid(each): each for each in chosen}.values())

    def _retrieve(self, match: Dataset, title: str, deadline: float) -> RetrieveResult:
        """Have one thing sent, in the way that is configured."""
        if self._peer.table.retrieve == "get":
            return c_get(self._peer, match, title, deadline, self._recorder.reception)
        return c_move(self._peer, match, title, deadline)

    def _status_of(
        self, target: FetchTarget, status: HistoryStatus, results: Iterable[RetrieveResult]
    ) -> HistoryStatus:
        """Say whether all is here that was sent: in the input, or refused by its rules."""
        results = list(results)
        sent, failed = sum(each.completed for each in results), sum(each.failed for each in results)
        sorted_already = target.tree.configured.policy.sorts_before_answer
        deadline = time.monotonic() + (0.0 if sorted_already else _SORTING)
        while (here := _arrived_count(target)) < sent + failed and not failed and time.monotonic() < deadline:
            self._stop.wait(0.05)
        held, refused = here, 0
        if here >= sent + failed:
            held = _held_count(target)
            refused = here - held
            words = f"{held} images" + (f"; the input's rules refused {refused}" if refused else "")
            return replace(status, state=HistoryState.FETCHED, reason=words)
        words = (
            f"{here} of {sent + failed} images came; {self._peer.name} could not send the others, or they are"
            " inputs of a job that is not over"
        )
        return replace(status, state=HistoryState.FAILED, reason=words)


@contextmanager
def _errors_of(target: FetchTarget, method: str) -> Iterator[None]:
    """Make an attempt fail for whatever an author's method raises, or makes a query raise."""
    try:
        yield
    except DeliveryError:
        raise
    except Exception as error:
        msg = f"{target.input_class.__name__}.{method}: {type(error).__name__}"
        raise DeliveryError(msg) from error


def _held_count(target: FetchTarget) -> int:
    return target.tree.ask_input(target.container_key, target.input, len) or 0


def _arrived_count(target: FetchTarget) -> int:
    """Return how many of the images have come, whether the input holds them or its rules refused them."""

    def count(held: AbstractInput) -> int:
        refused = held.refused if isinstance(held, HistoricAbstractInput) else set()
        return len(held) + len(refused)

    return target.tree.ask_input(target.container_key, target.input, count) or 0


def _uid(match: Dataset) -> str:
    return str(match.get("SeriesInstanceUID", "") or match.StudyInstanceUID)
