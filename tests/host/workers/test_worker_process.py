"""A worker as the host sees it: tasks go out, results come back, and nothing is left at its end."""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomnode.host.foundation.file_trees import remove_tree
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.workers.process_tree import children, processes_with_variable
from dicomnode.host.workers.worker_limits import Limits
from dicomnode.host.workers.worker_process import (
    Task,
    TaskResult,
    WorkerProcess,
    environment_variables,
    python_of,
)
from dicomnode.host.workers.worker_settings import WorkerSettings

NOBODY = {"pipeline": "nobody", "plugin": None, "settings": {}, "declared": None, "disabled": [], "only": []}
"""A request of a pipeline that is not installed: a task that fails, and needs no plugin."""


def task(**argument: object) -> Task:
    """Return a task that fails in the worker."""
    return Task("describe_pipeline", {**NOBODY, **argument}, ("nobody", None), Limits(timeout=60.0))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    """Start a worker, and leave nothing of it."""
    worker = WorkerProcess(("nobody", None), WorkerSettings(), tmp_path, remove_tree)
    yield worker
    if worker.folder.exists():
        worker.disconnect()
        worker.reap()
    assert not list(tmp_path.iterdir())


def received(worker: WorkerProcess, until: Callable[[TaskResult | None], object]) -> TaskResult | None:
    """Receive until a condition holds."""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.channel, selectors.EVENT_READ)
        while not until(result := worker.receive()):
            assert selector.select(60.0)
    return result


# -- the whole worker ---------------------------------------------------------------------------------------


def test_a_task_that_fails(worker: WorkerProcess) -> None:
    """The result carries the failure of the worker, and the worker is not to be used again."""
    done = task()
    worker.begin(done)
    assert worker.task is done
    assert worker.deadline is not None
    result = received(worker, bool)
    assert result is not None
    assert result.error is not None
    assert (result.task, result.error.kind, result.lost) == (done, Failure.PLUGIN, False)
    assert worker.failed
    assert (worker.task, worker.deadline) == (None, None)


def test_a_task_that_is_ended(worker: WorkerProcess) -> None:
    """The first reason is the one that counts, and the task is not run by another worker."""
    worker.begin(task())
    worker.end_task("the operator said so")
    worker.end_task("the host stops")
    result = received(worker, bool)
    assert result is not None
    assert result.error is not None
    assert not result.lost
    if result.error.kind == Failure.ENDED:  # it may have failed before that
        assert str(result.error) == "the operator said so"


def test_a_supervisor_that_was_killed_before_it_took_a_task(worker: WorkerProcess) -> None:
    """The task was lost, so that another worker may run it, and no process of the worker is left."""
    supervisor = worker._process
    worker_pid = wait_for(lambda: children(supervisor.pid)).pop()
    supervisor.kill()
    supervisor.wait()
    worker.begin(task())
    result = worker.reap()
    assert result is not None
    assert result.lost
    wait_for(lambda: not Path(f"/proc/{worker_pid}").exists())


def test_a_supervisor_that_was_killed_with_a_task(worker: WorkerProcess) -> None:
    """A task that was taken may have begun: it fails, and no other worker runs it."""
    wait_for(lambda: children(worker._process.pid))
    worker._taken = True
    worker.task = task()
    worker._process.kill()
    result = worker.reap()
    assert result is not None
    assert result.error is not None
    assert (result.error.kind, result.lost) == (Failure.NO_WORKER, False)
    assert "ended with status -9 before it had a result: it wrote nothing" in str(result.error)
    assert processes_with_variable("DICOMNODE_WORKER", worker._mark) == set()


def test_what_is_no_message(worker: WorkerProcess) -> None:
    """After something that no supervisor sends the connection is not used any more."""
    worker.channel._received += b"[]\n"
    assert worker.receive() is None
    assert worker.channel.closed


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    """A worker that cannot be started leaves no folder."""
    with pytest.raises(FileNotFoundError):
        WorkerProcess(("p", str(tmp_path / "none")), WorkerSettings(), tmp_path, remove_tree)
    assert not list(tmp_path.iterdir())


def wait_for(condition: Callable[[], set[int] | bool]) -> set[int] | bool:
    """Wait for what another process does."""
    until = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


# -- results ------------------------------------------------------------------------------------------------


def test_a_result_is_settled() -> None:
    """The future has what the task returned, with the end of its output."""
    done = task()
    TaskResult.from_message(done, {"done": {"folder": "/f"}, "log_tail": "said"}).settle()
    assert done.future.result(0) == {"folder": "/f", "log_tail": "said"}


@pytest.mark.parametrize("message", ["failed", "lost"])
def test_a_failure_is_settled(message: str) -> None:
    """The future has the failure; only a task that never began is lost."""
    done = task(id=7)
    failure = {"kind": "crashed", "reason": "it crashed", "log_tail": "said", "summary": "short"}
    result = TaskResult.from_message(done, {message: failure})
    assert result.lost is (message == "lost")
    result.settle()
    error = done.future.exception(0)
    assert (str(error), getattr(error, "kind", None)) == ("it crashed", Failure.CRASHED)


# -- environments -------------------------------------------------------------------------------------------


def test_the_interpreter_of_an_environment() -> None:
    """It is the environment's own, and this one where there is none."""
    assert python_of(None) == sys.executable
    assert python_of("/venv") == "/venv/bin/python"


def test_the_variables_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own settings stay with the host; in another environment its packages cannot be imported."""
    for name, value in {"DICOMNODE_SECRET": "s", "PYTHONPATH": "/host", "KEPT": "k", "PATH": "/bin"}.items():
        monkeypatch.setenv(name, value)
    own, other = environment_variables(None), environment_variables("/venv")
    assert "DICOMNODE_SECRET" not in own.keys() | other.keys()
    assert (own["PYTHONPATH"], own["KEPT"], own["PATH"]) == ("/host", "k", "/bin")
    assert "PYTHONPATH" not in other
    assert (other["KEPT"], other["PATH"]) == ("k", f"/venv/bin{os.pathsep}/bin")
    assert other["VIRTUAL_ENV"] == "/venv"
