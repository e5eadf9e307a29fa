"""What becomes of one instance that was received: where it belongs, refused, here already."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from logging import DEBUG, WARNING
from pathlib import Path

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.errors import ImageRefusedError
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.dimse.store_handler import AssociationInfo, Prevalidation, StoreRequest
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.gathering.deferred_router import DeferredRouter
from dicomnode.host.gathering.duplicates import Held, compare, quarantine, quarantine_instance
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.unprocessed_images import UnprocessedImages
from dicomnode.host.gathering.waiting_images import CheckFailedError, Placement, WaitingImages
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
from dicomnode.host.ledger.ledger_writes import add_instance, come_again, replace_file
from dicomnode.host.ledger.states import InstanceState
from dicomnode.host.ledger.unprocessed_ledger import Outcome
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.spool.spool import Spool
from dicomnode.pipeline.pipeline_tree import NoContainerKeyError

_UNWANTED = "no input wants an image"
_STORED = StoreResponse(Status.SUCCESS)
IS_ANOTHER = StoreResponse.plain(Status.CONFLICT, "SOP instance is here with other content")

Begun = Callable[[AssociationInfo], None]
"""Enters an association in the ledger, with the first image that it brought."""


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """An instance that has come: whole, readable, durable under a temporary name.

    Attributes
    ----------
    tree : WaitingImages
        Of the pipeline that was called.
    request : StoreRequest
    index : mapping of int to IndexedValue
        The tags that the receiver read.
    spooled : SpooledFile
    handle : LazyDataset
        The image under the name that its file had at first.
    prevalidation : Prevalidation, optional
        What a receiver process has found out of it.
    """

    tree: WaitingImages
    request: StoreRequest
    index: Mapping[int, IndexedValue]
    spooled: SpooledFile
    handle: LazyDataset
    prevalidation: Prevalidation | None = None

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return self.request.AffectedSOPInstanceUID

    @property
    def image(self) -> LazyDataset:
        """The image, under the name that its file has now."""
        return self.handle.at(self.spooled.file)

    def keep(self) -> None:
        """Give its file the final name, durably; its path is ``spooled.path`` then."""
        self.spooled.keep(self.tree.configured.name, self.uid)


def answer_to(refused: ImageRefusedError, tree: WaitingImages) -> StoreResponse:
    """Return how a sender is told that an image was refused."""
    if isinstance(refused, CheckFailedError):
        return StoreResponse.plain(Status.PROCESSING_FAILURE, str(refused))
    if isinstance(refused, NoContainerKeyError):
        return StoreResponse.plain(Status.IDENTIFIER_MISSING, str(refused))
    if tree.drops(refused):
        return _STORED
    return StoreResponse(Status.NOT_AUTHORISED, str(refused), _UNWANTED)


class InstanceIntake:
    """Decides what becomes of instances, several at once on the threads of their associations.

    Parameters
    ----------
    spool : Spool
    ledger : Ledger
    gatherer : Gatherer
    events : Events
    sorters : mapping of str to DeferredRouter
        Of those pipelines, by name, that sort images after they were answered.
    begun : callable
        Is told of the association of each image.
    unprocessed : UnprocessedImages
        Counts what is refused or discarded.
    """

    def __init__(
        self,
        *,
        spool: Spool,
        ledger: Ledger,
        gatherer: Gatherer,
        events: Events,
        sorters: Mapping[str, DeferredRouter],
        begun: Begun,
        unprocessed: UnprocessedImages,
    ) -> None:
        self._spool, self._ledger, self._gatherer, self._events = spool, ledger, gatherer, events
        self._sorters, self._begun, self._unprocessed = sorters, begun, unprocessed

    def take(self, arrival: ReceivedInstance) -> StoreResponse:
        """Put an instance where it belongs, or refuse it with the reason."""
        with arrival.tree.known.storing(arrival.uid) as held:
            if held is not None:
                return self._again(arrival, held)
            return self._new(arrival)

    # -- it is new ----------------------------------------------------------------------------------------

    def _new(self, arrival: ReceivedInstance) -> StoreResponse:
        sorter = self._sorters.get(arrival.tree.configured.name)
        return self._sorted(arrival) if sorter is None else self._unsorted(arrival, sorter)

    def _sorted(self, arrival: ReceivedInstance) -> StoreResponse:
        tree = arrival.tree
        try:
            placement = tree.place(arrival.handle, arrival.prevalidation)
        except ImageRefusedError as refused:
            return self._refused(arrival, refused)
        arrival.keep()
        self._enter(arrival, placement)
        self._tell_stored(tree)
        return _STORED

    def _enter(self, arrival: ReceivedInstance, placement: Placement) -> None:
        """Put a kept image into its container and the ledger."""
        tree, association, image = arrival.tree, arrival.request.association, arrival.image
        record = self._record(arrival, container_key=placement.container_key, inputs=placement.inputs)
        self._begun(association)
        with self._removed_if_not_taken(arrival):
            tree.insert(image, placement, lambda: self._ledger.post(add_instance(record)))
        failpoint("indexed")
        self._gatherer.image_stored(
            tree,
            placement.container_key,
            image,
            association.id,
            asked_for=placement.asked_for,
            sender=association.calling_ae_title,
        )

    def _unsorted(self, arrival: ReceivedInstance, sorter: DeferredRouter) -> StoreResponse:
        arrival.keep()
        record = self._record(arrival, state=InstanceState.RECEIVED)
        self._begun(arrival.request.association)
        arrival.tree.known.add(arrival.uid, arrival.spooled.file, waiting=False)
        self._ledger.post(add_instance(record))
        failpoint("indexed")
        sorter.sort(arrival.image, record, arrival.request.association.calling_ae_title)
        self._tell_stored(arrival.tree)
        return _STORED

    # -- it is here already -------------------------------------------------------------------------------

    def _again(self, arrival: ReceivedInstance, held: Path) -> StoreResponse:
        """Answer an instance that is here already: kept once if it is the same, never overwritten."""
        tree = arrival.tree
        found = compare(held, arrival.spooled, self._ledger.checksum(self._spool.name_of(held)))
        if found is Held.SAME and self._came_again(arrival, held):
            self._tell(Station.RECEIVED, "an image came again", tree, level=DEBUG)
            return _STORED
        if not tree.known.is_file_of(arrival.uid, held):  # its job was ended in this very moment
            return self._new(arrival)
        replaces = tree.configured.table.on_conflict == "replace" and tree.holds(arrival.uid)
        if found is Held.OTHER and not replaces:
            self._note(arrival, Outcome.REFUSED, IS_ANOTHER.reason)
            self._tell(Station.REFUSED, "an image has the UID of another that is here", tree, level=WARNING)
            return IS_ANOTHER
        try:
            placement = tree.place(arrival.image, arrival.prevalidation)
        except ImageRefusedError as refused:
            return self._refused(arrival, refused)
        arrival.keep()
        done = self._replace(arrival, placement, held, found)
        if done:
            return _STORED
        self._spool.remove(arrival.spooled.path)  # it became the input of a job in this very moment
        self._note(arrival, Outcome.REFUSED, IS_ANOTHER.reason)
        return IS_ANOTHER

    def _came_again(self, arrival: ReceivedInstance, held: Path) -> bool:
        """Count an image that is sent again, as after an abort; say whether it is still here."""
        tree, association, image = arrival.tree, arrival.request.association, arrival.image
        container_key = tree.container_of(arrival.uid)
        if container_key is None:  # it is the input of a job, or not sorted yet
            try:
                container_key = tree.container_key(image)
            except ImageRefusedError:
                container_key = ""
        if not tree.touch_duplicate(arrival.uid, held, container_key):
            return False
        self._begun(association)
        self._ledger.post(come_again(self._spool.name_of(held), association.id))
        asked_for = tree.asked_for(image)
        sorter = self._sorters.get(tree.configured.name)
        if sorter is None:
            self._gatherer.image_stored(
                tree,
                container_key,
                image,
                association.id,
                asked_for=asked_for,
                sender=association.calling_ae_title,
            )
        else:  # behind the same image, which may not be sorted yet
            sorter.came_again(image, association.id, association.calling_ae_title)
        return True

    def _replace(self, arrival: ReceivedInstance, placement: Placement, held: Path, found: Held) -> bool:
        """Put a kept image in the place of a file that is another, damaged or gone; say if it could be."""
        tree, association = arrival.tree, arrival.request.association
        old, new = self._spool.name_of(held), self._spool.name_of(arrival.spooled.path)
        record = self._record(arrival, container_key=placement.container_key, inputs=placement.inputs)
        if found is Held.OTHER:
            reason = "replaced by a newer one of the same SOP Instance UID"
            write = add_instance(record)
        else:  # it is the same instance: its row stays, with what it is an input of
            reason = f"its file was {found.value}; it came again"
            write = replace_file(old, new, association.id, reason)
        self._begun(association)
        was_in = tree.container_of(arrival.uid)
        enter = partial(self._ledger.post, write)
        with self._removed_if_not_taken(arrival):
            done = tree.replace(held, arrival.image, placement, enter, of_job=found is not Held.OTHER)
        if not done:
            return False
        if found is Held.OTHER:
            quarantine(self._spool, self._ledger, held, reason)
        elif found is Held.DAMAGED:
            with suppress(OSError):  # then it is quarantined at the next start
                self._spool.quarantine(held, reason)
        message = (
            "an image was replaced by another of its UID" if found is Held.OTHER else f"an image: {reason}"
        )
        self._tell(Station.RECEIVED, message, tree, level=WARNING)
        if was_in is not None and was_in != placement.container_key:
            self._gatherer.images_removed(tree, was_in, {arrival.uid})
        self._gatherer.image_stored(
            tree,
            placement.container_key,
            arrival.image,
            association.id,
            asked_for=placement.asked_for,
            sender=association.calling_ae_title,
        )
        return True

    @contextmanager
    def _removed_if_not_taken(self, arrival: ReceivedInstance) -> Iterator[None]:
        """Remove a kept file where the tree did not take its image: the sender is told that it failed."""
        try:
            yield
        except BaseException:
            self._spool.remove(arrival.spooled.path)
            raise

    # -- it is refused ------------------------------------------------------------------------------------

    def _refused(self, arrival: ReceivedInstance, refused: ImageRefusedError) -> StoreResponse:
        tree = arrival.tree
        if isinstance(refused, CheckFailedError | NoContainerKeyError):
            self._note(arrival, Outcome.REFUSED, str(refused))
        if isinstance(refused, CheckFailedError):
            arrival.keep()
            try:
                quarantine_instance(
                    self._spool, self._ledger, self._record(arrival), arrival.spooled.path, str(refused)
                )
            except OSError:
                self._spool.remove(arrival.spooled.path)
                raise
            self._tell(Station.REFUSED, f"{refused}; the image is quarantined", tree, level=WARNING)
            return answer_to(refused, tree)
        if isinstance(refused, NoContainerKeyError):
            self._tell(Station.REFUSED, f"an image was refused: {refused}", tree, level=WARNING)
            return answer_to(refused, tree)
        return self._unwanted(arrival, refused)

    def _unwanted(self, arrival: ReceivedInstance, refused: ImageRefusedError) -> StoreResponse:
        tree = arrival.tree
        # What the host itself has asked for is not refused: some PACS send nothing more after a refusal.
        if tree.configured.table.on_unwanted == "discard" or tree.asked_for(arrival.image):
            self._note(arrival, Outcome.DISCARDED, str(refused))
            self._tell(Station.REFUSED, "an unwanted image was discarded", tree, str(refused), level=DEBUG)
            return _STORED
        self._note(arrival, Outcome.REFUSED, str(refused))
        self._tell(Station.REFUSED, _UNWANTED, tree, str(refused), level=DEBUG)
        return answer_to(refused, tree)

    def _note(self, arrival: ReceivedInstance, outcome: Outcome, reason: str) -> None:
        """Count an image that no job gets."""
        association = arrival.request.association.id
        self._unprocessed.note(arrival.tree.configured.name, association, arrival.image, outcome, reason)

    # -- help ---------------------------------------------------------------------------------------------

    def _record(
        self,
        arrival: ReceivedInstance,
        *,
        container_key: str = "",
        inputs: tuple[str, ...] = (),
        state: InstanceState = InstanceState.WAITING,
    ) -> InstanceRecord:
        return InstanceRecord(
            path=self._spool.name_of(arrival.spooled.file),
            pipeline=arrival.tree.configured.name,
            container_key=container_key,
            inputs=inputs,
            SOPInstanceUID=arrival.uid,
            index=arrival.index,
            received=time.time(),
            association=arrival.request.association.id,
            state=state,
        )

    def _tell_stored(self, tree: WaitingImages) -> None:
        if self._events.wanted(DEBUG):
            self._tell(Station.RECEIVED, "an image is in the spool", tree, level=DEBUG)

    def _tell(
        self, station: Station, message: str, tree: WaitingImages, detail: str = "", *, level: int
    ) -> None:
        self._events.tell(Event(station, message, pipeline=tree.configured.name, detail=detail, level=level))
