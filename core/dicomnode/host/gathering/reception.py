"""The station where received instances are decided: which pipeline, whose, wanted or not, here already.

It implements the receiver's :class:`~dicomnode.host.dimse.store_handler.StoreHandler`. An answer of
Success means that the bytes are durable in the spool and the image is in its tree; the ledger's row is
posted, since the spool says all that the row says.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from logging import DEBUG, WARNING
from operator import itemgetter

from pydicom.tag import Tag

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.planes import PLANE_KEYWORDS
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, Prevalidation, StoreRequest
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.free_space import FreeSpace
from dicomnode.host.gathering.deferred_router import DeferredRouter
from dicomnode.host.gathering.gatherer import Gatherer
from dicomnode.host.gathering.instance_intake import InstanceIntake, ReceivedInstance
from dicomnode.host.gathering.unprocessed_images import UnprocessedImages
from dicomnode.host.gathering.waiting_images import WaitingImages
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import AssociationRecord, InstanceRecord
from dicomnode.host.ledger.ledger_writes import begin_association, end_association
from dicomnode.host.parsing.statuses import Status, StoreResponse
from dicomnode.host.spool.spool import Spool

INDEXED = frozenset(
    map(
        Tag,
        (
            "Modality",
            "ImageType",
            "SeriesDescription",
            "SeriesNumber",
            "AccessionNumber",
            "FrameOfReferenceUID",
            *PLANE_KEYWORDS,
        ),
    )
)
"""What is read of every instance besides what pipelines ask for: what explains it, and where it lies."""

_MOMENT = 0.02
"""Seconds for which a disk is taken to be as full as it was."""


def wanted_tags(trees: Iterable[WaitingImages]) -> frozenset[int]:
    """Return the tags that are read of every instance, for some pipelines."""
    asked: frozenset[int] = frozenset().union(*(tree.indexed_tags for tree in trees))
    return asked | frozenset(map(int, INDEXED))


class Reception:
    """Decides about associations and instances.

    Parameters
    ----------
    trees : iterable of WaitingImages
        One for each configured pipeline.
    host_title : str
        The host's own AE title, which is good for C-ECHO only.
    spool : Spool
        Where the bytes are.
    ledger : Ledger
        Where instances are entered.
    gatherer : Gatherer
        Who looks whether a container is complete.
    events : Events
        Publishes what happens.
    reserve : int
        Bytes of the disk that stay free.
    """

    def __init__(
        self,
        trees: Iterable[WaitingImages],
        *,
        host_title: str,
        spool: Spool,
        ledger: Ledger,
        gatherer: Gatherer,
        events: Events,
        reserve: int = 0,
    ) -> None:
        self._trees = {tree.configured.ae_title: tree for tree in trees}
        self._titles = {host_title, *self._trees}
        self._spool, self._ledger, self._gatherer, self._events = spool, ledger, gatherer, events
        self._reserve, self._free = reserve, FreeSpace(str(spool.root), _MOMENT)
        self._unprocessed = UnprocessedImages(ledger, events)
        self._sorters = {
            tree.configured.name: DeferredRouter(
                tree,
                spool=spool,
                ledger=ledger,
                gatherer=gatherer,
                events=events,
                unprocessed=self._unprocessed,
            )
            for tree in self._trees.values()
            if not tree.configured.policy.sorts_before_answer
        }
        self._begun: set[str] = set()
        self._released: set[str] = set()
        self._lock = threading.Lock()
        self._arrivals = InstanceIntake(
            spool=spool,
            ledger=ledger,
            gatherer=gatherer,
            events=events,
            sorters=self._sorters,
            begun=self._begin,
            unprocessed=self._unprocessed,
        )
        self._wanted = wanted_tags(self._trees.values())

    def close(self) -> None:
        """Finish sorting what is durable already. No association is open any more."""
        for sorter in self._sorters.values():
            sorter.close()

    def flush(self) -> None:
        """Return once all images that were answered before are sorted."""
        for sorter in self._sorters.values():
            sorter.flush()

    def resume(self, unsorted: Iterable[tuple[InstanceRecord, AssociationRecord]]) -> None:
        """Have images sorted that were answered before the host was stopped, and end their associations.

        All in the order in which it came: whether a release makes up for an abort depends on it.

        Parameters
        ----------
        unsorted : iterable of (InstanceRecord, AssociationRecord)
            Each with the association that brought it.
        """
        due: list[tuple[float, Callable[[], None]]] = []
        ends: dict[tuple[str, str], AssociationRecord] = {}
        for record, association in unsorted:
            sorter = self._sorters.get(record.pipeline)
            if sorter is not None:
                image = LazyDataset(self._spool.path_of(record.path), record.index)
                came = max(record.received, association.started)
                due.append((came, partial(sorter.sort, image, record, association.calling)))
                ends[record.pipeline, record.association] = association
        for (pipeline, name), association in ends.items():
            released = association.outcome == AssociationEnd.RELEASED
            end = partial(self._sorters[pipeline].association_ended, name, released=released)
            due.append((association.ended, end))
        for _, action in sorted(due, key=itemgetter(0)):
            action()

    # -- what the receiver asks ---------------------------------------------------------------------------

    @property
    def wanted(self) -> frozenset[int]:
        """The tags that are read of every instance."""
        return self._wanted

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:  # noqa: ARG002 - StoreHandler's
        """Say whether a pipeline, or the host itself, has this AE title."""
        return called in self._titles

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        """Refuse what could not be kept anyway, before it is read."""
        if request.association.called_ae_title not in self._trees:
            titles = ", ".join(self._trees)
            return StoreResponse.plain(Status.NOT_AUTHORISED, f"send images to a pipeline: {titles}")
        if self._ledger.stuck:
            return StoreResponse.plain(Status.OUT_OF_RESOURCES, "the ledger cannot be written")
        if self._reserve and self._free() < self._reserve:
            self._tell(Station.REFUSED, "an image was refused: the disk's reserve is reached", level=WARNING)
            return StoreResponse.plain(Status.OUT_OF_RESOURCES, "disk reserve reached")
        return None

    def received(
        self,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        prevalidation: Prevalidation | None = None,
    ) -> StoreResponse:
        """Put a whole, durable instance where it belongs, or refuse it with the reason."""
        tree = self._trees[request.association.called_ae_title]
        handle = LazyDataset(spooled.file, index)
        return self._arrivals.take(ReceivedInstance(tree, request, index, spooled, handle, prevalidation))

    def release_requested(self, association: AssociationInfo) -> None:
        """Have the ledger hold that an association was released, and so all rows of its images.

        The ledger writes in the order in which it is asked to. While it cannot be written, the release is
        entered later: after a kill before that, what the association brought waits for it to come again.
        """
        with self._lock:
            if association.id not in self._begun:
                return
            self._released.add(association.id)
        write = end_association(association.id, AssociationEnd.RELEASED)
        try:
            self._ledger.write(write)
        except sqlite3.Error as error:
            self._ledger.post(write)
            called = self._trees.get(association.called_ae_title)
            message = "that an association was released could not be entered yet: should the host be killed"
            message += " before it is, the images wait until they come again"
            self._tell(Station.ASSOCIATION, message, called, str(error), level=WARNING)

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        """Have the containers that it brought images for looked at."""
        called = self._trees.get(association.called_ae_title)
        sorter = None if called is None else self._sorters.get(called.configured.name)
        if called is not None and sorter is None:
            self._unprocessed.association_ended(association.id, called.configured.name)
        with self._lock:
            if association.id not in self._begun:
                return
            self._begun.discard(association.id)
            entered = association.id in self._released
            self._released.discard(association.id)
        released = end is AssociationEnd.RELEASED
        if not (released and entered):
            self._ledger.post(end_association(association.id, end))
        if released:
            self._tell(Station.ASSOCIATION, "released", called, level=DEBUG)
        else:
            message = f"{end}: by itself it completes nothing"
            self._tell(Station.ASSOCIATION, message, called, level=WARNING)
        if sorter is None:
            self._gatherer.association_ended(association.id, released=released)
        else:  # behind the images that it has not sorted yet
            sorter.association_ended(association.id, released=released)

    # -- help ---------------------------------------------------------------------------------------------

    def _begin(self, association: AssociationInfo) -> None:
        """Enter an association in the ledger with its first image."""
        with self._lock:
            if association.id in self._begun:
                return
            self._begun.add(association.id)
        self._ledger.post(
            begin_association(
                association.id,
                association.calling_ae_title,
                association.called_ae_title,
                association.peer_address,
                association.negotiated.timestamp(),
            )
        )

    def _tell(
        self,
        station: Station,
        message: str,
        tree: WaitingImages | None = None,
        detail: str = "",
        *,
        level: int,
    ) -> None:
        name = tree.configured.name if tree is not None else ""
        self._events.tell(Event(station, message, pipeline=name, detail=detail, level=level))
