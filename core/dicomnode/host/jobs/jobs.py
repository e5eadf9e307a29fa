"""The life of jobs in the ledger: made, ended, discarded; and what follows from each for files and trees."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dicomnode.errors import DataDirectoryError, JobStateError
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.foundation.file_trees import remove_or_move_aside
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.job_identity import job_identity
from dicomnode.host.ledger.history_ledger import end_histories
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.ledger_writes import (
    Write,
    create_job,
    end_job,
    make_deliveries_due,
    reopen_job,
    requeue_job,
    retry_deliveries,
    together,
    transition_instances,
    transition_job,
)
from dicomnode.host.ledger.states import UNBUILT, DeliveryState, InstanceState, JobState
from dicomnode.host.spool.spool_files import SpoolFiles

# An operator's command works without a host on the ledger by this module: nothing of DICOM or of plugins is
# imported before it is needed.
if TYPE_CHECKING:
    from dicomnode.dicom.reading.lazy import LazyDataset
    from dicomnode.host.gathering.pipeline_tree import PipelineTree, TakenContainer

_LOG = logging.getLogger(__name__)
_DISCARDED = "discarded by the operator"
_GIVEN_UP = "given up by the operator"
"""The operator's own words may name a patient: they are kept beside it."""
_REPLAYED = "replayed by the operator"
_NOT_REPLAYED = {
    JobState.QUEUED: "is queued: it runs when its turn comes",
    JobState.RUNNING: "is running",
}
_NOT_DISCARDED = {
    JobState.DELIVERED: "was delivered: there is nothing to discard",
    JobState.DISCARDED: "was discarded already",
}


class Jobs:
    """Makes jobs and ends them, in the ledger first, then in trees and on disk.

    Parameters
    ----------
    ledger : Ledger
    spool : SpoolFiles
    outbox : pathlib.Path
        The folder with the results.
    trees : mapping of str to PipelineTree
        By the pipelines' names.
    events : Events
        Publishes what happens.
    job_events : JobEvents
        Notifies what runs jobs and what delivers results.
    job_changed : callable
        Is given every job whose state changed: the hook.
    keep_inputs, keep_results : bool
        Whether the files of a job that is over stay, for :mod:`dicomnode.host.upkeep.retention` to remove
        later.
    remove : callable
        Removes a folder of results, and raises nothing.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        spool: SpoolFiles,
        outbox: Path,
        trees: Mapping[str, PipelineTree],
        events: Events,
        job_events: JobEvents,
        job_changed: Callable[[JobRecord], None] = lambda job: None,  # noqa: ARG005 - no hook
        keep_inputs: bool = False,
        keep_results: bool = False,
        remove: Callable[[Path], None] = remove_or_move_aside,
    ) -> None:
        self._ledger, self._spool, self._outbox, self._trees = ledger, spool, outbox, trees
        self._events, self._job_changed = events, job_changed
        self._keep_inputs, self._keep_results = keep_inputs, keep_results
        self._remove = remove
        self._job_events = job_events

    # -- making -------------------------------------------------------------------------------------------

    def create(self, tree: PipelineTree, container_key: str) -> JobRecord:
        """Make a job of a patient whose inputs are complete.

        Raises
        ------
        InputsIncompleteError
            When they are not.
        DataDirectoryError
            When the ledger cannot be written; the images wait in the tree as before.
        """
        taken = tree.take(container_key)
        images = taken.images
        uids = [str(image.SOPInstanceUID) for image in images]
        identity = job_identity(tree.configured.name, container_key, uids, tree.configured.content)
        paths = [self._spool.name_of(image.path) for image in images]
        try:
            record = self._ledger.write(
                together(
                    create_job(identity, tree.configured.name, container_key, paths),
                    end_histories(tree.configured.name, container_key),
                )
            )
        except Exception as error:
            tree.put_back(container_key, taken.with_inputs(), taken.last_image)
            if isinstance(error, sqlite3.Error | ValueError):
                msg = f"the ledger cannot be written: {error}"
                raise DataDirectoryError(msg) from error
            raise
        tree.forget_history(container_key)
        failpoint("job entered")
        self.changed(record, f"queued with {len(images)} image{'s' * (len(images) != 1)}")
        self._job_events.queued.notify()
        return record

    def join_late(self, tree: PipelineTree, container_key: str) -> None:
        """Let images that came after their patient's job was made join it, where the pipeline wants that.

        The job is discarded, and its images wait again with those that came late, for a new job; when that is
        made, the old one says which one superseded it. Images that cannot wait together with those of the job
        (another series, say, where an input takes one) do not join it.
        """
        if tree.configured.policy.late_images != "join" or tree.quiet_for(container_key) is None:
            return
        for job in self._ledger.jobs(*UNBUILT):
            if (job.pipeline, job.container_key) != (tree.configured.name, container_key):
                continue
            if not tree.fits(container_key, self._images(self._ledger.instances(job=job.id))):
                continue
            try:
                record, rows = self._ledger.write(
                    reopen_job(job.id, "images that came late joined: a new job takes its place")
                )
            except ValueError:  # it was built in the meantime: the late images make a new job
                continue
            tree.put_back(container_key, self._images(rows))
            self._job_events.withdrawn.notify(job.id)
            self.changed(record, record.reason)

    # -- ending -------------------------------------------------------------------------------------------

    def settle(self, number: int) -> None:
        """Deal with a job whose deliveries are over: delivered, or a dead letter."""
        dead = self._ledger.deliveries(DeliveryState.DEAD, job=number)
        if dead:
            names = ", ".join(sorted({delivery.destination for delivery in dead}))
            reason = f"{len(dead)} refused for good by {names}"
            record = self._ledger.write(transition_job(number, JobState.UNDELIVERABLE, reason))
            self.changed(record, f"dead letter: {reason}", level=logging.ERROR)
            return
        self._end(number, JobState.DELIVERED, "every destination confirmed")

    def discard(self, number: int, reason: str) -> JobRecord:
        """Discard a job on the operator's word; its inputs are released.

        Raises
        ------
        JobStateError
            When there is no such job, or it is over already.
        """
        job = self._known(number)
        if job.state in _NOT_DISCARDED:
            msg = f"job {number} {_NOT_DISCARDED[job.state]}"
            raise JobStateError(msg)
        try:
            record = self._end(number, JobState.DISCARDED, reason, _DISCARDED)
        except ValueError as error:  # its state changed in this very moment
            raise JobStateError(str(error)) from error
        self._job_events.withdrawn.notify(number)
        return record

    def replay(self, number: int, *, rerun: bool = False) -> JobRecord:
        """Do a job again on the operator's word.

        The delivery of a built one is tried at once, however long it was to wait. A failed one runs again; of
        an undeliverable one the result is delivered again; one that is over (delivered, discarded) runs
        again, as long as its inputs were kept. The UIDs of the result are the same whatever happens.

        Parameters
        ----------
        number : int
            The job's number.
        rerun : bool
            Run an undeliverable one again, too, instead of delivering the result that it has.

        Raises
        ------
        JobStateError
            When there is no such job, its state does not allow it, or inputs that it needs have gone.
        """
        job = self._known(number)
        if job.state in _NOT_REPLAYED:
            msg = f"job {number} {_NOT_REPLAYED[job.state]}"
            raise JobStateError(msg)
        if job.state is JobState.BUILT:
            return self._deliver_now(job)
        try:
            if job.state is JobState.UNDELIVERABLE and self._has_result(job) and not rerun:
                record = self._ledger.write(retry_deliveries(number, _REPLAYED))
            else:
                record = self._run_again(job)
        except ValueError as error:
            raise JobStateError(str(error)) from error
        self.changed(record, record.reason)
        self._job_events.queued.notify()
        self._job_events.deliveries_entered.notify()
        return record

    def _deliver_now(self, job: JobRecord) -> JobRecord:
        names = self._ledger.write(make_deliveries_due(job=job.id))
        if not names:
            msg = f"job {job.id} has a result that was sent: its peers have yet to commit to it"
            raise JobStateError(msg)
        self._job_events.deliveries_due.notify(names)
        return job

    def _run_again(self, job: JobRecord) -> JobRecord:
        self._ledger.flush()  # an input that has just come again may be in another file now
        rows = list(self._ledger.instances(job=job.id))
        refusal = f"job {job.id} ({job.state.value}) cannot run again"
        if not rows or any(row.state is InstanceState.WAITING for row in rows):
            msg = f"{refusal}: its images are another job's, or wait for one ({job.reason})"
            raise JobStateError(msg)
        gone = sum(not self._spool.path_of(row.path).is_file() for row in rows)
        if gone:
            msg = (
                f"{refusal}: {gone} of its {len(rows)} inputs are not kept any more. Send the images again;"
                " retention.inputs (such as '14 d') keeps those of later jobs"
            )
            raise JobStateError(msg)
        # Before the ledger: if both are lost in this moment, the images are sorted anew, and none is lost.
        self._spool.released.forget(row.path for row in rows if row.state is InstanceState.RELEASED)
        record = self._ledger.write(requeue_job(job.id, _REPLAYED))
        self.remove_result(job)
        if job.pipeline in self._trees:
            for row in rows:
                self._trees[job.pipeline].hold(row.SOPInstanceUID, self._spool.path_of(row.path))
        return record

    def _known(self, number: int) -> JobRecord:
        job = self._ledger.job(number)
        if job is None:
            msg = f"there is no job {number}; `dicomnode-host jobs` lists those that there are"
            raise JobStateError(msg)
        return job

    def _has_result(self, job: JobRecord) -> bool:
        return bool(job.folder) and (self._outbox / job.folder).is_dir()

    def expire(self, tree: PipelineTree, container_key: str, age: float) -> None:
        """Release a container that has waited too long without becoming complete."""
        taken = tree.expire(container_key, age)
        if taken is not None:
            reason = f"no image came for {age:g} s"
            self._release(tree, taken, reason, f"expired: {reason}")

    def release_container(self, pipeline: str, container_key: str, reason: str) -> int:
        """Release a container that waits, on the operator's word, as if it had expired.

        Returns
        -------
        int
            How many images were released.

        Raises
        ------
        JobStateError
            When no such container waits.
        """
        tree = self._trees.get(pipeline)
        if tree is not None:
            taken = tree.expire(container_key, 0.0)
            count = 0 if taken is None else self._release(tree, taken, reason, _GIVEN_UP, detail=reason)
        else:  # the host is down, or the pipeline is not configured any more
            count = self._release_recorded(pipeline, container_key, reason)
        if not count:
            msg = (
                f"no patient {container_key!r} waits for the pipeline {pipeline!r};"
                " `dicomnode-host status --patients` shows pipelines and patients that wait"
            )
            raise JobStateError(msg)
        return count

    def _release(
        self, tree: PipelineTree, taken: TakenContainer, reason: str, message: str, *, detail: str = ""
    ) -> int:
        """Release the images of a container that was taken out of its tree; return how many."""
        images, container_key, pipeline = taken.images, taken.container_key, tree.configured.name
        paths = [self._spool.name_of(image.path) for image in images]
        try:
            self._ledger.write(_expired(pipeline, container_key, paths, reason))
        except Exception:
            tree.put_back(container_key, taken.with_inputs(), taken.last_image)
            raise
        tree.forget_history(container_key)
        for image in images:
            self._spool.remove(image.path)
        text = f"{len(images)} image{'s' * (len(images) != 1)} {message}"
        self._events.tell(
            Event(Station.RELEASED, text, pipeline=pipeline, detail=detail, level=logging.WARNING)
        )
        return len(images)

    def _release_recorded(self, pipeline: str, container_key: str, reason: str) -> int:
        """Release the images that wait for a patient by the ledger alone; return how many."""
        paths = [
            row.path
            for row in self._ledger.instances(InstanceState.WAITING)
            if (row.pipeline, row.container_key) == (pipeline, container_key)
        ]
        if paths:
            self._ledger.write(_expired(pipeline, container_key, paths, reason))
        for path in paths:
            self._spool.remove(self._spool.path_of(path))
        return len(paths)

    def _end(self, number: int, new: JobState, reason: str, summary: str | None = None) -> JobRecord:
        rows = [row for row in self._ledger.instances(job=number) if row.state is InstanceState.IN_JOB]
        held = [(row.SOPInstanceUID, self._spool.path_of(row.path)) for row in rows]
        failpoint("before release")
        self._note_released([row.path for row in rows])
        failpoint("release noted")
        try:
            record, paths = self._ledger.write(end_job(number, new, reason, summary))
        except Exception:
            self._spool.released.forget(row.path for row in rows)
            raise
        failpoint("released")
        if record.pipeline in self._trees:
            self._trees[record.pipeline].forget(held)
        if not self._keep_inputs:
            for path in paths:
                self._spool.remove(self._spool.path_of(path))
        if not self._keep_results:
            self.remove_result(record)
        message = f"{summary or reason}; {len(paths)} input{'s' * (len(paths) != 1)} released"
        self.changed(record, message, reason if summary else "")
        return record

    def _note_released(self, files: list[str]) -> None:
        """Note beside inputs that are kept that their job is over, for a ledger that is rebuilt from them."""
        if not self._keep_inputs:
            return
        try:
            self._spool.released.note(files, time.time())
        except OSError as error:  # the next start notes them
            _LOG.warning("that inputs were released could not be noted: %s", error.strerror)

    def remove_result(self, record: JobRecord) -> None:
        """Remove what a job left in the outbox."""
        if record.folder:
            self._remove(self._outbox / record.folder)

    # -- notifying ----------------------------------------------------------------------------------------

    def changed(self, record: JobRecord, message: str, detail: str = "", level: int = logging.INFO) -> None:
        """Publish that a job's state changed, and call the hook."""
        self._events.tell(
            Event(
                _STATION.get(record.state, Station.JOB),
                message,
                pipeline=record.pipeline,
                job=str(record.id),
                association=",".join(self._ledger.associations_of(record.id)),
                detail=detail,
                level=level,
            )
        )
        self._job_changed(record)

    def _images(self, rows: Iterable[InstanceRecord]) -> list[tuple[LazyDataset, Iterable[str]]]:
        from dicomnode.dicom.reading.lazy import LazyDataset

        return [(LazyDataset(self._spool.path_of(row.path), row.index), row.inputs) for row in rows]


def _expired(pipeline: str, container_key: str, paths: Iterable[str], reason: str) -> Write[None]:
    """Enter that a container was released, and nothing is fetched for it any more."""
    return together(
        transition_instances(paths, InstanceState.EXPIRED, reason), end_histories(pipeline, container_key)
    )


_STATION = {
    JobState.BUILT: Station.BUILT,
    JobState.DELIVERED: Station.DELIVERED,
    JobState.UNDELIVERABLE: Station.UNDELIVERED,
    JobState.DISCARDED: Station.RELEASED,
}


__all__ = ["Jobs"]
