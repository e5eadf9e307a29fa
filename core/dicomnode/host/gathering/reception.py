"""The station where received instances are decided: which pipeline, whose, wanted or not, here already.

It implements the receiver's :class:`~dicomnode.host.dimse.store_handler.StoreHandler`. An answer of
Success means that the bytes are durable in the spool and the image is in its tree; the ledger's row is
posted, since the spool says all that the row says.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from logging import DEBUG, WARNING

from pydicom.tag import Tag

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.dicom.reading.planes import PLANE_KEYWORDS
from dicomnode.dicom.values.indexed_value import IndexedValue
from dicomnode.host.dimse.spooled_file import SpooledFile
from dicomnode.host.dimse.store_handler import AssociationEnd, AssociationInfo, Prevalidation, StoreRequest
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.free_space import FreeSpace
from dicomnode.host.gathering.deferred_router import DeferredRouter
from dicomnode.host.gathering.instance_intake import InstanceIntake, ReceivedInstance
from dicomnode.host.gathering.pipeline_tree import PipelineTree
from dicomnode.host.gathering.triggers import Triggers
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord
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


def wanted_tags(trees: Iterable[PipelineTree]) -> frozenset[int]:
    """Return the tags that are read of every instance, for some pipelines."""
    asked: frozenset[int] = frozenset().union(*(tree.indexed_tags for tree in trees))
    return asked | frozenset(map(int, INDEXED))


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
        Publishes what happens.
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
        self._trees = {tree.configured.ae_title: tree for tree in trees}
        self._titles = {host_title, *self._trees}
        self._spool, self._ledger, self._triggers, self._events = spool, ledger, triggers, events
        self._reserve, self._free = reserve, FreeSpace(str(spool.root), _MOMENT)
        self._sorters = {
            tree.configured.name: DeferredRouter(tree, spool, ledger, events)
            for tree in self._trees.values()
            if not tree.configured.policy.sorts_before_answer
        }
        self._touched: defaultdict[str, set[tuple[PipelineTree, str]]] = defaultdict(set)
        self._lock = threading.Lock()
        self._arrivals = InstanceIntake(
            spool=spool,
            ledger=ledger,
            triggers=triggers,
            events=events,
            sorters=self._sorters,
            touch=self._touch,
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

    def resume(self, unsorted: Iterable[tuple[InstanceRecord, bool]], quiet: float) -> None:
        """Have images sorted that were answered before the host was stopped.

        Parameters
        ----------
        unsorted : iterable of (InstanceRecord, bool)
            Each with whether its association may complete something.
        quiet : float
            Seconds without an image after which a patient is looked at.
        """
        associations: dict[tuple[str, str], bool] = {}
        for record, completes in unsorted:
            sorter = self._sorters.get(record.pipeline)
            if sorter is not None:
                image = LazyDataset(self._spool.path_of(record.path), record.index)
                sorter.sort(image, record, self._triggers)
                associations[record.pipeline, record.association] = completes
        for (pipeline, id_), completes in associations.items():
            self._sorters[pipeline].after_restart(id_, self._triggers, quiet, cut_off=completes)

    @property
    def discarded(self) -> Counter[str]:
        """How many images each pipeline answered with Success and dropped."""
        sorted_out = Counter({name: sorter.discarded for name, sorter in self._sorters.items()})
        return self._arrivals.discarded + sorted_out

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

    def association_ended(self, association: AssociationInfo, end: AssociationEnd) -> None:
        """Have the patients that it brought images for looked at, if it ended in a release."""
        with self._lock:
            touched = self._touched.pop(association.id, None)
        if touched is None:
            return
        released = end is AssociationEnd.RELEASED
        self._ledger.post(end_association(association.id, end))
        count = f"{len(touched)} patient" + "s" * (len(touched) != 1)
        called = self._trees.get(association.called_ae_title)
        if released:
            self._tell(Station.ASSOCIATION, f"released ({count})", called, level=DEBUG)
        else:
            policy = called.configured.policy if called is not None and touched else None
            later = (
                f"; looked at after {policy.quiet:g} s without an image"
                if policy is not None and policy.when_quiet
                else ""
            )
            message = f"{end}: it completes nothing ({count}){later}"
            self._tell(Station.ASSOCIATION, message, called, level=WARNING)
        for tree, container_key in touched:
            sorter = self._sorters.get(tree.configured.name)
            if sorter is None:
                self._triggers.association_ended(tree, container_key, released=released)
            else:  # behind the images that it has not sorted yet
                sorter.association_ended(association.id, self._triggers, released=released)

    # -- help ---------------------------------------------------------------------------------------------

    def _touch(self, tree: PipelineTree, container_key: str | None, association: AssociationInfo) -> None:
        """Remember that an association brought an image of a patient; enter its first one in the ledger.

        Of an image that was asked for the key is ``None``: the patient's other images need not be there yet.
        """
        with self._lock:
            first = association.id not in self._touched
            touched = self._touched[association.id]
            if container_key is not None:
                touched.add((tree, container_key))
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

    def _tell(
        self,
        station: Station,
        message: str,
        tree: PipelineTree | None = None,
        detail: str = "",
        *,
        level: int,
    ) -> None:
        name = tree.configured.name if tree is not None else ""
        self._events.tell(Event(station, message, pipeline=name, detail=detail, level=level))
