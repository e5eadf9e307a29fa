"""What is done at start, before anything is received: spool, ledger, trees and outbox are made to agree.

The spool is the truth about instances, the ledger about jobs. Whatever the host was doing when it was
stopped, an instance that was acknowledged is afterwards in a tree, in a job, or in the quarantine.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from dicomnode.dicom.reading.lazy import LazyDataset
from dicomnode.errors import ImageRefusedError, StructureError
from dicomnode.host.dimse.store_handler import AssociationEnd
from dicomnode.host.foundation.file_trees import remove_or_move_aside
from dicomnode.host.gathering.waiting_images import Placement, WaitingImages
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import AssociationRecord, InstanceRecord
from dicomnode.host.ledger.ledger_writes import (
    add_instance,
    cut_off_associations,
    reassign_container,
    reopen_job,
    transition_instances,
    transition_job,
)
from dicomnode.host.ledger.states import OVER, InstanceState, JobState
from dicomnode.host.parsing.layout_cache import LayoutCache
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool

_LOG = logging.getLogger(__name__)
_SERIES = 0x0020000E
_KEPT = frozenset({InstanceState.RECEIVED, InstanceState.WAITING, InstanceState.IN_JOB})


@dataclass(slots=True)
class Recovered:
    """What a start found.

    Attributes
    ----------
    waiting : int
        Images that wait in the trees.
    entered : int
        Files that the ledger did not know.
    quarantined : int
        Files that belong nowhere, or cannot be read, and were quarantined now.
    lost : int
        Instances whose file has gone.
    jobs : int
        Jobs that were cut off and run again.
    interrupted : dict of (WaitingImages, str) to frozenset of str
        Container -> its series of which not everything was sent: no association that brought images of it was
        released, or none brought one after each that was aborted or cut off.
    senders : dict of (WaitingImages, str) to str
        Container -> the AE title that sent the last of its images, as far as that is known.
    unsorted : list of (InstanceRecord, AssociationRecord)
        Images that were answered before they were sorted, and the associations that brought them.
    seconds : float
        How long it took.
    """

    waiting: int = 0
    entered: int = 0
    quarantined: int = 0
    lost: int = 0
    jobs: int = 0
    interrupted: dict[tuple[WaitingImages, str], frozenset[str]] = field(default_factory=dict)
    senders: dict[tuple[WaitingImages, str], str] = field(default_factory=dict)
    unsorted: list[tuple[InstanceRecord, AssociationRecord]] = field(default_factory=list)
    seconds: float = 0.0


class Recovery:
    """Brings spool, ledger, trees and outbox together.

    Parameters
    ----------
    data : DataDirectory
    ledger : Ledger
    spool : Spool
    trees : mapping of str to WaitingImages
        By the pipelines' names; empty.
    wanted : frozenset of int
        The tags to read of a file that the ledger does not know.
    keep_inputs, keep_results : bool
        Whether files of what is over stay for a while.
    remove : callable
        Removes what a stopped host left, and raises nothing.
    """

    def __init__(
        self,
        data: DataDirectory,
        ledger: Ledger,
        spool: Spool,
        trees: Mapping[str, WaitingImages],
        wanted: frozenset[int],
        *,
        keep_inputs: bool = False,
        keep_results: bool = False,
        remove: Callable[[Path], None] = remove_or_move_aside,
    ) -> None:
        self._data, self._ledger, self._spool, self._trees = data, ledger, spool, trees
        self._wanted, self._keep_inputs, self._keep_results = wanted, keep_inputs, keep_results
        self._remove = remove
        self._layouts = LayoutCache()
        self._needless = {InstanceState.EXPIRED} | (set() if keep_inputs else {InstanceState.RELEASED})
        self._by_title = {tree.configured.ae_title: tree for tree in trees.values()}
        self._associations = ledger.associations()
        self._last_of: dict[tuple[WaitingImages, str], dict[str, dict[AssociationRecord, float]]] = {}
        """Container -> association -> when it brought its last image of it, as far as is known."""
        self._came: dict[tuple[WaitingImages, str], float] = {}

    def run(self) -> Recovered:
        """Do it, and say what was found."""
        started = time.monotonic()
        found = Recovered()
        unknown = self._compare(found)
        self._reopen_jobs()
        self._fill_trees(found)
        for path in unknown:
            self._enter(path, found)
        for key, of_series in self._last_of.items():
            found.interrupted[key] = frozenset(
                series for series, last_of in of_series.items() if not _all_was_sent(last_of)
            )
            last_of_all = [each for last_of in of_series.values() for each in last_of.items()]
            found.senders[key] = max(last_of_all, key=lambda each: each[1])[0].calling
        self._date_patients()
        self._ledger.post(cut_off_associations())
        self._jobs(found)
        self._ledger.flush()
        found.seconds = time.monotonic() - started
        return found

    # -- files --------------------------------------------------------------------------------------------

    def _compare(self, found: Recovered) -> list[Path]:
        """Compare the ledger's instances with the files; return the files that it does not know."""
        states = self._ledger.instance_states()
        noted = self._noted(states)
        unknown: list[Path] = []
        needless: list[Path] = []
        released: set[str] = set()
        for name in self._spool.names():
            state = states.pop(name, None)
            if state is None and name in noted:
                released.add(name)
                self._enter_released(self._spool.path_of(name), needless)
            elif state is None:
                unknown.append(self._spool.path_of(name))
            elif state is InstanceState.RELEASED and self._keep_inputs:
                released.add(name)
            elif state in self._needless:
                needless.append(self._spool.path_of(name))
        for path in needless:  # the host was stopped between the ledger and the disk
            self._spool.remove(path)
        self._note_released(released, noted)
        gone = {name for name, state in states.items() if state in _KEPT}
        movable = {Path(name).name: name for name in gone if states[name] is not InstanceState.IN_JOB}
        for path in self._spool.iterate_quarantine():
            known = states.get(self._spool.name_of(path))
            if known is InstanceState.REMOVED:  # the host was stopped between the ledger and the disk
                self._spool.remove_quarantined(path)
            elif known is None:
                known_as = movable.get(path.name)
                gone.discard(known_as or "")
                self._enter_quarantined(path, known_as)
        if gone:
            found.lost = len(gone)
            _LOG.error("%d files are gone from the spool that the ledger knows", len(gone))
            self._ledger.write(transition_instances(gone, InstanceState.LOST, "its file has gone"))
        self._ledger.flush()  # before the trees are filled by it
        return unknown

    def _noted(self, states: Mapping[str, InstanceState]) -> set[str]:
        """Return the files whose jobs are over, as the notes beside them say.

        Where the ledger says otherwise, the note is wrong: the host was stopped between the two.
        """
        noted: set[str] = set()
        for note in list(self._spool.released.notes()):
            known = (states.get(name, InstanceState.RELEASED) for name in note.files)
            if all(state is InstanceState.RELEASED for state in known):
                noted |= note.files
            else:
                self._spool.released.forget(note.files)
        return noted

    def _note_released(self, released: Set[str], noted: Set[str]) -> None:
        """Make the notes agree with the files of jobs that are over: an older host made none."""
        if noted - released or not self._keep_inputs:
            for note in list(self._spool.released.notes()):
                if not (note.files & released and self._keep_inputs):
                    self._spool.released.forget(note.files)
        missing: dict[int, list[str]] = {}
        if released - noted:
            for row in self._ledger.instances(InstanceState.RELEASED):
                if row.path in released - noted and row.job is not None:
                    missing.setdefault(row.job, []).append(row.path)
        for number, files in missing.items():
            job = self._ledger.job(number)
            self._spool.released.note(files, time.time() if job is None else job.changed)

    def _enter_released(self, path: Path, needless: list[Path]) -> None:
        """Enter a file whose job was over before the ledger was lost: it does not run again."""
        if self._keep_inputs:
            reason = "its job was over before the ledger was rebuilt"
            self._ledger.post(add_instance(self._record_of(path, InstanceState.RELEASED, reason)))
        else:
            needless.append(path)

    def _enter_quarantined(self, path: Path, known_as: str | None) -> None:
        """Enter a file that is quarantined: the host was stopped between the disk and the ledger."""
        reason, name = self._spool.reason_of(path), self._spool.name_of(path)
        if known_as is None:
            self._ledger.post(add_instance(self._record_of(path, InstanceState.QUARANTINED, reason)))
        else:
            moved = transition_instances((known_as,), InstanceState.QUARANTINED, reason, moved_to=name)
            self._ledger.post(moved)

    def _record_of(self, path: Path, state: InstanceState, reason: str) -> InstanceRecord:
        """Return the record of a file that belongs to no patient container, as far as it can be read."""
        record = InstanceRecord(
            path=self._spool.name_of(path),
            pipeline="",
            container_key="",
            inputs=(),
            SOPInstanceUID="",
            index={},
            received=path.stat().st_mtime,
            association="",
            state=state,
            reason=reason,
        )
        try:
            meta, index = self._spool.read_index(path, self._wanted, self._layouts)
        except (StructureError, OSError):
            return record
        tree = self._by_title.get(meta.ReceivingApplicationEntityTitle)
        pipeline = "" if tree is None else tree.configured.name
        return replace(record, pipeline=pipeline, SOPInstanceUID=meta.MediaStorageSOPInstanceUID, index=index)

    def _enter(self, path: Path, found: Recovered) -> None:
        """Enter a file that the ledger does not know."""
        found.entered += 1
        try:
            meta, index = self._spool.read_index(path, self._wanted, self._layouts)
        except (StructureError, OSError) as error:
            self._put_aside(path, f"it cannot be read: {error}", found)
            return
        uid = meta.MediaStorageSOPInstanceUID
        tree = self._by_title.get(meta.ReceivingApplicationEntityTitle)
        if tree is None:
            self._put_aside(path, "no configured pipeline has the AE title that it was sent to", found)
            return
        with tree.known.storing(uid) as held:
            if held is not None:
                self._put_aside(path, "an instance of its UID is here already", found)
                return
            image = LazyDataset(path, index)
            try:
                placement = tree.place(image)
                record = InstanceRecord(
                    path=self._spool.name_of(path),
                    pipeline=tree.configured.name,
                    container_key=placement.container_key,
                    inputs=placement.inputs,
                    SOPInstanceUID=uid,
                    index=index,
                    received=path.stat().st_mtime,
                    association="",
                )
                tree.insert(image, placement, lambda: self._ledger.post(add_instance(record)))
            except ImageRefusedError as refused:
                if tree.drops(refused):  # as when it came; the host was stopped before its file was removed
                    found.entered -= 1
                    self._spool.remove(path)
                else:
                    self._put_aside(path, str(refused), found)
                return
        found.waiting += 1
        self._count(tree, placement.container_key, record)
        self._note_association(tree, placement.container_key, record)

    def _put_aside(self, path: Path, reason: str, found: Recovered) -> None:
        found.quarantined += 1
        self._enter_quarantined(self._spool.quarantine(path, reason), None)

    # -- trees --------------------------------------------------------------------------------------------

    def _reopen_jobs(self) -> None:
        """Let the images of jobs wait again whose pipeline has other inputs now: they are placed anew."""
        jobs = {job.id: job for job in self._ledger.jobs(JobState.QUEUED, JobState.RUNNING)}
        for number, names in self._ledger.inputs_of_jobs().items():
            job = jobs.get(number)
            tree = None if job is None else self._trees.get(job.pipeline)
            if tree is not None and not names <= tree.configured.pipeline.inputs.keys():
                _LOG.warning("job %d is given up: its pipeline has other inputs now", number)
                self._ledger.write(reopen_job(number, "its pipeline has other inputs now"))

    def _fill_trees(self, found: Recovered) -> None:
        strangers = 0
        for row in self._ledger.instances(*_KEPT):
            tree = self._trees.get(row.pipeline)
            if tree is None:
                strangers += 1
            elif row.state is InstanceState.WAITING:
                self._put_back(tree, row, found)
            else:
                tree.known.add_of_job(row.SOPInstanceUID, str(self._spool.path_of(row.path)))
                if row.state is InstanceState.RECEIVED:
                    found.unsorted.append((row, self._association_of(row)))
        if strangers:
            _LOG.warning("%d images wait for pipelines that are not configured any more", strangers)

    def _put_back(self, tree: WaitingImages, row: InstanceRecord, found: Recovered) -> None:
        """Put an image where it waited; if the pipeline has no such input any more, where it belongs now."""
        image = LazyDataset(self._spool.file_of(row.path), row.index)
        container_key = row.container_key
        if tree.holds(row.SOPInstanceUID):
            self._put_in_place(tree, row, image, found)
        elif set(row.inputs) <= tree.configured.pipeline.inputs.keys():
            tree.put_back(container_key, [(image, row.inputs)])
        else:
            try:
                placement = tree.place(image)
                moved = reassign_container(row.path, placement.container_key, placement.inputs)
                tree.insert(image, placement, lambda: self._ledger.post(moved))
            except ImageRefusedError as refused:
                found.quarantined += 1
                quarantined = self._spool.quarantine(image.path, str(refused))
                self._enter_quarantined(quarantined, row.path)
                return
            container_key = placement.container_key
        found.waiting += 1
        self._count(tree, container_key, row)
        if not tree.asked_for(image):
            self._note_association(tree, container_key, row)

    def _put_in_place(
        self, tree: WaitingImages, row: InstanceRecord, image: LazyDataset, found: Recovered
    ) -> None:
        """Put an image in the place of an older one of its UID: the host was stopped while it replaced it."""
        older = tree.known.file_of(row.SOPInstanceUID)
        if older is None:
            return
        tree.replace(older, image, Placement(row.container_key, row.inputs), lambda: None, of_job=False)
        found.waiting -= 1
        found.quarantined += 1
        quarantined = self._spool.quarantine(older, "replaced by a newer one of the same SOP Instance UID")
        self._enter_quarantined(quarantined, self._spool.name_of(older))

    def _note_association(self, tree: WaitingImages, container_key: str, row: InstanceRecord) -> None:
        """Remember when an association brought an image of a container."""
        series = str(row.index.get(_SERIES, ""))
        last_of = self._last_of.setdefault((tree, container_key), {}).setdefault(series, {})
        association = self._association_of(row)
        last_of[association] = max(last_of.get(association, -math.inf), row.received)

    def _association_of(self, row: InstanceRecord) -> AssociationRecord:
        """Return the association that brought an image last.

        Of one that the ledger does not know no end was entered either: the host was killed with it open, or
        the ledger was lost. Whatever came after this image came after that.
        """
        unknown = AssociationRecord(-math.inf, AssociationEnd.CUT_OFF, row.received)
        return self._associations.get(row.association, unknown)

    def _count(self, tree: WaitingImages, container_key: str, row: InstanceRecord) -> None:
        """Remember when a patient's last image came, by the wall clock.

        An instance that was sent again belongs to the association that brought it last, and came after that
        began.
        """
        began = self._association_of(row).started
        patient = (tree, container_key)
        self._came[patient] = max(self._came.get(patient, -math.inf), row.received, began)

    def _date_patients(self) -> None:
        """Tell the trees how old the patients' last images are.

        A time that is still to come shows that the clock was set back: nothing has passed since, as far as is
        known.
        """
        now = time.time()
        for (tree, container_key), came in self._came.items():
            tree.set_age(container_key, max(now - came, 0.0))

    # -- jobs ---------------------------------------------------------------------------------------------

    def _jobs(self, found: Recovered) -> None:
        """Queue again what was cut off, and clear the outbox of what nobody needs."""
        for job in self._ledger.jobs(JobState.RUNNING):
            found.jobs += 1
            self._ledger.write(
                transition_job(
                    job.id, JobState.QUEUED, "the host was stopped while it ran", attempts=job.attempts - 1
                )
            )
        for job in self._ledger.jobs(JobState.BUILT):
            if job.folder and not (self._data.outbox / job.folder).is_dir():
                _LOG.error("the result of job %d is gone from the outbox; the job runs again", job.id)
                self._ledger.write(
                    transition_job(job.id, JobState.QUEUED, "its result has gone from the outbox")
                )
        over = () if self._keep_results else OVER
        needed = {job.folder for job in self._ledger.jobs() if job.folder and job.state not in over}
        self._clear(self._data.outbox, needed)
        self._clear(self._data.work, set())

    def _clear(self, directory: Path, needed: Set[str]) -> None:
        """Remove what a stopped host left in a directory."""
        for entry in list(directory.iterdir()):
            if entry.name not in needed:
                self._remove(entry)


def _all_was_sent(last_of: Mapping[AssociationRecord, float]) -> bool:
    """Say whether each association that was not released was followed by an image of one that was.

    Parameters
    ----------
    last_of : mapping of AssociationRecord to float
        Association -> when it brought its last image. An image that came again keeps the time when it came
        first, so that its association's own beginning counts, too.
    """
    released = [
        max(association.started, last)
        for association, last in last_of.items()
        if association.outcome == AssociationEnd.RELEASED
    ]
    others = [association.ended for association in last_of if association.outcome != AssociationEnd.RELEASED]
    return bool(released) and max(others, default=-math.inf) <= max(released)
