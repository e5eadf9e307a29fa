"""The supervisor of one worker process: between the host and the plugin, and part of neither.

It is a small process with one thread. It hands tasks to the worker, keeps its limits, holds the end of its
output, adopts processes that the plugin starts and leaves, and ends all of them when the worker has failed,
is not needed any more, or the host is gone. A worker that has failed is not used again, and neither is its
supervisor.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicomnode.host.foundation.file_trees import remove_tree
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.workers.process_tree import children, end_descendants
from dicomnode.host.workers.worker_channel import Channel
from dicomnode.host.workers.worker_limits import LimitMonitor, Limits
from dicomnode.host.workers.worker_log import LogTail
from dicomnode.host.workers.worker_settings import WorkerSettings

_IDLE_PAUSE = 1.0
_FLOOD_PAUSE = 0.05
_CLOSED_PAUSE = 1.0
_FLUSH_TIMEOUT = 5.0
_SHARE_OF_PATIENCE = 0.5
"""How much of the time that the host waits for a late supervisor may go into removing folders."""


class Supervisor:
    """Runs until the worker has ended, whatever the reason.

    Parameters
    ----------
    child : int
        The worker's process id.
    host, worker : Channel
        To the host, and to the worker.
    log : LogTail
        The worker's output.
    settings : WorkerSettings
        Its settings.
    """

    def __init__(
        self, child: int, host: Channel, worker: Channel, log: LogTail, settings: WorkerSettings
    ) -> None:
        self._child, self._host, self._worker, self._log, self._settings = child, host, worker, log, settings
        self._busy = self._begun = self._stopping = self._flooded = False
        self._status: int | None = None
        self._monitor = LimitMonitor(Limits())
        self._leftovers: list[str] = []
        self._idle_limits = Limits()
        self._selector = selectors.DefaultSelector()
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def run(self) -> None:
        """Hand tasks to the worker until it has ended; no process below this one is left then."""
        try:
            while not self._stopping:
                self._wait()
                self._handle_worker_messages()
                self._reap_children()
                self._handle_host_messages()
                self._check_limits()
        finally:
            end_descendants(os.getpid())
            self._remove_leftovers()
            self._flush_to_host()

    def _wait(self) -> None:
        """Wait for a message, output of the worker, a signal, or the next check of the limits."""
        pause = min(self._monitor.due() if self._busy else _IDLE_PAUSE, _IDLE_PAUSE)
        for channel in (self._host, self._worker):
            self._select_for(channel, selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.unsent else 0))
        self._select_for(
            self._log.descriptor, 0 if self._flooded or self._log.closed else selectors.EVENT_READ
        )
        self._selector.select(_FLOOD_PAUSE if self._flooded else pause)
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        self._flooded = self._log.read()
        for channel in (self._host, self._worker):
            channel.flush()

    def _select_for(self, source: Channel | int, events: int) -> None:
        registered = source in self._selector.get_map()
        if events and registered:
            self._selector.modify(source, events)
        elif events:
            self._selector.register(source, events)
        elif registered:
            self._selector.unregister(source)

    # -- messages of the host -------------------------------------------------------------------------------

    def _handle_host_messages(self) -> None:
        if self._stopping:
            return
        for message in self._host.receive():
            if "task" in message:
                self._begin(message)
            else:
                self._fail(Failure.ENDED, str(message["end"]))
                return
        if self._host.closed:
            self._stopping = True

    def _begin(self, message: dict[str, Any]) -> None:
        self._host.send(
            {"taken": True}
        )  # before the worker may begin: a task that was not taken may be run by another
        limits = Limits.from_json(message["limits"])
        self._log.read()
        self._log.clear()
        self._busy, self._monitor, self._leftovers = True, LimitMonitor(limits), message["leftovers"]
        self._idle_limits = replace(limits, timeout=None, folders=())
        self._begun = False
        self._worker.send({"task": message["task"], "argument": message["argument"]})

    # -- messages of the worker -----------------------------------------------------------------------------

    def _handle_worker_messages(self) -> None:
        try:
            for message in self._worker.receive():
                if not self._busy:
                    continue
                if "begun" in message:
                    self._begun = True
                    continue
                if "done" in message:
                    self._done(message["done"])
                    continue
                failure = message["failed"]
                kind, reason = Failure(failure["kind"]), str(failure["reason"])
                self._fail(kind, reason, str(failure["log_tail"]), summary=str(failure["summary"]))
                return
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"the worker sent something that is not a message: {type(error).__name__}"
            self._fail(Failure.CRASHED, reason)
            return
        if self._worker.closed and self._status is None:
            self._wait_for_child(_CLOSED_PAUSE)
            if self._status is None:
                reason = "the plugin closed the worker's connection to the host"
                self._fail(Failure.CRASHED, reason, message=self._failed_or_lost)

    def _done(self, result: dict[str, Any]) -> None:
        self._busy, self._monitor, self._leftovers = False, LimitMonitor(self._idle_limits), []
        self._end_orphans()
        self._log.read()
        self._host.send({"done": result, "log_tail": self._log.text()})

    def _end_orphans(self) -> None:
        """End processes that the plugin started and left. Children of the worker may stay warm with it."""
        if children(os.getpid()) - {self._child}:
            end_descendants(os.getpid(), besides=(self._child,))

    # -- the end --------------------------------------------------------------------------------------------

    def _reap_children(self) -> None:
        """Reap children that have ended: the worker, or processes that were adopted."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._child:
                    self._status = ended[1]
        if self._status is None or self._stopping:
            return
        self._handle_worker_messages()  # a result that was sent before the end counts
        self._fail(*self._failure_of_child(), message=self._failed_or_lost)

    @property
    def _failed_or_lost(self) -> str:
        """The message for a worker that has ended: lost, and not failed, if it never began with its task."""
        return "failed" if self._begun else "lost"

    def _wait_for_child(self, within: float) -> None:
        until = time.monotonic() + within
        while self._status is None and time.monotonic() < until:
            with suppress(ChildProcessError):
                pid, status = os.waitpid(self._child, os.WNOHANG)
                if pid:
                    self._status = status
                    return
            self._log.read()
            time.sleep(0.005)

    def _failure_of_child(self) -> tuple[Failure, str]:
        code = os.waitstatus_to_exitcode(self._status or 0)
        if code >= 0:
            who = "the plugin" if self._begun else "the worker"
            return Failure.EXITED, f"{who} ended its process with exit code {code}"
        if -code == signal.SIGKILL:
            return Failure.CRASHED, "the worker was killed (SIGKILL), by the kernel if memory ran out"
        return Failure.CRASHED, f"the worker crashed with {signal.Signals(-code).name}"

    def _check_limits(self) -> None:
        """End a worker that has passed a limit, and what an idle worker has started and left."""
        if self._stopping:
            return
        if not self._busy:
            self._end_orphans()
        if (breach := self._monitor.breach()) is not None:
            if breach[0] is Failure.TIMEOUT:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._child, signal.SIGTERM)
                self._wait_for_child(self._settings.grace)
            self._fail(*breach)

    def _fail(
        self, kind: Failure, reason: str, more: str = "", *, summary: str = "", message: str = "failed"
    ) -> None:
        """End everything, then send the failure: when the host knows of it, no process of the job runs."""
        self._stopping = True
        if not self._busy:
            return
        self._busy = False
        end_descendants(os.getpid())
        self._log.read()
        self._remove_leftovers()
        log_tail = "\n".join(filter(None, (self._log.text(), more)))
        failure = {"kind": kind.value, "reason": reason, "log_tail": log_tail, "summary": summary}
        self._host.send({message: failure})

    def _remove_leftovers(self) -> None:
        """Remove what the failed task wrote. What is left of it the host deals with, who waits no longer."""
        until = time.monotonic() + self._settings.patience * _SHARE_OF_PATIENCE
        for folder in self._leftovers:
            remove_tree(Path(folder), max(0.0, until - time.monotonic()))

    def _flush_to_host(self) -> None:
        """Send what the host has not read yet."""
        until = time.monotonic() + _FLUSH_TIMEOUT
        while self._host.unsent and time.monotonic() < until:
            time.sleep(0.005)
            self._host.flush()
