"""The station where received instances are decided: which pipeline, whose, wanted or not, here already.

It implements the receiver's :class:`~dicomnode.host.reception_types.StoreSink`. An answer of Success means
that the bytes are durable in the spool and the image is in its tree; the ledger's row is posted, since the
spool says all that the row says.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from logging import DEBUG, WARNING
from pathlib import Path

from pydicom.tag import Tag

from ..dicom.lazy import LazyDataset
from ..errors import ImageRefusedError
from .duplicates import Twin, quarantine_instance, same_dataset
from .events import Event, Events, Station
from .kill_points import passing
from .ledger import Ledger
from .ledger_records import InstanceRecord
from .ledger_writes import add_instance, begin_association, end_association
from .pipeline_tree import CheckFailedError, NoIdentifierError, PipelineTree
from .reception_types import (
    CANNOT_UNDERSTAND,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
    AssociationInfo,
    IndexedValue,
    SpooledFile,
    StoreRequest,
    StoreResponse,
)
from .sorter import Sorter
from .spool import Spool
from .states import InstanceState
from .triggers import Triggers

NO_IDENTIFIER = CANNOT_UNDERSTAND | 0x10
CONFLICT = CANNOT_UNDERSTAND | 0x20

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
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "Rows",
            "Columns",
            "InstanceNumber",
            "NumberOfFrames",
        ),
    )
)
"""What is read of every instance besides what pipelines ask for: what explains it, and where it lies."""

_STORED = StoreResponse(SUCCESS)


class Reception:
    """Decides about associations and instances.

    Parameters
    ----------
    trees : iterable of PipelineTree
        One for each configured pipeline.
    host_title : str
        The host's own AE title, which is good for C-ECHO only.
    spool : Spool
        Where the bytes are.
    ledger : Ledger
        Where instances are entered.
    triggers : Triggers
        Who looks whether a patient is complete.
    events : Events
        Who is told.
    reserve : int
        Bytes of the disk that stay free.
    """

    def __init__(
        self,
        trees: Iterable[PipelineTree],
        *,
        host_title: str,
        spool: Spool,
        ledger: Ledger,
        triggers: Triggers,
        events: Events,
        reserve: int = 0,
    ) -> None:
        self._trees = {tree.node.ae_title: tree for tree in trees}
        self._titles = {host_title, *self._trees}
        self._spool, self._ledger, self._triggers, self._events = spool, ledger, triggers, events
        self._reserve = reserve
        self._sorters = {
            tree.node.name: Sorter(tree, spool, ledger, events)
            for tree in self._trees.values()
            if not tree.node.pipeline.sorts_before_answer
        }
        self._touched: defaultdict[str, set[tuple[PipelineTree, str]]] = defaultdict(set)
        self._lock = threading.Lock()
        self.discarded: Counter[str] = Counter()
        self._wanted = frozenset(
            int(tag) for tree in self._trees.values() for tag in tree.node.kind.indexed_tags()
        ) | frozenset(map(int, INDEXED))

    def close(self) -> None:
        """Finish sorting what is durable already. No association is open any more."""
        for sorter in self._sorters.values():
            sorter.close()

    def resume(self, unsorted: Iterable[tuple[InstanceRecord, bool]]) -> None:
        """Have images sorted that were answered before the host was stopped.

        Parameters
        ----------
        unsorted : iterable of (InstanceRecord, bool)
            Each with whether its association may complete something.
        """
        for record, completes in unsorted:
            sorter = self._sorters.get(record.pipeline)
            if sorter is not None:
                image = LazyDataset(self._spool.path_of(record.path), record.index)
                sorter.sort(image, record, self._triggers)
                sorter.association_ended(record.association, self._triggers, released=completes)

    # -- what the receiver asks ---------------------------------------------------------------------------

    @property
    def wanted(self) -> frozenset[int]:
        """The tags that are read of every instance."""
        return self._wanted

    def accepts_called_ae(self, called: str, calling: str, address: str) -> bool:  # noqa: ARG002 - the sink's
        """Say whether a pipeline, or the host itself, has this AE title."""
        return called in self._titles

    def admit(self, request: StoreRequest) -> StoreResponse | None:
        """Refuse what could not be kept anyway, before it is read."""
        if request.association.called_ae_title not in self._trees:
            titles = ", ".join(self._trees)
            return StoreResponse(NOT_AUTHORISED, f"send images to a pipeline: {titles}")
        if self._reserve and self._free() < self._reserve:
            self._tell(Station.REFUSED, "an image was refused: the disk's reserve is reached", level=WARNING)
            return StoreResponse(OUT_OF_RESOURCES, "disk reserve reached")
        return None

    def received(
        self, request: StoreRequest, index: Mapping[int, IndexedValue], spooled: SpooledFile
    ) -> StoreResponse:
        """Put a whole, durable instance where it belongs, or refuse it with the reason."""
        tree = self._trees[request.association.called_ae_title]
        with tree.storing(request.AffectedSOPInstanceUID) as held:
            if held is not None:
                return self._again(tree, request, index, spooled, held)
            sorter = self._sorters.get(tree.node.name)
            if sorter is None:
                return self._sorted(tree, request, index, spooled)
            return self._unsorted(tree, sorter, request, index, spooled)

    def association_ended(self, association: AssociationInfo, *, released: bool) -> None:
        """Have the patients that it brought images for looked at, if it ended in a release."""
        with self._lock:
            touched = self._touched.pop(association.id, None)
        if touched is None:
            return
        self._ledger.post(end_association(association.id, "released" if released else "aborted"))
        count = f"{len(touched)} patient" + "s" * (len(touched) != 1)
        how = "released" if released else "aborted: it completes nothing"
        self._tell(Station.ASSOCIATION, f"{how} ({count})", level=DEBUG if released else WARNING)
        for tree, key in touched:
            sorter = self._sorters.get(tree.node.name)
            if sorter is None:
                self._triggers.association_ended(tree, key, released=released)
            else:  # behind the images that it has not sorted yet
                sorter.association_ended(association.id, self._triggers, released=released)

    # -- an instance --------------------------------------------------------------------------------------

    def _sorted(
        self,
        tree: PipelineTree,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
    ) -> StoreResponse:
        try:
            placement = tree.place(LazyDataset(spooled.path, index))
        except ImageRefusedError as refused:
            return self._refused(tree, request, index, spooled, refused)
        path = self._kept(tree, request, spooled)
        record = self._record(
            tree, request, index, path, container=placement.container, inputs=placement.inputs
        )
        self._touch(tree, placement.container, request.association)
        try:
            tree.insert(LazyDataset(path, index), placement, lambda: self._ledger.post(add_instance(record)))
        except ImageRefusedError as refused:  # by an image that came at the same time
            self._spool.remove(path)
            return self._unwanted(tree, refused)
        passing("indexed")
        self._triggers.image_came(tree, placement.container)
        self._tell_stored(tree)
        return _STORED

    def _unsorted(
        self,
        tree: PipelineTree,
        sorter: Sorter,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
    ) -> StoreResponse:
        path = self._kept(tree, request, spooled)
        record = self._record(tree, request, index, path, state=InstanceState.RECEIVED)
        self._touch(tree, "", request.association)
        tree.hold(request.AffectedSOPInstanceUID, path)
        self._ledger.post(add_instance(record))
        passing("indexed")
        sorter.sort(LazyDataset(path, index), record, self._triggers)
        self._tell_stored(tree)
        return _STORED

    def _again(
        self,
        tree: PipelineTree,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        held: Path,
    ) -> StoreResponse:
        """Answer an instance that is here already: kept once if it is the same, never overwritten."""
        association = request.association
        if same_dataset(held, spooled):
            self._touch_again(tree, index, spooled, association)
            self._tell(Station.RECEIVED, "an image came again", tree, level=DEBUG)
            return _STORED
        twin = Twin(tree, self._spool, self._ledger, held)
        if tree.node.table.on_conflict == "replace" and twin.waits:
            try:
                placement = tree.place(LazyDataset(spooled.path, index))
            except ImageRefusedError as refused:
                return self._refused(tree, request, index, spooled, refused)
            twin.put_aside("replaced by a newer one of the same SOP Instance UID")
            self._tell(Station.RECEIVED, "an image was replaced by another of its UID", tree, level=WARNING)
            path = self._kept(tree, request, spooled)
            record = self._record(
                tree, request, index, path, container=placement.container, inputs=placement.inputs
            )
            self._touch(tree, placement.container, association)
            tree.insert(LazyDataset(path, index), placement, lambda: self._ledger.post(add_instance(record)))
            self._triggers.image_came(tree, placement.container)
            return _STORED
        self._tell(Station.REFUSED, "an image has the UID of another that is here", tree, level=WARNING)
        return StoreResponse(CONFLICT, "SOP instance is here with other content")

    def _refused(
        self,
        tree: PipelineTree,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        refused: ImageRefusedError,
    ) -> StoreResponse:
        if isinstance(refused, CheckFailedError):
            path = self._kept(tree, request, spooled)
            record = self._record(tree, request, index, path)
            quarantine_instance(self._spool, self._ledger, record, path, str(refused))
            self._tell(Station.REFUSED, f"{refused}; the image is kept aside", tree, level=WARNING)
            return StoreResponse(PROCESSING_FAILURE, str(refused))
        if isinstance(refused, NoIdentifierError):
            self._tell(Station.REFUSED, f"an image was refused: {refused}", tree, level=WARNING)
            return StoreResponse(NO_IDENTIFIER, str(refused))
        return self._unwanted(tree, refused)

    def _unwanted(self, tree: PipelineTree, refused: ImageRefusedError) -> StoreResponse:
        if tree.node.table.on_unwanted == "discard":
            with self._lock:
                self.discarded[tree.node.name] += 1
            self._tell(Station.REFUSED, "an unwanted image was discarded", tree, str(refused), level=DEBUG)
            return _STORED
        self._tell(Station.REFUSED, "no input wants an image", tree, str(refused), level=WARNING)
        return StoreResponse(NOT_AUTHORISED, str(refused))

    # -- help ---------------------------------------------------------------------------------------------

    def _kept(self, tree: PipelineTree, request: StoreRequest, spooled: SpooledFile) -> Path:
        return spooled.keep(tree.node.name, request.AffectedSOPInstanceUID)

    def _record(
        self,
        tree: PipelineTree,
        request: StoreRequest,
        index: Mapping[int, IndexedValue],
        path: Path,
        *,
        container: str = "",
        inputs: tuple[str, ...] = (),
        state: InstanceState = InstanceState.WAITING,
    ) -> InstanceRecord:
        return InstanceRecord(
            path=self._spool.name_of(path),
            pipeline=tree.node.name,
            container=container,
            inputs=inputs,
            SOPInstanceUID=request.AffectedSOPInstanceUID,
            index=index,
            received=time.time(),
            association=request.association.id,
            state=state,
        )

    def _touch(self, tree: PipelineTree, key: str, association: AssociationInfo) -> None:
        """Remember that an association brought an image of a patient; enter its first one in the ledger."""
        with self._lock:
            touched = self._touched[association.id]
            first = not touched
            touched.add((tree, key))
        if first:
            self._ledger.post(
                begin_association(
                    association.id,
                    association.calling_ae_title,
                    association.called_ae_title,
                    association.peer_address,
                    association.negotiated.timestamp(),
                )
            )

    def _touch_again(
        self,
        tree: PipelineTree,
        index: Mapping[int, IndexedValue],
        spooled: SpooledFile,
        association: AssociationInfo,
    ) -> None:
        """Count an image that is sent again: a sender repeats what an abort cut off."""
        try:
            key = tree.container_key(LazyDataset(spooled.path, index))
        except ImageRefusedError:
            return
        self._touch(tree, "" if tree.node.name in self._sorters else key, association)

    def _free(self) -> int:
        try:
            status = os.statvfs(self._spool.root)
        except OSError:
            return 0
        return status.f_bavail * status.f_frsize

    def _tell_stored(self, tree: PipelineTree) -> None:
        self._tell(Station.RECEIVED, "an image is in the spool", tree, level=DEBUG)

    def _tell(
        self,
        station: Station,
        message: str,
        tree: PipelineTree | None = None,
        detail: str = "",
        *,
        level: int,
    ) -> None:
        name = tree.node.name if tree is not None else ""
        self._events.tell(Event(station, message, pipeline=name, detail=detail, level=level))
