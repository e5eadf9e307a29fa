"""Sorting images into their inputs after they were answered, for pipelines that want it so."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from logging import DEBUG, ERROR, WARNING

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import ImageRefusedError
from dicomnode.host.foundation import log_context
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.gathering.pipeline_tree import PipelineTree
from dicomnode.host.gathering.triggers import Triggers
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import drop_instance, sort_instance, transition_instances
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.spool.spool import Spool


class DeferredRouter:
    """Sorts one pipeline's images on a thread of its own, in order of arrival.

    Parameters
    ----------
    tree : PipelineTree
        Where they go.
    spool : Spool
    ledger : Ledger
    events : Events

    Attributes
    ----------
    discarded : int
        How many images it has dropped, because the pipeline discards what it does not want.
    """

    def __init__(self, tree: PipelineTree, spool: Spool, ledger: Ledger, events: Events) -> None:
        self._tree, self._spool, self._ledger, self._events = tree, spool, ledger, events
        self.discarded = 0
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._touched: defaultdict[str, set[str]] = defaultdict(set)
        self._thread = threading.Thread(target=self._run, name=f"sorter-{tree.configured.name}", daemon=True)
        self._thread.start()

    def sort(self, image: LazyDataset, record: InstanceRecord, triggers: Triggers) -> None:
        """Have an image sorted, whose record is in the ledger as ``RECEIVED``."""
        self._queue.put(lambda: self._sort_for(image, record, triggers))

    def association_ended(self, id_: str, triggers: Triggers, *, released: bool) -> None:
        """Have the patients of an association looked at, once its images are sorted."""
        self._queue.put(lambda: self._ended(id_, triggers, released=released))

    def after_restart(self, id_: str, triggers: Triggers, quiet: float, *, cut_off: bool) -> None:
        """Have the patients of an association of before the restart watched, once its images are sorted."""
        self._queue.put(lambda: self._resumed(id_, triggers, quiet, cut_off=cut_off))

    def flush(self) -> None:
        """Return once all that came before is sorted."""
        sorted_ = threading.Event()
        self._queue.put(sorted_.set)
        sorted_.wait()

    def close(self) -> None:
        """Sort what is there, and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (action := self._queue.get()) is not None:
            try:
                action()
            except Exception as error:
                self._tell_failed(error)

    def _sort_for(self, image: LazyDataset, record: InstanceRecord, triggers: Triggers) -> None:
        """Sort an image in the name of the association that brought it: so says the log."""
        token = log_context.association.set(record.association)
        try:
            self._sort(image, record, triggers)
        except Exception as error:
            self._tell_failed(error)
        finally:
            log_context.association.reset(token)

    def _sort(self, image: LazyDataset, record: InstanceRecord, triggers: Triggers) -> None:
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
                self._put_aside(image, record, str(refused))
            return
        if not placement.asked_for:
            self._touched[record.association].add(placement.container_key)
        triggers.image_came(self._tree, placement.container_key, asked_for=placement.asked_for)

    def _drop(self, image: LazyDataset, record: InstanceRecord, reason: str) -> None:
        """Drop an image that was answered with Success and that no input wants."""
        self._tree.forget(((record.SOPInstanceUID, image.path),))
        self._ledger.write(drop_instance(record.path))  # before the file goes: it would count as lost
        self._spool.remove(image.path)
        self.discarded += 1
        self._tell("an unwanted image was discarded", reason, level=DEBUG)

    def _put_aside(self, image: LazyDataset, record: InstanceRecord, reason: str) -> None:
        """Quarantine an image that was answered with Success and that no input wants."""
        self._tree.forget(((record.SOPInstanceUID, image.path),))
        quarantined = self._spool.quarantine(image.path, reason)
        self._ledger.post(
            transition_instances(
                (record.path,), InstanceState.QUARANTINED, reason, moved_to=self._spool.name_of(quarantined)
            )
        )
        self._tell("no input wants an image; it is quarantined", reason, level=WARNING)

    def _ended(self, id_: str, triggers: Triggers, *, released: bool) -> None:
        for container_key in self._touched.pop(id_, ()):
            triggers.association_ended(self._tree, container_key, released=released)

    def _resumed(self, id_: str, triggers: Triggers, quiet: float, *, cut_off: bool) -> None:
        for container_key in self._touched.pop(id_, ()):
            triggers.after_restart(self._tree, container_key, quiet, cut_off=cut_off)

    def _tell_failed(self, error: Exception) -> None:
        self._tell(f"an image could not be sorted: {type(error).__name__}", str(error), level=ERROR)

    def _tell(self, message: str, detail: str, *, level: int) -> None:
        self._events.tell(
            Event(Station.REFUSED, message, pipeline=self._tree.configured.name, detail=detail, level=level)
        )
