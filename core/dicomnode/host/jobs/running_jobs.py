"""The jobs that an executor runs, whichever executor that is, and how they are ended before their time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from dicomnode.host.jobs.job import run_job
from dicomnode.host.ledger.ledger_records import JobRecord
from dicomnode.plugins.terminable_executor import TerminableExecutor

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class RunningJob:
    """One attempt of a job.

    Attributes
    ----------
    record : JobRecord
        The job, as it was when the attempt began.
    future : concurrent.futures.Future
        What the executor gave for it.
    withdrawn : bool
        Whether nobody wants its result any more.
    unstoppable : bool
        Whether it was withdrawn, and goes on nevertheless: its executor can only run it to its end.
    """

    record: JobRecord
    future: Future[dict[str, Any]]
    withdrawn: bool = False
    unstoppable: bool = False


class RunningJobs:
    """Submits jobs to an executor, and ends them as far as that executor can.

    All but :attr:`unstoppable` is for one thread, the scheduler's.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        What runs :func:`~dicomnode.host.jobs.job.run_job`. One that is a
        :class:`~dicomnode.plugins.terminable_executor.TerminableExecutor` is asked to end jobs.
    ended : callable
        Called with each attempt that is over, on any thread.
    """

    def __init__(self, executor: Executor, ended: Callable[[RunningJob], None]) -> None:
        self._executor, self._ended = executor, ended
        self._running: dict[int, RunningJob] = {}

    def __contains__(self, number: int) -> bool:
        """Say whether a job runs."""
        return number in self._running

    def __len__(self) -> int:
        """Return how many run, withdrawn or not: each takes the place of another."""
        return len(self._running)

    @property
    def records(self) -> Iterable[JobRecord]:
        """The jobs that run."""
        return [each.record for each in self._running.values()]

    @property
    def awaited(self) -> int:
        """How many run whose results are wanted."""
        return sum(not each.withdrawn for each in self._running.values())

    @property
    def unstoppable(self) -> list[JobRecord]:
        """The jobs that were withdrawn and go on; any thread may ask."""
        return [each.record for each in self._running.copy().values() if each.unstoppable]

    def start(self, record: JobRecord, describe: Callable[[], Mapping[str, Any]]) -> None:
        """Submit a job. Where it cannot be described or submitted, it is over with that error.

        Parameters
        ----------
        record : JobRecord
            The job.
        describe : callable
            Returns what :func:`~dicomnode.host.jobs.job.run_job` takes.
        """
        future: Future[dict[str, Any]]
        try:
            future = self._executor.submit(run_job, describe())
        except Exception as error:
            future = Future()
            future.set_exception(error)
        running = self._running[record.id] = RunningJob(record, future)
        future.add_done_callback(lambda done: self._ended(running))  # noqa: ARG005 - the future is known

    def remove(self, number: int) -> None:
        """Count a job as not running any more."""
        self._running.pop(number, None)

    def withdraw(self, number: int) -> RunningJob | None:
        """End a job that runs, whose result nobody wants any more.

        Its executor ends it, if it can. Otherwise it is cancelled where it has not begun.

        Returns
        -------
        RunningJob or None
            The attempt, if it goes on.
        """
        running = self._running.get(number)
        if running is None or running.withdrawn:
            return None
        running.withdrawn = True
        ends = self._terminate(running.future) or running.future.cancel() or running.future.done()
        running.unstoppable = not ends
        return running if running.unstoppable else None

    def _terminate(self, future: Future[dict[str, Any]]) -> bool:
        if not isinstance(self._executor, TerminableExecutor):
            return False
        try:
            return self._executor.terminate_job(future, "the job was withdrawn")
        except Exception:
            _LOG.exception("the executor %s could not end a job", type(self._executor).__name__)
            return False


def end_executor(executor: Executor) -> None:
    """End what runs jobs, and as far as it can the jobs that still run."""
    if isinstance(executor, TerminableExecutor):
        executor.terminate()
    else:
        executor.shutdown(wait=False, cancel_futures=True)
