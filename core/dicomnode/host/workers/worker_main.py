"""``python -m dicomnode.host.workers.worker_main N SETTINGS``: a worker and its supervisor, on descriptor N.

The process that the host starts becomes the supervisor. It forks the worker while it has one thread and
nothing but this module's imports, so that the worker starts as fast as a fork and as clean as a new process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import NoReturn

from dicomnode.host.foundation.linux import adopt_orphans, die_with_parent
from dicomnode.host.workers.worker_channel import Channel
from dicomnode.host.workers.worker_log import LogTail
from dicomnode.host.workers.worker_settings import WorkerSettings
from dicomnode.host.workers.worker_supervisor import Supervisor


def main() -> None:
    """Fork, and be supervisor and worker."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    settings = WorkerSettings(**json.loads(sys.argv[2]))
    die_with_parent(signal.SIGTERM)
    adopt_orphans()
    ours, theirs = socket.socketpair()
    log, log_end = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        for end in (connection, ours):
            end.close()
        os.close(log)
        _run_worker(theirs, log_end, settings)
    theirs.close()
    os.close(log_end)
    host, worker = Channel(connection, blocking=False), Channel(ours, blocking=False)
    Supervisor(child, host, worker, LogTail(log, settings.log), settings).run()


def _run_worker(connection: socket.socket, log: int, settings: WorkerSettings) -> NoReturn:
    # Imported after the fork, so that the supervisor stays small.
    from dicomnode.host.workers.worker_child import confine_process, serve

    confine_process(settings, log)
    serve(connection)
    sys.exit(0)


if __name__ == "__main__":
    main()
