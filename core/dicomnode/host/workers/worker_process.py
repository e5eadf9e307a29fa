"""A worker as the host sees it: a process that was started, a connection to it, and what it is doing."""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.workers.process_tree import kill_processes_with_variable
from dicomnode.host.workers.worker_channel import Channel
from dicomnode.host.workers.worker_limits import Limits
from dicomnode.host.workers.worker_settings import WorkerSettings

_MARK = "DICOMNODE_WORKER"
"""The variable by which the processes of a worker are found when its supervisor is gone."""

_OWN_VARIABLES = "DICOMNODE_"
_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__")

WorkerKey = tuple[str, str | None]
"""Pipeline and environment: a worker runs tasks of one key."""


@dataclass(slots=True, eq=False)
class Task:
    """A function to be run in a worker, and the future of its result."""

    name: str
    argument: Mapping[str, Any]
    key: WorkerKey
    limits: Limits
    scratch: Sequence[str] = ()
    """Folders of which nothing may be left when it has ended."""
    leftovers: Sequence[str] = ()
    """Folders of which nothing may be left when it has failed."""
    since: float = field(default_factory=time.monotonic)
    """Since when it waits."""
    lost: int = 0
    """How many workers were lost before they began with it."""
    future: Future[Any] = field(default_factory=Future)

    def count_lost_worker(self) -> None:
        """Count a worker that was lost before it began with the task."""
        self.lost += 1


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of a task, or why there is none.

    Attributes
    ----------
    task : Task
        Which.
    result : mapping or None
        What it returned.
    error : JobFailedError or None
        Why it failed.
    lost : bool
        Whether its worker went before it had begun, so that another one may run it.
    """

    task: Task
    result: Mapping[str, Any] | None = None
    error: JobFailedError | None = None
    lost: bool = False

    @classmethod
    def from_message(cls, task: Task, message: Mapping[str, Any]) -> TaskResult:
        """Read the message of a supervisor."""
        if "done" in message:
            return cls(task, {**message["done"], "log_tail": message["log_tail"]})
        failure = message["lost" if "lost" in message else "failed"]
        error = JobFailedError(
            failure["reason"], Failure(failure["kind"]), failure["log_tail"], summary=failure["summary"]
        )
        return cls(task, error=error, lost="lost" in message)

    def settle(self) -> None:
        """Set the task's future."""
        if self.error is not None:
            self.task.future.set_exception(self.error)
        else:
            self.task.future.set_result(self.result)


class WorkerProcess:
    """One worker and its supervisor.

    Starting one is quick: it returns before the other process runs.

    Parameters
    ----------
    key : (str, str or None)
        Which tasks it runs.
    settings : WorkerSettings
        How it is confined.
    scratch : pathlib.Path
        Where its current directory is made.
    remove : callable
        Removes a folder, soon; it returns at once and raises nothing.

    Attributes
    ----------
    task : Task or None
        The task that it runs.
    failed : bool
        Whether a task of it has failed: it is not used again.

    Raises
    ------
    OSError
        When the process cannot be started.
    """

    def __init__(
        self, key: WorkerKey, settings: WorkerSettings, scratch: Path, remove: Callable[[Path], None]
    ) -> None:
        self.key, self._remove = key, remove
        self.task: Task | None = None
        self.failed = self._taken = False
        self._end_reason: str | None = None
        self.idle_since = time.monotonic()
        self._mark = secrets.token_hex(16)
        self._deadline: float | None = None
        self._patience = settings.patience
        self.folder = Path(tempfile.mkdtemp(prefix="worker-", dir=scratch))
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [
                    python_of(key[1]), "-P", "-m", "dicomnode.host.workers.worker_main",
                    str(theirs.fileno()), json.dumps(settings.to_json()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                cwd=self.folder,
                env={**environment_variables(key[1]), _MARK: self._mark, "TMPDIR": str(self.folder)},
            )  # fmt: skip
        except OSError:
            ours.close()
            self._remove(self.folder)
            raise
        finally:
            theirs.close()
        self.channel = Channel(ours, blocking=False)

    # -- work -----------------------------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """Hand a task over. Its future has been set running.

        Raises
        ------
        TypeError, ValueError
            When its argument is not plain data.
        """
        limits = replace(task.limits, folders=(*task.limits.folders, str(self.folder)))
        self.channel.send(
            {
                "task": task.name,
                "argument": dict(task.argument),
                "limits": limits.to_json(),
                "leftovers": list(task.leftovers),
            }
        )
        self.task, self._taken = task, False
        if task.limits.timeout is not None:
            self._deadline = time.monotonic() + task.limits.timeout + self._patience

    def end_task(self, reason: str) -> None:
        """Have the supervisor end the task; its future fails when that has been done."""
        if self._end_reason is None:
            self._end_reason = reason
            self._deadline = min(self._deadline or math.inf, time.monotonic() + self._patience)
            self.channel.send({"end": reason})

    @property
    def deadline(self) -> float | None:
        """When a supervisor that has not sent a result is taken for dead, on the monotonic clock."""
        return self._deadline if self.task is not None else None

    def receive(self) -> TaskResult | None:
        """Read the messages that have come, and return the result of the task, if it is over."""
        try:
            for message in self.channel.receive():
                if "taken" in message:
                    self._taken = True
                    continue
                task, self.task = self.task, None
                self.failed = "done" not in message
                self._deadline, self.idle_since = None, time.monotonic()
                if task is not None:
                    result = TaskResult.from_message(task, message)
                    return self._ended_result(task, "") if result.lost and self._end_reason else result
        except (ValueError, KeyError, TypeError):
            self.channel.mark_closed()  # what comes is no message: the stream cannot be used any more
        return None

    # -- the end --------------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Close the connection: the supervisor then ends everything, and itself."""
        self.channel.close()

    @property
    def ended(self) -> bool:
        """Whether the supervisor has ended."""
        return self._process.poll() is not None

    def reap(self) -> TaskResult | None:
        """End the supervisor, remove what is left of the worker, and return its task's result, if any."""
        self.channel.close()
        overdue = self.deadline is not None and time.monotonic() > self.deadline
        with suppress(ProcessLookupError):
            self._process.kill()
        code = self._process.wait()
        stderr = b""
        if self._process.stderr is not None:
            os.set_blocking(self._process.stderr.fileno(), False)
            with suppress(OSError):
                stderr = self._process.stderr.read() or b""
            self._process.stderr.close()
        if code != 0:  # it may have left something behind
            kill_processes_with_variable(_MARK, self._mark)
        self._remove(self.folder)
        task, self.task = self.task, None
        if task is None:
            return None
        text = stderr.decode("utf-8", "replace")
        last = (text.strip().splitlines() or ["it wrote nothing"])[-1]
        if self._end_reason is not None:
            return self._ended_result(task, text)
        reason = f"the worker process ended with status {code} before it had a result: {last}"
        # A supervisor says that it has taken a job before the worker has it: one that was killed before it
        # said so has begun nothing. One that ended by itself with an error (an interpreter that cannot start)
        # would do so again.
        lost = not self._taken and code <= 0 and not overdue
        return TaskResult(task, error=JobFailedError(reason, Failure.NO_WORKER, text), lost=lost)

    def _ended_result(self, task: Task, log_tail: str) -> TaskResult:
        """Return the result of a task that was to be ended and whose worker went: no other one runs it."""
        return TaskResult(task, error=JobFailedError(self._end_reason or "", Failure.ENDED, log_tail))


def python_of(environment: str | None) -> str:
    """Return the interpreter of a virtual environment, or of the host."""
    return sys.executable if environment is None else str(Path(environment) / "bin" / "python")


def environment_variables(environment: str | None) -> dict[str, str]:
    """Return the variables of a process of a virtual environment, or of the host's own.

    They are the host's, without its own settings, which may be secrets; for another environment without what
    would let it import the host's packages, and with its programs first.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_VARIABLES)}
    kept["PYTHONUNBUFFERED"] = "1"
    if environment is not None:
        for name in _PYTHON_VARIABLES:
            kept.pop(name, None)
        programs = Path(python_of(environment)).parent
        kept["PATH"] = os.pathsep.join((str(programs), kept.get("PATH", os.defpath)))
        kept["VIRTUAL_ENV"] = environment
    return kept
