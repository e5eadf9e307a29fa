"""The worker process itself: it is confined, and then runs one task after the other."""

from __future__ import annotations

import faulthandler
import importlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dicomnode.errors import JobFailedError
from dicomnode.host.foundation.linux import die_with_parent, obey_file_modes
from dicomnode.host.jobs.job_failure import failing_as
from dicomnode.host.workers.worker_channel import Channel
from dicomnode.host.workers.worker_settings import WorkerSettings

TASKS = {
    "run_job": "dicomnode.host.jobs.job",
    "describe_pipeline": "dicomnode.host.isolation.worker_tasks",
    "call_method": "dicomnode.host.isolation.worker_tasks",
}
"""The tasks of a worker: the name of a function, and the module that it is in."""


def confine_process(settings: WorkerSettings, log: int) -> None:
    """Give the process that calls it a session, limits and standard streams of its own."""
    die_with_parent(signal.SIGKILL)
    os.setsid()
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, standard)
    for descriptor in (nothing, log):
        os.close(descriptor)
    # One byte: a core pattern that is a pipe ignores 0, and both kinds write nothing at 1.
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    if settings.disk is not None:
        _lower(resource.RLIMIT_FSIZE, settings.disk)
    with suppress(OSError):
        os.nice(settings.nice)
    if os.geteuid() == 0:
        with suppress(OSError):
            obey_file_modes()  # inputs are read-only by their mode, for root's plugins too
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - a file of the kernel's
        file.write("500")  # where memory is short, the kernel ends a job, not the host
    faulthandler.enable()
    faulthandler.register(signal.SIGTERM, chain=True)  # so that the log shows where a job hung


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, hard))


def serve(connection: socket.socket) -> None:
    """Run the tasks that the supervisor sends, until it closes the connection."""
    channel = Channel(connection, blocking=True)
    while not channel.closed:
        for message in channel.receive():
            channel.send({"begun": True})
            result = _run_task(message["task"], message["argument"])
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            channel.send(result)


def _run_task(name: str, argument: dict[str, Any]) -> dict[str, Any]:
    try:
        with failing_as(name):
            return {"done": _function(name)(argument)}
    except JobFailedError as error:
        failure = {"kind": error.kind, "reason": str(error), "log_tail": error.log_tail}
        return {"failed": {**failure, "summary": error.summary}}


def _function(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    function: Callable[[dict[str, Any]], dict[str, Any]] = getattr(importlib.import_module(TASKS[name]), name)
    return function
