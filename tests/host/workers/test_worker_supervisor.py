"""The supervisor of a worker, as the host sees it: tasks and results over a socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomnode.host.workers.process_tree import children
from dicomnode.host.workers.worker_channel import Channel
from dicomnode.host.workers.worker_limits import Limits
from dicomnode.host.workers.worker_settings import WorkerSettings
from plugin_factory import PRELUDE, PluginFactory

PLUGIN = (
    PRELUDE
    + """
if os.environ.get("AT_IMPORT"):
    exec(os.environ["AT_IMPORT"])

class Pipeline(AbstractPipeline):
    inputs = {"images": Images}

    def process(self, inputs):
        return NoOutput()
"""
)

WRITES_TO_SOCKETS = """
for name in os.listdir("/proc/self/fd"):
    path = f"/proc/self/fd/{name}"
    if os.path.lexists(path) and os.readlink(path).startswith("socket:"):
        os.write(int(name), b"nonsense\\n")
time.sleep(60)
"""


class Supervised:
    """A supervisor with its worker, started as the host starts them.

    Parameters
    ----------
    plugins : pathlib.Path
        Where the plugin is installed.
    at_import : str
        What the plugin does when it is imported.
    """

    def __init__(self, plugins: Path, at_import: str = "") -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        settings = json.dumps(WorkerSettings(grace=0.1).to_json())
        module = "dicomnode.host.workers.worker_main"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno()), settings],
            pass_fds=(theirs.fileno(),), start_new_session=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(plugins), "AT_IMPORT": at_import, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        theirs.close()
        self.channel = Channel(ours, blocking=True)
        ours.settimeout(60)

    @property
    def worker(self) -> int:
        """The process of the worker."""
        found: set[int] = set()
        wait_for(lambda: found.update(children(self.process.pid)) or found)
        return found.pop()

    def send(self, **limits: Any) -> None:
        """Send a task that imports the plugin."""
        argument = {
            "pipeline": "watched", "plugin": None, "settings": {}, "declared": None, "disabled": [],
            "only": ["watched"],
        }  # fmt: skip
        message = {"task": "describe_pipeline", "argument": argument, "leftovers": []}
        self.channel.send({**message, "limits": Limits(**limits).to_json()})

    def receive(self, count: int = 1) -> list[dict[str, Any]]:
        """Receive messages."""
        found: list[dict[str, Any]] = []
        while len(found) < count and not self.channel.closed:
            found += self.channel.receive()
        return found


def wait_for(condition: Callable[[], object]) -> None:
    """Wait for what other processes do."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    """Start supervisors, and see that they end with their connection and leave no process."""
    PluginFactory(tmp_path).add("watched", PLUGIN)
    started: list[Supervised] = []

    def start(at_import: str = "") -> Supervised:
        started.append(Supervised(tmp_path, at_import))
        return started[-1]

    yield start
    for each in started:
        each.channel.close()
        each.process.wait(60)
        assert not children(each.process.pid)


def test_a_task_that_is_done(supervised: Callable[..., Supervised]) -> None:
    """A task is taken, then done, with what it wrote; the next one has the worker, and a log of its own."""
    one = supervised("print('imported')")
    one.send()
    taken, done = one.receive(2)
    assert taken == {"taken": True}
    assert done["done"]["described"]["distribution"] == "watched"
    assert done["log_tail"] == "imported\n"
    worker = one.worker
    one.send()
    _, done = one.receive(2)
    assert (done["log_tail"], one.worker) == ("", worker)


def test_a_task_that_fails(supervised: Callable[..., Supervised]) -> None:
    """A failure is sent when the worker has been ended, and the supervisor ends, too."""
    one = supervised("print('so far'); raise OSError('no weights')")
    worker = one.worker
    one.send()
    _, message = one.receive(2)
    assert message["failed"]["kind"] == "plugin"
    assert "no weights" in message["failed"]["reason"]
    assert message["failed"]["log_tail"].startswith("so far\n")
    assert not Path(f"/proc/{worker}").exists()
    assert one.process.wait(60) == 0


@pytest.mark.parametrize(
    ("at_import", "kind", "reason"),
    [
        ("os._exit(3)", "exited", "the plugin ended its process with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "the worker crashed with SIGSEGV"),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "crashed",
            "killed (SIGKILL), by the kernel if memory ran out",
        ),
        ("time.sleep(60)", "timeout", "it ran longer than its timeout of 5 s"),
        ("signal.signal(15, signal.SIG_IGN); time.sleep(60)", "timeout", "longer than its timeout of 5 s"),
        ("os.closerange(3, 64); time.sleep(60)", "crashed", "the plugin closed the worker's connection"),
        (WRITES_TO_SOCKETS, "crashed", "the worker sent something that is not a message"),
    ],
)
def test_a_worker_that_comes_to_an_end(
    supervised: Callable[..., Supervised], at_import: str, kind: str, reason: str
) -> None:
    """Whatever ends a worker with a task is the failure of the task, in words."""
    one = supervised(at_import)
    one.send(timeout=5.0 if kind == "timeout" else 60.0)
    _, message = one.receive(2)
    assert message["failed"]["kind"] == kind
    assert reason in message["failed"]["reason"]


def test_a_worker_that_ended_before_its_task(supervised: Callable[..., Supervised]) -> None:
    """A supervisor whose worker has ended takes no task or says it is lost: the host gives it to another."""
    one = supervised()
    worker = one.worker
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        os.kill(worker, signal.SIGKILL)
        one.send()
    finally:
        os.kill(one.process.pid, signal.SIGCONT)
    # Which of both depends on where the signal met it: before the task was read, or after.
    assert [next(iter(message)) for message in one.receive(2)] in ([], ["taken", "lost"])
    assert one.process.wait(60) == 0


def test_a_task_that_is_ended(supervised: Callable[..., Supervised]) -> None:
    """The host's request ends the worker, with the host's reason."""
    one = supervised("time.sleep(60)")
    one.send()
    assert one.receive() == [{"taken": True}]
    one.channel.send({"end": "the operator said so"})
    (message,) = one.receive()
    assert (message["failed"]["kind"], message["failed"]["reason"]) == ("ended", "the operator said so")


def test_processes_that_a_plugin_leaves(supervised: Callable[..., Supervised]) -> None:
    """A process that left the worker's tree is ended after the task, before its result is sent."""
    daemon = (
        "if os.fork() == 0:\n    os.setsid()\n    os.fork() and os._exit(0)\n    time.sleep(60)\nos.wait()"
    )
    one = supervised(daemon)
    worker = one.worker
    one.send()
    _, done = one.receive(2)
    assert "done" in done
    assert children(one.process.pid) == {worker}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(supervised: Callable[..., Supervised], number: signal.Signals) -> None:
    """A supervisor that is asked to end by a signal ends its worker first."""
    one = supervised()
    worker = one.worker
    one.send()
    one.receive(2)  # it has installed its handlers by then
    one.process.send_signal(number)
    assert one.process.wait(60) == 0
    assert not Path(f"/proc/{worker}").exists()
