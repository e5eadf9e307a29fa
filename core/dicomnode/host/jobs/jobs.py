"""The life of jobs in the ledger: made, ended, discarded; and what follows from each for files and trees."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dicomnode.errors import DataDirectoryError, JobStateError
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.foundation.file_trees import remove_or_move_aside
from dicomnode.host.gathering.container_naming import named_container
from dicomnode.host.gathering.messages import Drop, EarlierJob, EarlierState, Hold, RunAgain, StartJob
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
    run_job_again,
    together,
    transition_instances,
    transition_job,
)
from dicomnode.host.ledger.states import DeliveryState, InstanceState, JobState
from dicomnode.host.ledger.unprocessed_ledger import (
    HeldContainer,
    discard_images,
    hold_container,
    no_longer_held,
)
from dicomnode.host.spool.spool_files import SpoolFiles

# An operator's command works without a host on the ledger by this module: nothing of DICOM or of plugins is
# imported before it is needed.
if TYPE_CHECKING:
    from dicomnode.dicom.reading.lazy import LazyDataset
    from dicomnode.host.gathering.waiting_images import TakenContainer, WaitingImages

_LOG = logging.getLogger(__name__)
_SERIES = 0x0020000E
_DISCARDED = "discarded by the operator"
_GIVEN_UP = "given up by the operator"
"""The operator's own words may name a patient: they are kept beside it."""
_STARTED_AS_IT_IS = "started as it is by the operator"
_NOT_CHOSEN = "another series was chosen for the job"
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
    trees : mapping of str to WaitingImages
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
        trees: Mapping[str, WaitingImages],
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

    def create(self, waiting: WaitingImages, decision: StartJob) -> JobRecord:
        """Make a job of images that wait.

        Parameters
        ----------
        waiting : WaitingImages
        decision : StartJob
            Which images, and why: kept with the job.

        Raises
        ------
        InputsIncompleteError
            When they do not all wait any more.
        DataDirectoryError
            When the ledger cannot be written; the images wait as before.
        """
        configured, container_key, why = waiting.configured, decision.container_key, decision.why
        taken = waiting.take_images(container_key, decision.inputs, decision.left_out)
        images = taken.images
        identity = self.identity(waiting, container_key, [str(image.SOPInstanceUID) for image in images])
        paths = [self._spool.name_of(image.path) for image in images]
        left_out = [self._spool.name_of(image.path) for image in taken.left_out]
        # The operator's own words may name a patient.
        summary = _STARTED_AS_IT_IS if decision.ordered else why
        with self._or_put_back(waiting, taken):
            record = self._ledger.write(
                together(
                    create_job(identity, configured.name, container_key, paths, why, summary=summary),
                    end_histories(configured.name, container_key),
                    no_longer_held(configured.name, container_key),
                    transition_instances(left_out, InstanceState.EXPIRED, _NOT_CHOSEN),
                    discard_images(configured.name, _by_series(taken.left_out), _NOT_CHOSEN),
                )
            )
        waiting.forget_history(container_key)
        self._forget(waiting, taken.left_out)
        failpoint("job entered")
        message = f"queued with {_counted(len(images))}"
        if left_out:
            message += f"; {_counted(len(left_out))} of series that were not chosen discarded"
        self.changed(record, message, why if decision.ordered else "")
        self._job_events.queued.notify()
        return record

    def run_again(self, waiting: WaitingImages, decision: RunAgain) -> JobRecord:
        """Run an earlier job again, with the images that have come again in the place of its own.

        Of a failed job the images are here still: there is nothing to replace.

        Raises
        ------
        DataDirectoryError
            When the ledger cannot be written; the images wait as before.
        JobStateError
            When the job's images are another job's by now.
        """
        job, container_key, why = self._known(decision.job), decision.container_key, decision.why
        came_again = [uid for uid in decision.uids if waiting.container_of(uid) == container_key]
        released = no_longer_held(waiting.configured.name, container_key)
        if not came_again:
            record = self._run_again(job, why)
            self._ledger.post(released)
        else:
            taken = waiting.take_images(container_key, {}, came_again)
            paths = {str(image.SOPInstanceUID): self._spool.name_of(image.path) for image in taken.left_out}
            with self._or_put_back(waiting, taken):
                record, over = self._ledger.write(together(run_job_again(job.id, paths, why), released))
            self._spool.released.forget(over)
            waiting.known.forget(
                (uid, str(self._spool.path_of(path))) for uid, path in paths.items() if path in over
            )
            for path in over:
                self._spool.remove(self._spool.path_of(path))
            self.remove_result(job)
        waiting.forget_history(container_key)
        self.changed(record, why)
        self._job_events.queued.notify()
        self._job_events.deliveries_entered.notify()
        return record

    def images(self, number: int) -> list[tuple[LazyDataset, tuple[str, ...]]]:
        """Return the images of a job, each with the names of its inputs."""
        return self._images(self._ledger.instances(job=number))

    def reopen(self, number: int, why: str) -> list[tuple[LazyDataset, tuple[str, ...]]]:
        """End a job that delivers no result, and return its images, each with the names of its inputs.

        The result of an undeliverable job is removed: one of all images takes its place.

        Raises
        ------
        JobStateError
            When it has a result in the meantime that is being delivered, or was.
        """
        try:
            record, rows = self._ledger.write(reopen_job(number, why))
        except ValueError as error:
            raise JobStateError(str(error)) from error
        self._job_events.withdrawn.notify(number)
        self.remove_result(record)
        self.changed(record, record.reason)
        return self._images(rows)

    def drop(self, waiting: WaitingImages, decision: Drop) -> int:
        """Release the images of a container that makes no job; return how many.

        Images of a failed job that came again are still the job's, and stay.

        Raises
        ------
        DataDirectoryError
            When the ledger cannot be written; the images wait as before.
        """
        container_key, why, pipeline = decision.container_key, decision.why, waiting.configured.name
        uids = [uid for uid in decision.uids if waiting.container_of(uid) == container_key]
        if not uids:
            self._ledger.post(no_longer_held(pipeline, container_key))
            return 0
        taken = waiting.take_images(container_key, {}, uids)
        paths = [self._spool.name_of(image.path) for image in taken.left_out]
        with self._or_put_back(waiting, taken):
            self._ledger.write(_expired(pipeline, container_key, paths, why, _by_series(taken.left_out)))
        waiting.forget_history(container_key)
        self._forget(waiting, taken.left_out)
        message = f"{_counted(len(uids))} {_GIVEN_UP if decision.ordered else f'expired: {why}'}"
        detail = why if decision.ordered else ""
        self._events.tell(
            Event(Station.RELEASED, message, pipeline=pipeline, detail=detail, level=logging.WARNING)
        )
        return len(uids)

    def hold(self, waiting: WaitingImages, decision: Hold, series: Mapping[str, int]) -> None:
        """Enter why a container is held.

        Parameters
        ----------
        waiting : WaitingImages
        decision : Hold
        series : mapping of str to int
            Series Instance UID -> number of images of the container.
        """
        name, key = waiting.configured.name, decision.container_key
        self._ledger.post(hold_container(HeldContainer(name, key, series, decision.why)))

    def earlier(self, waiting: WaitingImages, container_key: str) -> list[EarlierJob]:
        """Return the jobs of a container that the ledger remembers, the newest first.

        Those whose images went into another job, or wait again, are left out. So are the series of earlier
        images that the host has fetched: jobs share them.
        """
        name, fetching = waiting.configured.name, waiting.fetching
        return [
            EarlierJob(
                job.id,
                _EARLIER[job.state],
                frozenset(uids),
                frozenset(series),
                job.identity,
            )
            for job, uids, series in self._ledger.jobs_of_container(name, container_key, fetching)
            if uids
        ]

    def failed_job_of(self, pipeline: str, SOPInstanceUID: str) -> int | None:  # noqa: N803 - DICOM's own spelling
        """Return the failed or undeliverable job that has an image, ``None`` where none has."""
        return self._ledger.dead_job_of(pipeline, SOPInstanceUID)

    def identity(self, waiting: WaitingImages, container_key: str, uids: Collection[str]) -> str:
        """Return the identity that a job of these images has now."""
        configured = waiting.configured
        return job_identity(configured.name, container_key, uids, configured.content)

    @contextmanager
    def _or_put_back(self, waiting: WaitingImages, taken: TakenContainer) -> Iterator[None]:
        """Let images wait again as before that were taken for something that could not be entered."""
        try:
            yield
        except Exception as error:
            waiting.put_back(taken.container_key, taken.waited_in, taken.last_image)
            if isinstance(error, sqlite3.Error | ValueError):
                msg = f"the ledger cannot be written: {error}"
                raise DataDirectoryError(msg) from error
            raise

    def _forget(self, waiting: WaitingImages, images: Collection[LazyDataset]) -> None:
        """Remove images that make no job; they may come again."""
        waiting.known.forget((str(image.SOPInstanceUID), image.file) for image in images)
        for image in images:
            self._spool.remove(image.path)

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
        except ValueError as error:
            raise _changed_meanwhile(number, error) from error
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
                record = self._run_again(job, _REPLAYED)
        except ValueError as error:
            raise _changed_meanwhile(number, error) from error
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

    def _run_again(self, job: JobRecord, reason: str) -> JobRecord:
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
        record = self._ledger.write(requeue_job(job.id, reason))
        self.remove_result(job)
        if job.pipeline in self._trees:
            for row in rows:
                self._trees[job.pipeline].known.add_of_job(
                    row.SOPInstanceUID, str(self._spool.path_of(row.path))
                )
        return record

    def _known(self, number: int) -> JobRecord:
        job = self._ledger.job(number)
        if job is None:
            msg = f"there is no job {number}; `dicomnode-host jobs` lists those that there are"
            raise JobStateError(msg)
        return job

    def _has_result(self, job: JobRecord) -> bool:
        return bool(job.folder) and (self._outbox / job.folder).is_dir()

    def release_recorded(self, pipeline: str, container_key: str, reason: str) -> int:
        """Drop a container by the ledger alone: the host is down, or the pipeline not configured any more.

        Parameters
        ----------
        pipeline : str
        container_key : str
            Its key, or its patient where only one container of that patient waits.
        reason : str

        Returns
        -------
        int
            How many images were released.

        Raises
        ------
        JobStateError
            When nothing waits there, or several containers of that patient do.
        """
        waiting: dict[str, list[InstanceRecord]] = {}
        for row in self._ledger.instances(InstanceState.WAITING):
            if row.pipeline == pipeline:
                waiting.setdefault(row.container_key, []).append(row)
        key = named_container(waiting, container_key, pipeline)
        paths = [row.path for row in waiting[key]]
        series = Counter(str(row.index.get(_SERIES) or "") for row in waiting[key])
        self._ledger.write(_expired(pipeline, key, paths, reason, series))
        for path in paths:
            self._spool.remove(self._spool.path_of(path))
        return len(paths)

    def _end(self, number: int, new: JobState, reason: str, summary: str | None = None) -> JobRecord:
        rows = [row for row in self._ledger.instances(job=number) if row.state is InstanceState.IN_JOB]
        held = [(row.SOPInstanceUID, str(self._spool.path_of(row.path))) for row in rows]
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
            self._trees[record.pipeline].known.forget(held)
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

    def _images(self, rows: Iterable[InstanceRecord]) -> list[tuple[LazyDataset, tuple[str, ...]]]:
        from dicomnode.dicom.reading.lazy import LazyDataset

        return [(LazyDataset(self._spool.path_of(row.path), row.index), tuple(row.inputs)) for row in rows]


def _changed_meanwhile(number: int, error: ValueError) -> JobStateError:
    return JobStateError(f"job {number} has changed in this moment: {error}")


def _counted(images: int) -> str:
    return f"{images} image{'s' * (images != 1)}"


def _by_series(images: Iterable[LazyDataset]) -> Counter[str]:
    """Return Series Instance UID -> number of images."""
    return Counter(str(image.SeriesInstanceUID) for image in images)


def _expired(
    pipeline: str, container_key: str, paths: Iterable[str], reason: str, series: Mapping[str, int]
) -> Write[None]:
    """Enter that a container was released, and nothing is fetched for it any more."""
    return together(
        discard_images(pipeline, series, reason),
        transition_instances(paths, InstanceState.EXPIRED, reason),
        end_histories(pipeline, container_key),
        no_longer_held(pipeline, container_key),
    )


_EARLIER = {
    JobState.QUEUED: EarlierState.UNBUILT,
    JobState.RUNNING: EarlierState.UNBUILT,
    JobState.BUILT: EarlierState.BUILT,
    JobState.FAILED: EarlierState.FAILED,
    JobState.UNDELIVERABLE: EarlierState.FAILED,
    JobState.DELIVERED: EarlierState.ENDED,
    JobState.DISCARDED: EarlierState.ENDED,
}
_STATION = {
    JobState.BUILT: Station.BUILT,
    JobState.DELIVERED: Station.DELIVERED,
    JobState.UNDELIVERABLE: Station.UNDELIVERED,
    JobState.DISCARDED: Station.RELEASED,
}


__all__ = ["Jobs"]
