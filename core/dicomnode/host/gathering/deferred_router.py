"""Sorting images into their inputs after they were answered, for pipelines that want it so."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from logging import DEBUG, ERROR, WARNING

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import ImageRefusedError
from dicomnode.host.foundation import log_context
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.unprocessed_images import UnprocessedImages
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import drop_instance, sort_instance, transition_instances
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.ledger.unprocessed_ledger import Outcome
from dicomnode.host.spool.spool import Spool


class DeferredRouter:
    """Sorts one pipeline's images on a thread of its own, in order of arrival.

    Parameters
    ----------
    tree : WaitingImages
        Where they go.
    spool : Spool
    ledger : Ledger
    gatherer : Gatherer
    events : Events
    unprocessed : UnprocessedImages
        Counts what is discarded.
    """

    def __init__(
        self,
        tree: WaitingImages,
        *,
        spool: Spool,
        ledger: Ledger,
        gatherer: Gatherer,
        events: Events,
        unprocessed: UnprocessedImages,
    ) -> None:
        self._tree, self._spool, self._ledger, self._events = tree, spool, ledger, events
        self._gatherer, self._unprocessed = gatherer, unprocessed
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"sorter-{tree.configured.name}", daemon=True)
        self._thread.start()

    def sort(self, image: LazyDataset, record: InstanceRecord, sender: str) -> None:
        """Have an image sorted, whose record is in the ledger as ``RECEIVED``.

        Parameters
        ----------
        image : LazyDataset
        record : InstanceRecord
        sender : str
            The AE title that sent it.
        """
        self._queue.put(lambda: self._sort_for(image, record, sender))

    def came_again(self, image: LazyDataset, association: str, sender: str) -> None:
        """Count an image that came again, behind those that came before."""
        self._queue.put(lambda: self._came_again(image, association, sender))

    def association_ended(self, association: str, *, released: bool) -> None:
        """Take note that an association is over, once its images are sorted."""
        self._queue.put(lambda: self._ended(association, released=released))

    def flush(self) -> None:
        """Return once all that came before is sorted."""
        sorted_ = threading.Event()
        self._queue.put(sorted_.set)
        sorted_.wait()

    def close(self) -> None:
        """Sort what is there, and end."""
        self._queue.put(None)
        self._thread.join()

    def _ended(self, association: str, *, released: bool) -> None:
        self._unprocessed.association_ended(association, self._tree.configured.name)
        self._gatherer.association_ended(association, released=released)

    def _run(self) -> None:
        while (action := self._queue.get()) is not None:
            try:
                action()
            except Exception as error:
                self._tell_failed(error)

    def _sort_for(self, image: LazyDataset, record: InstanceRecord, sender: str) -> None:
        """Sort an image in the name of the association that brought it: so says the log."""
        token = log_context.association.set(record.association)
        try:
            self._sort(image, record, sender)
        except Exception as error:
            self._tell_failed(error)
        finally:
            log_context.association.reset(token)

    def _sort(self, image: LazyDataset, record: InstanceRecord, sender: str) -> None:
        try:
            placement = self._tree.place(image)
            self._tree.insert(
                image,
                placement,
                lambda: self._ledger.post(
                    sort_instance(record.path, placement.container_key, placement.inputs)
                ),
            )
        except ImageRefusedError as refused:
            if self._tree.drops(refused):
                self._drop(image, record, str(refused))
            else:
                self._quarantine(image, record, str(refused))
            return
        self._gatherer.image_stored(
            self._tree,
            placement.container_key,
            image,
            record.association,
            asked_for=placement.asked_for,
            sender=sender,
        )

    def _came_again(self, image: LazyDataset, association: str, sender: str) -> None:
        uid = str(image.SOPInstanceUID)
        container_key = self._tree.container_of(uid)
        if container_key is None:
            try:
                container_key = self._tree.container_key(image)
            except ImageRefusedError:
                return
        asked_for = self._tree.asked_for(image)
        self._gatherer.image_stored(
            self._tree, container_key, image, association, asked_for=asked_for, sender=sender
        )

    def _drop(self, image: LazyDataset, record: InstanceRecord, reason: str) -> None:
        """Drop an image that was answered with Success and that no input wants."""
        self._tree.known.forget(((record.SOPInstanceUID, image.file),))
        self._ledger.write(drop_instance(record.path))  # before the file goes: it would count as lost
        self._spool.remove(image.path)
        self._unprocessed.note(
            self._tree.configured.name, record.association, image, Outcome.DISCARDED, reason
        )
        self._tell("an unwanted image was discarded", reason, level=DEBUG)

    def _quarantine(self, image: LazyDataset, record: InstanceRecord, reason: str) -> None:
        """Quarantine an image that was answered with Success and that no input wants."""
        self._tree.known.forget(((record.SOPInstanceUID, image.file),))
        quarantined = self._spool.quarantine(image.path, reason)
        self._ledger.post(
            transition_instances(
                (record.path,), InstanceState.QUARANTINED, reason, moved_to=self._spool.name_of(quarantined)
            )
        )
        self._tell("no input wants an image; it is quarantined", reason, level=WARNING)

    def _tell_failed(self, error: Exception) -> None:
        self._tell(f"an image could not be sorted: {type(error).__name__}", str(error), level=ERROR)

    def _tell(self, message: str, detail: str, *, level: int) -> None:
        self._events.tell(
            Event(Station.REFUSED, message, pipeline=self._tree.configured.name, detail=detail, level=level)
        )
