"""Warm worker processes behind the interface of :mod:`concurrent.futures`."""

from __future__ import annotations

import logging
import selectors
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dicomnode.errors import JobFailedError
from dicomnode.host.foundation.file_trees import TreeRemover
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_folder import building_folder, links_folder
from dicomnode.host.workers.selector_wakeup import SelectorWakeup
from dicomnode.host.workers.worker_child import TASKS
from dicomnode.host.workers.worker_limits import Limits
from dicomnode.host.workers.worker_process import Task, TaskResult, WorkerProcess
from dicomnode.host.workers.worker_settings import WorkerSettings

_LOG = logging.getLogger(__name__)

_END_TIMEOUT = 10.0
"""Seconds that a supervisor has to end all that is below it, once its connection is closed."""

_LONG_WAIT = 30.0
"""Seconds after which a waiting task gets the place of an idle worker that other tasks could use."""

_REMOVING = 10.0
"""Seconds that the end of the pool waits until what workers left is removed; the host's start goes on."""

_MOST_LOST_WORKERS = 2
"""How many workers may be lost before they begin with a task; with the next one it fails."""

_OWN_LIMITS = ("timeout", "memory", "disk")
"""The limits that a job may set itself."""


class WorkerPool(Executor):
    """Runs jobs in worker processes, one for each pipeline and job at a time, that stay warm between jobs.

    What is submitted is ``run_job`` (or another function named in
    :data:`~dicomnode.host.workers.worker_child.TASKS`) and one mapping of plain data. It is done by an idle
    worker of the same ``pipeline`` and ``environment``, else by a new one, else it waits. A worker whose job
    has failed, for whatever reason, is ended with everything that it started, and never used again.

    A future is settled on the pool's own thread, and so are its callbacks called: they must be quick. It
    fails with :class:`JobFailedError`, whose ``kind`` is a
    :class:`~dicomnode.host.jobs.job_failure.Failure`, and never hangs: a worker that does not answer within
    its timeout is taken for dead. A job that has not begun can be cancelled (``future.cancel()``), one that
    has begun can be ended (:meth:`terminate_job`).

    Parameters
    ----------
    max_workers : int
        How many worker processes there may be.
    limits : Limits
        For what a job does not set itself.
    settings : WorkerSettings
        How workers are confined.
    idle : float
        Seconds after which an idle worker is ended, and its memory (or its GPU's) is free again.
    scratch : pathlib.Path, optional
        Where workers have their current directories.

    Examples
    --------
    >>> from dicomnode.host.workers.worker_pool import WorkerPool
    >>> with WorkerPool() as pool:
    ...     pass
    """

    def __init__(
        self,
        max_workers: int = 8,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        settings: WorkerSettings = WorkerSettings(),  # noqa: B008 - frozen
        idle: float = 600.0,
        scratch: Path | None = None,
    ) -> None:
        self._most, self._limits, self._idle = max_workers, limits, idle
        self._settings = replace(settings, disk=settings.disk or limits.disk)
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._lock = threading.Lock()
        self._queue: deque[Task] = deque()
        self._to_end: dict[Future[Any], str] = {}
        self._closing = self._killing = False
        self._workers: list[WorkerProcess] = []
        self._ending: dict[WorkerProcess, float] = {}
        self._remover = TreeRemover()
        self._selector = selectors.DefaultSelector()
        self._wakeup = SelectorWakeup()
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        # Workers are started by this one thread, which lives as long as they may: the kernel ends them with
        # it.
        self._thread = threading.Thread(target=self._run, name="worker pool", daemon=True)
        self._thread.start()

    # -- the executor ---------------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task in a worker.

        Parameters
        ----------
        fn : callable
            ``run_job``.
        *args
            One mapping of plain data, :meth:`JobDescription.to_json`.

        Raises
        ------
        TypeError
            For anything else: nothing is pickled here.
        RuntimeError
            After :meth:`shutdown`.
        """
        name = getattr(fn, "__name__", "")
        if TASKS.get(name) != getattr(fn, "__module__", None):
            msg = f"a worker pool runs {', '.join(TASKS)}, not {fn!r}"
            raise TypeError(msg)
        if kwargs or len(args) != 1 or not isinstance(args[0], Mapping):
            msg = f"{name} takes one mapping of plain data"
            raise TypeError(msg)
        argument: Mapping[str, Any] = args[0]
        key = (str(argument.get("pipeline", "")), argument.get("environment"))
        folders = _folders(argument)
        given = {limit: argument[limit] for limit in _OWN_LIMITS if argument.get(limit) is not None}
        task = Task(
            name,
            argument,
            key,
            replace(self._limits, **given, folders=folders.written),
            folders.scratch,
            folders.leftovers,
        )
        with self._lock:
            if self._closing:
                msg = "the worker pool has been shut down"
                raise RuntimeError(msg)
            self._queue.append(task)
        self._wakeup.notify()
        return task.future

    def terminate_job(self, future: Future[Any], reason: str) -> bool:
        """End the job of a future, begun or not; the future fails as ``ENDED`` for that reason."""
        with self._lock:
            self._to_end[future] = reason
        self._wakeup.notify()
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more, finish what was taken (or cancel what has not begun), and end all workers."""
        with self._lock:
            self._closing = True
            cancelled = tuple(self._queue) if cancel_futures else ()
        for task in cancelled:
            task.future.cancel()
        self._wakeup.notify()
        if wait:
            self._thread.join()

    def terminate(self) -> None:
        """End every job and worker now."""
        with self._lock:
            self._closing = self._killing = True
        self._wakeup.notify()
        self._thread.join()

    def abandon(self) -> None:
        """End every job and worker, soon: returns at once, and takes no lock.

        For finalizers: garbage is collected in the midst of anything, also while this thread holds a lock
        that the pool's thread needs for its end, such as that of :func:`threading.enumerate`.
        """
        self._closing = self._killing = True
        self._wakeup.notify(wait=False)

    # -- the pool's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                self._end_requested()
                self._assign()
                if self._finished():
                    break
                self._wait()
                for worker in tuple(self._workers):
                    self._handle_messages(worker)
                self._reap_ended()
        except BaseException:
            _LOG.exception("the worker pool cannot go on; its jobs fail")
            self._fail_everything()
        self._selector.close()
        self._wakeup.close()
        self._remover.wait(_REMOVING)

    def _fail_everything(self) -> None:
        """Fail every task: after a mistake of ours no caller may wait for ever."""
        with self._lock:
            self._closing = True
            tasks = [*self._queue, *(worker.task for worker in self._workers if worker.task is not None)]
            self._queue.clear()
        for worker in (*self._workers, *self._ending):
            if (result := worker.reap()) is not None:
                self._remove_leftovers(result)
                tasks.append(result.task)
        for task in tasks:
            if not task.future.done():
                task.future.set_exception(JobFailedError("the worker pool has failed", Failure.NO_WORKER))

    def _finished(self) -> bool:
        with self._lock:
            if not self._closing or self._queue or any(worker.task for worker in self._workers):
                return False
        for worker in tuple(self._workers):
            self._retire(worker)
        return not self._ending

    def _wait(self) -> None:
        moments = [worker.deadline for worker in self._workers if worker.deadline is not None]
        moments += [worker.idle_since + self._idle for worker in self._workers if worker.task is None]
        moments += self._ending.values()
        pause = None if not moments else max(0.0, min(moments) - time.monotonic())
        if self._ending:
            pause = min(pause or 0.0, 0.02)
        for worker in self._workers:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.channel.unsent else 0)
            self._selector.modify(worker.channel, events)
        self._selector.select(pause)
        self._wakeup.clear()

    def _handle_messages(self, worker: WorkerProcess) -> None:
        worker.channel.flush()
        result = worker.receive()
        if worker.channel.closed or worker.failed:
            self._retire(worker)
        elif worker.deadline is not None and time.monotonic() > worker.deadline:
            self._retire(worker, patience=0.0)
        elif worker.task is None and time.monotonic() > worker.idle_since + self._idle:
            self._retire(worker)
        self._settle(result)

    def _settle(self, result: TaskResult | None) -> None:
        """Set the future of a task, or queue the task again if its worker was lost before it began."""
        if result is None:
            return
        self._remove_leftovers(result)
        if result.lost:
            result.task.count_lost_worker()
        if not result.lost or result.task.lost > _MOST_LOST_WORKERS:
            result.settle()
            return
        with self._lock:
            self._queue.appendleft(result.task)

    def _remove_leftovers(self, result: TaskResult) -> None:
        """Take away what worker and supervisor did not remove: nothing is in the way of another attempt."""
        task = result.task
        for folder in task.scratch if result.error is None else task.leftovers:
            self._remover.remove(Path(folder))

    def _retire(self, worker: WorkerProcess, patience: float = _END_TIMEOUT) -> None:
        """Close the connection of a worker; :meth:`_reap_ended` waits until it has ended."""
        self._workers.remove(worker)
        self._selector.unregister(worker.channel)
        worker.disconnect()
        self._ending[worker] = time.monotonic() + patience

    def _reap_ended(self) -> None:
        now = time.monotonic()
        for worker, until in tuple(self._ending.items()):
            if worker.ended or now > until:
                del self._ending[worker]
                self._settle(worker.reap())

    def _end_requested(self) -> None:
        """End the jobs that :meth:`terminate_job` named, in the queue and in workers."""
        with self._lock:
            asked, self._to_end = self._to_end, {}
            if self._killing:
                everything = [*self._queue, *(worker.task for worker in self._workers if worker.task)]
                asked |= dict.fromkeys((task.future for task in everything), "the host stops")
            waiting = [task for task in self._queue if task.future in asked]
        for task in waiting:
            self._dequeue(task, JobFailedError(asked[task.future], Failure.ENDED))
        for worker in self._workers:
            if worker.task is not None and worker.task.future in asked:
                worker.end_task(asked[worker.task.future])

    # -- which worker runs which task -----------------------------------------------------------------------

    def _assign(self) -> None:
        """Start every task that a worker can run now, in order.

        Warm workers come first: an idle one of another pipeline is ended to make room only when no task can
        use it, or when the task that needs the room has waited long.
        """
        late = time.monotonic() - _LONG_WAIT
        for task in self._waiting():
            worker = self._warm_worker(task)
            if worker is None and task.since < late:
                worker = self._new_worker(task)
            self._start(task, worker)
        for task in self._waiting():
            self._start(task, self._new_worker(task))

    def _waiting(self) -> Iterator[Task]:
        with self._lock:
            waiting = tuple(self._queue)
        for task in waiting:
            if task.future.cancelled():
                self._dequeue(task)
            else:
                yield task

    def _warm_worker(self, task: Task) -> WorkerProcess | None:
        """Return an idle worker of the task's pipeline and environment."""
        return next((each for each in self._workers if each.task is None and each.key == task.key), None)

    def _new_worker(self, task: Task) -> WorkerProcess | None:
        """Return a new worker, if there is room for one, or an idle one can be ended to make room."""
        if len(self._workers) >= self._most:
            idle = [worker for worker in self._workers if worker.task is None]
            if not idle:
                return None
            self._retire(min(idle, key=lambda worker: worker.idle_since))
        try:
            worker = WorkerProcess(task.key, self._settings, self._scratch, self._remover.remove)
        except OSError as error:
            self._dequeue(task, JobFailedError(f"no worker could be started: {error}", Failure.NO_WORKER))
            return None
        self._workers.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ)
        return worker

    def _start(self, task: Task, worker: WorkerProcess | None) -> None:
        if worker is None or not self._dequeue(task):
            return
        try:
            worker.begin(task)
        except (TypeError, ValueError) as error:
            task.future.set_exception(TypeError(f"{task.name} takes plain data: {error}"))

    def _dequeue(self, task: Task, error: Exception | None = None) -> bool:
        """Take a task from the queue, and return whether it is to be run."""
        with self._lock:
            self._queue.remove(task)
        wanted = task.future.running() or task.future.set_running_or_notify_cancel()
        if wanted and error is not None:
            task.future.set_exception(error)
        return wanted


@dataclass(frozen=True, slots=True)
class _Folders:
    """What a task writes to: nothing may be left of ``scratch``, and of ``leftovers`` if it failed."""

    written: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()


def _folders(argument: Mapping[str, Any]) -> _Folders:
    if "folder" not in argument:
        return _Folders()
    workdir = Path(argument["workdir"])
    folder = Path(argument["folder"])
    written = (str(workdir), str(building_folder(folder)))
    scratch = (*written, str(links_folder(workdir)))
    # A worker may fail after its result is in place, and before it has sent that.
    return _Folders(written, scratch, (*scratch, str(folder)))
