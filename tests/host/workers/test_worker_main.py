"""The process that the host starts: a small supervisor, and a worker that is its child."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from dicomnode.host.workers.process_tree import children
from dicomnode.host.workers.worker_settings import WorkerSettings


def confined(pid: int) -> bool:
    """Say whether a worker has done what :func:`confine_process` does last."""
    return Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"


def test_a_supervisor_and_its_worker() -> None:
    """The worker has a session of its own and a log; both end when the host's connection is closed."""
    ours, theirs = socket.socketpair()
    module, settings = "dicomnode.host.workers.worker_main", WorkerSettings(nice=3)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(theirs.fileno()), json.dumps(settings.to_json())],
        pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
    ) as supervisor:  # fmt: skip
        theirs.close()
        deadline = time.monotonic() + 60
        while not (found := children(supervisor.pid)) or not confined(min(found)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (worker,) = found
        standard = [str(Path(f"/proc/{worker}/fd/{number}").readlink()) for number in range(3)]
        assert os.getsid(worker) == worker
        assert standard[0] == os.devnull
        assert standard[1] == standard[2]
        assert standard[1].startswith("pipe:")
        ours.close()
        assert supervisor.wait(60) == 0
    assert not Path(f"/proc/{worker}").exists()


def test_the_supervisor_imports_little() -> None:
    """It starts before the worker can, and stays beside it: neither pydicom nor numpy is loaded for it."""
    code = "import sys, dicomnode.host.workers.worker_main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pydicom", "pynetdicom", "pydantic"} & set(done.stdout.split())
