"""The station that runs jobs: from the ledger's queue to an executor, and from there to the outbox."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Executor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dicomnode.errors import DicomnodeError, JobFailedError
from dicomnode.host.configuration.configured_pipeline import ConfiguredPipeline
from dicomnode.host.foundation.error_text import loggable_text
from dicomnode.host.foundation.events import Event, Events, Station
from dicomnode.host.foundation.failpoints import failpoint
from dicomnode.host.foundation.free_space import FreeSpace
from dicomnode.host.jobs.delivery_planning import plan_deliveries, with_folders
from dicomnode.host.jobs.job import JobDescription
from dicomnode.host.jobs.job_events import JobEvents
from dicomnode.host.jobs.job_failure import Failure, failure_word
from dicomnode.host.jobs.job_folder import read_manifest
from dicomnode.host.jobs.jobs import Jobs
from dicomnode.host.jobs.running_jobs import RunningJob, RunningJobs
from dicomnode.host.ledger.ledger import Ledger
from dicomnode.host.ledger.ledger_records import InstanceRecord, JobRecord
from dicomnode.host.ledger.ledger_writes import Write, job_built, together, transition_job
from dicomnode.host.ledger.provenance_ledger import record_provenance
from dicomnode.host.ledger.states import InstanceState, JobState
from dicomnode.host.spool.data_directory import DataDirectory
from dicomnode.host.spool.spool import Spool
from dicomnode.pipeline.destination import Destination
from dicomnode.pipeline.outputs import PipelineOutput

_LOG = logging.getLogger(__name__)
_LONGEST_LOG = 64 * 1024
_PAUSE = 1.0
_UNTIL_THERE_IS_ROOM = 5.0
_MOST_PASSED = 20
"""How many jobs of other pipelines may begin while one has a job that waits for a worker alone."""


class Scheduler:
    """Runs queued jobs, as many at once as pipelines and resources allow, each pipeline's oldest first.

    Where the host bounds how many run over all pipelines, the higher priority goes first, then the older job;
    a pipeline that was passed over :data:`_MOST_PASSED` times goes next, whatever its priority.

    Parameters
    ----------
    ledger : Ledger
    jobs : Jobs
        Who tells what becomes of a job.
    configured_pipelines : mapping of str to ConfiguredPipeline
        The configured pipelines by name.
    executor : concurrent.futures.Executor
        What runs :func:`~dicomnode.host.jobs.job.run_job`; see :class:`.RunningJobs`.
    data : DataDirectory
    spool : Spool
    destinations : mapping of str to Destination
        Every configured destination.
    output_class : callable
        Entry-point name of an output -> its class.
    events : Events
    job_events : JobEvents
        What says that a job was queued, and is told of results.
    resources : mapping of str to int
        What running jobs share.
    workers : int, optional
        How many jobs run at once over all pipelines; by default as many as the pipelines allow.
    describe : callable
        Makes the description of a job; see :func:`describe_job`.
    least_free : int
        Bytes of the disk without which no job is started: it could only fail.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        jobs: Jobs,
        configured_pipelines: Mapping[str, ConfiguredPipeline],
        executor: Executor,
        data: DataDirectory,
        spool: Spool,
        destinations: Mapping[str, Destination],
        output_class: Callable[[str], type[PipelineOutput]],
        events: Events,
        job_events: JobEvents,
        resources: Mapping[str, int],
        describe: Callable[[JobRecord, ConfiguredPipeline, Iterable[InstanceRecord]], JobDescription],
        workers: int | None = None,
        least_free: int = 0,
    ) -> None:
        self._ledger, self._jobs, self._configured_pipelines = ledger, jobs, configured_pipelines
        self._data, self._spool, self._destinations = data, spool, destinations
        self._output_class, self._events, self._resources = output_class, events, Counter(resources)
        self._describe = describe
        self._least_free, self._full, self._free = least_free, False, FreeSpace(data.root)
        self._workers = workers
        self._passed: Counter[str] = Counter()
        self._running = RunningJobs(executor, lambda run: self._messages.put(partial(self._end, run)))
        self._undone: list[Callable[[], None]] = []
        self._ready: dict[int, tuple[int, float]] = {}
        self._messages: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._job_events = job_events
        job_events.queued.subscribe(self.wake)
        job_events.withdrawn.subscribe(lambda number: self._messages.put(partial(self._withdraw, number)))

    def start(self) -> None:
        """Begin to run jobs."""
        self._thread.start()

    @property
    def unstoppable(self) -> list[JobRecord]:
        """Jobs that were withdrawn, and that the executor cannot end: it runs them to their end."""
        return self._running.unstoppable

    def wake(self) -> None:
        """Look into the ledger: there is something new. Returns at once."""
        self._messages.put(lambda: None)

    def stop(self, grace: float) -> None:
        """Start no more jobs, and give those that run `grace` seconds. The others are queued again."""
        self._stopping.set()
        self.wake()
        if self._thread.ident is None:
            return
        self._thread.join(grace)
        if self._thread.is_alive():
            _LOG.warning("%d jobs are cut off; they run again after the next start", self._running.awaited)
            self._idle.set()
            self.wake()
            self._thread.join()

    # -- the scheduler's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        wait: float | None = 0.0
        while True:
            with suppress(queue.Empty):
                self._undone.append(self._messages.get(timeout=wait))
            try:
                while self._undone:
                    self._undone[0]()
                    del self._undone[0]
                if self._stopping.is_set():
                    if not self._running.awaited or self._idle.is_set():
                        return
                    wait = None
                else:
                    wait = self._start_jobs()
            except Exception as error:  # the ledger cannot be written, say: nothing is forgotten meanwhile
                _LOG.error("the scheduler cannot go on with a job: %s; it tries again", loggable_text(error))
                _LOG.debug("the reason", exc_info=True)
                wait = _PAUSE
                if self._stopping.is_set() and self._idle.is_set():
                    return

    def _start_jobs(self) -> float | None:
        """Start what may run now; return the seconds until something else may, or None."""
        if self._no_room():
            return _UNTIL_THERE_IS_ROOM
        soonest: float | None = None
        per_pipeline: Counter[str] = Counter(job.pipeline for job in self._running.records)
        blocked: set[str] = set()
        started: Counter[str] = Counter()
        left: set[str] = set()
        for job in self._in_turn():
            configured = self._configured_pipelines[job.pipeline]
            if job.pipeline in blocked or per_pipeline[job.pipeline] >= configured.policy.concurrency:
                continue
            wait = self._wait_of(job, configured)
            if wait > 0:
                soonest = wait if soonest is None else min(soonest, wait)
                if configured.policy.in_order:
                    blocked.add(job.pipeline)
                continue
            if not self._fits(configured):
                blocked.add(job.pipeline)
                continue
            if self._workers is not None and len(self._running) >= self._workers:
                left.add(job.pipeline)
                continue
            per_pipeline[job.pipeline] += 1
            started[job.pipeline] += 1
            self._start(job, configured)
        self._count_passed(started, left)
        return soonest

    def _count_passed(self, started: Counter[str], left: set[str]) -> None:
        """Count how many jobs of others began while a pipeline's waited for nothing but a worker."""
        for name in started:
            self._passed.pop(name, None)
        for name in left - set(started):
            self._passed[name] += started.total()

    def _no_room(self) -> bool:
        """Say whether the disk is too full for any job; tell of it once."""
        full = bool(self._least_free) and self._free() < self._least_free
        if full != self._full:
            self._full = full
            message = "jobs wait: the disk is full" if full else "jobs go on: there is room on the disk"
            self._events.tell(Event(Station.JOB, message, level=logging.ERROR if full else logging.WARNING))
        return full

    def _wait_of(self, job: JobRecord, configured: ConfiguredPipeline) -> float:
        """Return the seconds until a job may run.

        The ledger says it in wall-clock time, for after a restart; while the host runs, a clock that jumps
        must not matter, and never is a wait longer than the back-off itself.
        """
        if not job.not_before:
            return 0.0
        known = self._ready.get(job.id)
        if known is None or known[0] != job.attempts:
            longest = _back_off(configured, job.attempts)
            left = min(max(0.0, job.not_before - time.time()), longest)
            known = self._ready[job.id] = (job.attempts, time.monotonic() + left)
        return known[1] - time.monotonic()

    def _in_turn(self) -> list[JobRecord]:
        """Return the queued jobs that may have their turn: by priority, then by age.

        Those of pipelines that were passed over too often come before all others.
        """
        queued = [
            job
            for name, configured in self._configured_pipelines.items()
            for job in self._ledger.queued_jobs(name, configured.policy.concurrency)
            if job.id not in self._running  # withdrawn and queued anew: what runs of it ends first
        ]

        def fairness(job: JobRecord) -> tuple[bool, int, int]:
            priority = self._configured_pipelines[job.pipeline].policy.priority
            return self._passed[job.pipeline] < _MOST_PASSED, -priority, job.id

        return sorted(queued, key=fairness)

    def _fits(self, configured: ConfiguredPipeline) -> bool:
        used: Counter[str] = Counter()
        for job in self._running.records:
            used.update(self._configured_pipelines[job.pipeline].policy.resources)
        return all(
            used[name] + count <= self._resources[name] for name, count in configured.policy.resources.items()
        )

    def _start(self, job: JobRecord, configured: ConfiguredPipeline) -> None:
        attempt = job.attempts + 1
        rows = tuple(self._ledger.instances(job=job.id))
        try:
            record = self._ledger.write(
                transition_job(job.id, JobState.RUNNING, f"attempt {attempt}", attempts=attempt)
            )
        except ValueError:  # discarded in the meantime
            return
        failpoint("job claimed")
        self._jobs.changed(record, f"runs (attempt {attempt})")
        self._running.start(record, lambda: self._checked_description(record, configured, rows))

    def _checked_description(
        self, job: JobRecord, configured: ConfiguredPipeline, rows: Sequence[InstanceRecord]
    ) -> dict[str, Any]:
        _check_whole(rows)
        return self._describe(job, configured, rows).to_json()

    def _withdraw(self, number: int) -> None:
        """End a job that runs and is not wanted any more; say so where its executor cannot."""
        run = self._running.withdraw(number)
        if run is not None:
            message = "what runs it cannot be ended: it may go on running, and its result will be dropped"
            self._tell(run.record, message, "", level=logging.WARNING)

    def _end(self, run: RunningJob) -> None:
        job = run.record
        self._running.remove(job.id)
        self._ready.pop(job.id, None)
        if run.withdrawn:
            self._drop(run)
            return
        configured = self._configured_pipelines[job.pipeline]
        try:
            folder = Path(run.future.result()["folder"])
            failpoint("output built")
            self._built(job, configured, folder)
        except sqlite3.Error:
            raise
        except (Exception, CancelledError) as error:
            self._failed(job, configured, error)

    def _drop(self, run: RunningJob) -> None:
        """Remove what a job gave that was withdrawn."""
        with suppress(Exception):  # it ended with an error, or was cancelled: there is nothing of it
            folder = Path(run.future.result()["folder"])
            self._jobs.remove_result(_with_folder(run.record, folder, self._data.outbox))
        if run.unstoppable:
            self._tell(run.record, "what ran on has ended; its result is dropped", "", level=logging.WARNING)

    def _built(self, job: JobRecord, configured: ConfiguredPipeline, folder: Path) -> None:
        manifest = read_manifest(folder)
        plan = plan_deliveries(
            [with_folders(item, job) for item in manifest.items],
            configured.destinations,
            self._destinations,
            output_class=self._output_class,
            outbox=self._data.outbox,
        )
        try:
            built = job_built(job.id, str(folder.relative_to(self._data.outbox)), plan)
            origin = record_provenance(job.id, manifest.plain, self._spool.name_of)
            record = self._ledger.write(together(built, origin))
        except ValueError:  # discarded or superseded in this moment
            self._jobs.remove_result(_with_folder(job, folder, self._data.outbox))
            return
        failpoint("job built")
        if warnings := manifest.warnings:
            message = f"the output check has {len(warnings)} warning{'s' * (len(warnings) != 1)}"
            self._tell(record, f"{message}: show {job.id}", "; ".join(warnings), level=logging.WARNING)
        count = f"{len(manifest.items)} result{'s' * (len(manifest.items) != 1)}"
        self._jobs.changed(record, f"{count} in the outbox, {len(plan)} to deliver")
        self._job_events.deliveries_entered.notify()

    def _failed(self, job: JobRecord, configured: ConfiguredPipeline, error: BaseException) -> None:
        ended = isinstance(error, CancelledError) or failure_word(error) == Failure.ENDED
        kind = failure_word(error)
        reason = str(error) if isinstance(error, DicomnodeError) else f"{type(error).__name__}: {error}"
        log = getattr(error, "log_tail", "")[-_LONGEST_LOG:] if isinstance(error, JobFailedError) else ""
        words = error.summary if isinstance(error, JobFailedError) else ""
        summary = f"{kind}: {words}" if words else kind
        try:
            if ended:  # by the host or the operator: no attempt of the plugin's
                record = self._ledger.write(
                    self._move(job, JobState.QUEUED, "cut off", attempts=job.attempts - 1)
                )
                self._jobs.changed(record, "cut off; it runs again")
            elif kind == Failure.DISK and self._no_room():  # nor is this one
                record = self._ledger.write(
                    self._move(
                        job, JobState.QUEUED, reason, attempts=job.attempts - 1, log=log, summary=summary
                    )
                )
                self._jobs.changed(record, "waits for room on the disk", reason, level=logging.WARNING)
            elif job.attempts < configured.table.attempts and kind != Failure.DAMAGED:
                wait = _back_off(configured, job.attempts)
                record = self._ledger.write(
                    self._move(
                        job,
                        JobState.QUEUED,
                        reason,
                        not_before=time.time() + wait,
                        log=log,
                        summary=summary,
                    )
                )
                message = f"attempt {job.attempts} failed ({kind}); again in {wait:g} s"
                self._jobs.changed(record, message, reason, level=logging.WARNING)
            else:
                record = self._ledger.write(
                    self._move(job, JobState.FAILED, reason, log=log, summary=summary)
                )
                count = f"{job.attempts} attempt{'s' * (job.attempts != 1)}"
                message = f"failed ({kind}) after {count}: a dead letter, its inputs are kept"
                self._jobs.changed(record, message, reason, level=logging.ERROR)
        except ValueError:  # in this moment
            _LOG.info("job %d was discarded or superseded while it ran", job.id)

    @staticmethod
    def _move(job: JobRecord, new: JobState, reason: str, **values: Any) -> Write[JobRecord]:
        """Change the state of a job that ran: one that was withdrawn meanwhile, or queued anew, stays so."""
        return transition_job(job.id, new, reason, only_from=JobState.RUNNING, **values)

    def _tell(self, job: JobRecord, message: str, detail: str, *, level: int) -> None:
        self._events.tell(
            Event(Station.JOB, message, pipeline=job.pipeline, job=str(job.id), detail=detail, level=level)
        )


def _check_whole(rows: Sequence[InstanceRecord]) -> None:
    """Check that every input of a job is still one: not one of them may be missing without notice."""
    gone = sum(row.state is not InstanceState.IN_JOB for row in rows)
    if gone:
        msg = (
            f"{gone} of its {len(rows)} input files have gone from the spool: discard the job, and send the"
            " images again"
        )
        raise JobFailedError(msg, Failure.DAMAGED)


def _back_off(configured: ConfiguredPipeline, attempts: int) -> float:
    """Return the seconds between a failed attempt and the next."""
    return configured.table.retry_after * 2.0 ** max(0, attempts - 1)


def _with_folder(job: JobRecord, folder: Path, outbox: Path) -> JobRecord:
    return replace(job, folder=str(folder.relative_to(outbox)))
