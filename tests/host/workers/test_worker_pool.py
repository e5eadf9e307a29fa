"""The worker pool as an executor: who does which job, what is warm, and how it comes to an end."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from dicomnode.errors import JobFailedError
from dicomnode.host.jobs.job import run_job
from dicomnode.host.jobs.job_failure import Failure
from dicomnode.host.jobs.job_folder import read_manifest
from dicomnode.host.workers.worker_pool import WorkerPool
from own_processes import started, started_here
from plugin_factory import SCRIPTED, PluginFactory, job_of

PID = "result = FileOutput({'pid': str(os.getpid())})"


class Client:
    """Submits jobs of plugins that do what they are told."""

    def __init__(self, pool: WorkerPool, root: Path) -> None:
        self.pool, self.root = pool, root

    def submit(self, code: str = PID, plugin: str = "one", **given: Any) -> Future[dict[str, Any]]:
        """Submit a job."""
        job = job_of(plugin, self.root, settings={"code": code}, **given)
        return self.pool.submit(run_job, job.to_json())

    def pid(self, plugin: str = "one") -> int:
        """Return the process that does a job."""
        return self.pid_of(self.submit(plugin=plugin))

    @staticmethod
    def pid_of(future: Future[dict[str, Any]]) -> int:
        """Return the process that has done a job."""
        manifest = read_manifest(Path(future.result(30)["folder"]))
        return int(manifest.items[0].path.read_text())

    def hold(self, plugin: str = "one", **given: Any) -> tuple[Future[dict[str, Any]], Callable[[], None]]:
        """Submit a job that runs until it is let go; return when it has begun."""
        begun, go = (self.root / f"{name}-{time.monotonic_ns()}" for name in ("begun", "go"))
        code = f"open({str(begun)!r}, 'w')\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{PID}"
        future = self.submit(code, plugin, **given)
        eventually(begun.exists)
        return future, go.touch


def eventually(condition: Callable[[], object], within: float = 20.0) -> None:
    """Wait until a condition of other processes holds, which nothing tells."""
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, "it never came to hold"
        time.sleep(0.01)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Make pools, and see that nothing of them is left."""
    plugins = PluginFactory(tmp_path / "plugins")
    for name in ("one", "two", "three"):
        plugins.add(name, SCRIPTED)
    pools: list[WorkerPool] = []

    def make(*args: Any, **kwargs: Any) -> Client:
        pools.append(WorkerPool(*args, scratch=tmp_path, **kwargs))
        return Client(pools[-1], tmp_path)

    with plugins.installed():
        yield make
        for pool in pools:
            pool.terminate()
    assert not started()
    assert list(tmp_path.glob("worker-*")) == []


def test_workers_are_warm_and_of_one_pipeline(client: Callable[..., Client]) -> None:
    """Jobs of one pipeline are done by one process, those of another by another."""
    jobs = client()
    assert jobs.pid("one") == jobs.pid("one") != jobs.pid("two")


def test_jobs_at_once_have_workers_of_their_own(client: Callable[..., Client]) -> None:
    """Two jobs of a pipeline that run at once run in two processes, and both stay warm."""
    jobs = client()
    (first, go), (second, go_too) = jobs.hold(), jobs.hold()
    go()
    go_too()
    pids = {jobs.pid_of(first), jobs.pid_of(second)}
    assert len(pids) == 2
    assert jobs.pid() in pids


def test_jobs_wait_for_a_place(client: Callable[..., Client]) -> None:
    """With one worker jobs are done one after the other, in order; an idle worker makes room for others."""
    jobs = client(1)
    done: list[int] = []
    futures = [jobs.submit(plugin=plugin) for plugin in ("one", "two", "three")]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: done.append(number))
    pids = [jobs.pid_of(future) for future in futures]
    assert done == [0, 1, 2]
    assert len(set(pids)) == 3


def test_warm_workers_come_first(client: Callable[..., Client]) -> None:
    """A worker is not ended to make room while somebody in the queue wants it, but afterwards."""
    jobs = client(1)
    held, go = jobs.hold("one")
    other, same = jobs.submit(plugin="two"), jobs.submit(plugin="one")
    done: list[str] = []
    other.add_done_callback(lambda _: done.append("other"))
    same.add_done_callback(lambda _: done.append("same"))
    go()
    assert jobs.pid_of(same) == jobs.pid_of(held) != jobs.pid_of(other)
    assert done == ["same", "other"]


def test_an_idle_worker_ends(client: Callable[..., Client]) -> None:
    """A worker that nobody has needed for a while ends, and the next job gets a new one."""
    jobs = client(idle=0.2)
    first = jobs.pid()
    eventually(lambda: not Path(f"/proc/{first}").exists())
    assert jobs.pid() != first


def test_a_job_that_has_not_begun_can_be_cancelled(client: Callable[..., Client]) -> None:
    """Cancelling works until a worker has the job, and never after."""
    jobs = client(1)
    held, go = jobs.hold()
    waiting = jobs.submit()
    assert waiting.cancel()
    assert not held.cancel()
    go()
    assert jobs.pid_of(held)
    with pytest.raises(CancelledError):
        waiting.result(30)
    assert jobs.pid()


def test_a_job_can_be_ended(client: Callable[..., Client]) -> None:
    """A job that runs, or waits, is ended by its future with a reason; others go on."""
    jobs = client(1)
    held, _ = jobs.hold(id="7")
    waiting, third = jobs.submit(id="8"), jobs.submit(id="9")
    jobs.pool.terminate_job(Future(), "it is not the pool's")
    for future in (waiting, held):
        assert jobs.pool.terminate_job(future, "discarded by the operator")
    for future in (held, waiting):
        with pytest.raises(JobFailedError, match="discarded by the operator") as caught:
            future.result(30)
        assert caught.value.kind == Failure.ENDED
    assert jobs.pid_of(third)


def test_shutdown_finishes_what_was_taken(client: Callable[..., Client]) -> None:
    """An ordinary shutdown takes no more, finishes what was taken and ends the workers."""
    jobs = client(1)
    held, go = jobs.hold()
    waiting = jobs.submit()
    jobs.pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="shut down"):
        jobs.submit()
    go()
    jobs.pool.shutdown()
    assert held.done()
    assert waiting.done()
    assert jobs.pid_of(held) == jobs.pid_of(waiting)
    assert not started()


def test_shutdown_can_cancel_what_waits(client: Callable[..., Client]) -> None:
    """With ``cancel_futures`` only what runs is finished."""
    jobs = client(1)
    held, go = jobs.hold()
    waiting = jobs.submit()
    jobs.pool.shutdown(wait=False, cancel_futures=True)
    go()
    jobs.pool.shutdown()
    assert jobs.pid_of(held)
    assert waiting.cancelled()


def test_terminate_ends_everything_now(client: Callable[..., Client]) -> None:
    """Terminating fails what runs and what waits, as ended and not as failed."""
    jobs = client(1)
    held, _ = jobs.hold()
    waiting = jobs.submit()
    jobs.pool.terminate()  # what is held would never end by itself
    assert {future.exception(0).kind for future in (held, waiting)} == {Failure.ENDED}  # type: ignore[union-attr]  # each has failed
    assert not started()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (len, ({},)),
        (print, ()),
        (run_job, ()),
        (run_job, (1,)),
        (run_job, ({}, {})),
        (lambda job: job, ({},)),
    ],
)
def test_only_tasks_with_plain_data(client: Callable[..., Client], function: Any, arguments: Any) -> None:
    """The pool runs what it knows, with one mapping: nothing is pickled."""
    jobs = client()
    with pytest.raises(TypeError):
        jobs.pool.submit(function, *arguments)


def test_data_that_is_not_plain(client: Callable[..., Client]) -> None:
    """What JSON cannot hold fails its own future, and the pool goes on."""
    jobs = client()
    with pytest.raises(TypeError, match="plain data"):
        jobs.pool.submit(run_job, {"settings": object()}).result(30)
    assert jobs.pid()


def test_a_large_description(client: Callable[..., Client], tmp_path: Path) -> None:
    """A description of many megabytes arrives whole, without holding up other workers."""
    jobs = client()
    large = jobs.submit(f"{PID}\n#" + "x" * 20 * 2**20)
    assert jobs.pid("two")
    assert jobs.pid_of(large)


def test_a_worker_that_died_idle_costs_no_job(client: Callable[..., Client]) -> None:
    """A job that is handed to a worker which is just going is done by another."""
    jobs = client()
    for _ in range(2):
        worker = jobs.pid()
        os.kill(worker, signal.SIGKILL)
        assert jobs.pid() != worker
    eventually(lambda: len(started_here()) == 1)  # the supervisors of those that were killed have ended
    (supervisor,) = started_here()
    os.kill(supervisor, signal.SIGKILL)
    assert jobs.pid()


def test_a_job_for_a_worker_that_has_just_gone(client: Callable[..., Client]) -> None:
    """A job that reaches a supervisor after its worker's end is done by another worker."""
    jobs = client()
    worker = jobs.pid()
    (supervisor,) = started_here()
    os.kill(supervisor, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    future = jobs.submit()
    eventually(future.running)
    os.kill(supervisor, signal.SIGCONT)
    assert jobs.pid_of(future) != worker


def test_a_job_for_a_supervisor_that_has_just_gone(client: Callable[..., Client]) -> None:
    """A job that a supervisor was sent and never took, because it was killed, is done by another worker."""
    jobs = client()
    worker = jobs.pid()
    (supervisor,) = started_here()
    os.kill(supervisor, signal.SIGSTOP)
    future = jobs.submit()
    eventually(future.running)
    os.kill(supervisor, signal.SIGKILL)
    assert jobs.pid_of(future) != worker


def test_a_job_that_is_ended_before_its_worker_took_it(client: Callable[..., Client]) -> None:
    """A job that is to be ended, and whose worker has just gone, is ended: no other worker does it."""
    jobs = client()
    worker = jobs.pid()
    (supervisor,) = started_here()
    os.kill(supervisor, signal.SIGSTOP)
    job = job_of("one", jobs.root, settings={"code": PID})
    future = jobs.pool.submit(run_job, job.to_json())
    eventually(future.running)
    jobs.pool.terminate_job(future, "given up")
    os.kill(worker, signal.SIGKILL)
    os.kill(supervisor, signal.SIGCONT)
    with pytest.raises(JobFailedError, match="given up") as caught:
        future.result(30)
    assert caught.value.kind == Failure.ENDED


def test_an_environment_without_interpreter(client: Callable[..., Client], tmp_path: Path) -> None:
    """A job whose environment has no interpreter fails with the path."""
    jobs = client()
    with pytest.raises(JobFailedError, match="nowhere/bin/python") as caught:
        jobs.submit(environment=str(tmp_path / "nowhere")).result(30)
    assert caught.value.kind == Failure.NO_WORKER
    assert jobs.pid()


def test_an_interpreter_that_does_not_start(client: Callable[..., Client], tmp_path: Path) -> None:
    """A job whose interpreter ends before it begins fails with what the interpreter said."""
    python = tmp_path / "broken" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'first line' >&2\necho 'no module named x' >&2\nexit 3\n")
    python.chmod(0o755)
    jobs = client()
    with pytest.raises(JobFailedError, match="status 3 before it had a result: no module named x") as caught:
        jobs.submit(environment=str(tmp_path / "broken")).result(30)
    assert caught.value.kind == Failure.NO_WORKER
    assert caught.value.log_tail == "first line\nno module named x\n"


def test_what_a_good_job_said_is_kept(client: Callable[..., Client]) -> None:
    """The end of a good job's output comes with its result, without that of the job before."""
    jobs = client()
    said = "print('output'); print('error', file=sys.stderr); os.system('echo child')"
    for more in ("", "; print('again')"):
        log = jobs.submit(said + more).result(30)["log_tail"]
        assert sorted(log.split()) == sorted(f"output error child {'again' if more else ''}".split())
    assert jobs.submit("").result(30)["log_tail"] == ""


def test_callbacks_may_submit(client: Callable[..., Client]) -> None:
    """A callback that submits the next job does not lock the pool up, and one that raises disturbs nobody."""
    jobs = client()
    chain: list[int] = []
    over = threading.Event()

    def go_on(future: Future[dict[str, Any]]) -> None:
        chain.append(jobs.pid_of(future))
        if len(chain) == 3:
            over.set()
            raise RuntimeError("the last one")
        jobs.submit().add_done_callback(go_on)

    jobs.submit().add_done_callback(go_on)
    assert over.wait(30)
    assert len(set(chain)) == 1
    assert jobs.pid() == chain[0]


def test_many_jobs(client: Callable[..., Client]) -> None:
    """Sixty jobs of three pipelines from four threads, a tenth of them bad, all come to their end."""
    jobs = client(3)
    futures: list[tuple[bool, Future[dict[str, Any]]]] = []
    lock = threading.Lock()

    def submit(thread: int) -> None:
        for number in range(15):
            bad = number % 10 == 9
            plugin = ("one", "two", "three")[(thread + number) % 3]
            future = jobs.submit("os._exit(1)" if bad else PID, plugin)
            with lock:
                futures.append((bad, future))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for bad, future in futures:
        error = future.exception(60)
        assert (error is not None) == bad, error
    assert len(started_here()) <= 3


def test_no_thread_of_the_host_is_forked(client: Callable[..., Client]) -> None:
    """A worker is a new interpreter, not a fork of a process with threads."""
    jobs = client()
    sys.modules["only_in_the_host"] = sys
    try:
        code = "assert 'only_in_the_host' not in sys.modules; assert 'pytest' not in sys.modules\n" + PID
        assert jobs.pid_of(jobs.submit(code))
    finally:
        del sys.modules["only_in_the_host"]


def test_a_pool_that_has_ended_touches_no_file(tmp_path: Path) -> None:
    """What is asked of a pool after its end reaches nobody, whoever has its descriptors now."""
    pool = WorkerPool(scratch=tmp_path)
    pool.shutdown()
    pairs = [socket.socketpair() for _ in range(8)]
    try:
        pool.terminate_job(Future(), "nobody runs it")
        pool.terminate()
        pool.shutdown()
        for each in itertools.chain(*pairs):
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.recv(1)
    finally:
        for each in itertools.chain(*pairs):
            each.close()


def test_a_pool_is_abandoned_in_the_midst_of_anything(client: Callable[..., Client]) -> None:
    """A finalizer may end a pool while its thread holds the locks that ending needs: it waits for nobody."""
    jobs = client()
    jobs.pid()
    pool = jobs.pool
    with threading._active_limbo_lock, pool._lock, pool._wakeup._lock:  # type: ignore[attr-defined]  # a lock of threading's own that a finalizer may meet
        pool.abandon()
    pool.abandon()
    eventually(lambda: not pool._thread.is_alive())
    assert not started_here()
